"""Checks of lesson 07: shares of places, hits in a box, the modality gap, a composed query."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cliplib.checks import Yours, check
from cliplib.regions import hits, place_shares
from cliplib.space import composed, modality_gap


def _drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _unit_rows(seed: int, *shape: int) -> Tensor:
    return F.normalize(_drawn(seed, *shape), dim=-1)  # (..., E)


def shares(yours: Yours) -> None:
    """Exercise 1: features (D, h, w), projection (E, D), words (E,) in, shares (h, w) out."""
    check(
        "07.1", yours, [_a_share_a_place, _worked_shares, _mean_is_cosine, _may_be_negative, _any]
    )


WORKED = torch.tensor([[[4.0, 0.0]], [[0.0, 2.0]]])  # (D, h, w) = (2, 1, 2)


def _a_share_a_place(yours: Yours) -> str:
    found = tuple(yours(_drawn(0, 5, 2, 3), _drawn(1, 4, 5), _unit_rows(2, 4)).shape)
    if found == (3, 2):
        return "(h, w) = (2, 3) gave (3, 2). Are rows and columns as in the features?"
    if found != (2, 3):
        return f"(h, w) = (2, 3) gave shape {found}. Is there one number for each place?"
    return ""


def _worked_shares(yours: Yours) -> str:
    found = yours(WORKED, torch.eye(2), torch.tensor([1.0, 0.0])).flatten()
    right = torch.tensor([4.0, 0.0]) / 5**0.5
    if torch.allclose(found, right, atol=1e-4):
        return ""
    told = f"the worked example gave {[round(v, 2) for v in found.tolist()]}"
    if torch.allclose(found, torch.tensor([1.0, 0.0]), atol=1e-4):
        return f"{told}: each place has a length of its own. Whose length do all shares have?"
    if torch.allclose(found, torch.tensor([4.0, 0.0]), atol=1e-4):
        return f"{told}. What turns dot products into parts of a cosine?"
    if torch.allclose(found, right / 2, atol=1e-4):
        return f"{told}: their sum is the cosine. Should it be their mean?"
    return f"{told} instead of [1.79, 0.0]. Is the length that of the mean over places?"


def _mean_is_cosine(yours: Yours) -> str:
    features, projection, words = _drawn(3, 6, 3, 4), _drawn(4, 5, 6), _unit_rows(5, 5)
    cosine = F.normalize(projection @ features.mean(dim=(1, 2)), dim=0) @ words
    found = yours(features, projection, words).mean()
    if abs(found - cosine) > 1e-4:
        return (
            f"the mean of the shares is {found:.3f}, the picture's cosine {cosine:.3f}. "
            "Is the pooled vector projected before its length is taken?"
        )
    return ""


def _may_be_negative(yours: Yours) -> str:
    found = yours(-WORKED, torch.eye(2), torch.tensor([1.0, 0.0])).min()
    if found > -1e-6:
        return f"the smallest share is {found:.2f}. May a place also speak against the words?"
    return ""


def _any(yours: Yours) -> str:
    arguments = _drawn(6, 8, 4, 4), _drawn(7, 3, 8), _unit_rows(8, 3)
    if not torch.allclose(yours(*arguments), place_shares(*arguments), atol=1e-4):
        return "other features gave other shares than cliplib's. Is each place projected alone?"
    return ""


def hit(yours: Yours) -> None:
    """Exercise 2: a map (h, w) and a box in, True or False out."""
    check(
        "07.2", yours, [_yes_or_no, _down_and_across, _the_middle, _only_the_largest, _many_boxes]
    )


def _map_with(row: int, column: int, side: int = 4) -> np.ndarray:
    heat = np.full((side, side), 0.1)
    heat[row, column] = 0.9
    return heat


def _yes_or_no(yours: Yours) -> str:
    inside, outside = (
        bool(yours(_map_with(1, 1), box)) for box in ((0, 0, 0.5, 0.5), (0.5, 0.5, 1, 1))
    )
    if (inside, outside) == (True, False):
        return ""
    if (inside, outside) == (False, True):
        return "a largest cell in the box gave False, outside of it True. Are the two exchanged?"
    return (
        f"a largest cell in the box gave {inside}, outside of it {outside}. "
        "Is the box in shares of the picture, and the cell too?"
    )


def _down_and_across(yours: Yours) -> str:
    if bool(yours(_map_with(0, 3), (0, 0.5, 0.5, 1))):
        return "a cell top right hits a box bottom left. Is a row how far down, a column across?"
    return ""


def _the_middle(yours: Yours) -> str:
    if bool(yours(_map_with(1, 1), (0.2, 0.2, 0.3, 0.3))):
        return (
            "a box that holds a corner of the cell and not its middle is hit. Where is the middle "
            "of cell 1 of 4, and are the box's last two numbers its right and bottom?"
        )
    if not bool(yours(_map_with(1, 1), (0.35, 0.35, 0.4, 0.4))):
        return "a small box around the cell's middle is missed. Is the middle (1 + 0.5) / 4?"
    return ""


def _only_the_largest(yours: Yours) -> str:
    heat = _map_with(0, 0)
    heat[3, 3] = -5.0
    if bool(yours(heat, (0.75, 0.75, 1, 1))):
        return (
            "a box around a very negative cell is hit. Is the largest value meant, with its sign?"
        )
    heat[3, 3] = 0.8
    if bool(yours(heat, (0.75, 0.75, 1, 1))):
        return "a box around the second largest cell is hit. Does only the largest count?"
    return ""


def _many_boxes(yours: Yours) -> str:
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(200, 6, 6))
    corners = np.sort(rng.random((200, 2, 2)), axis=1)  # (Q, low or high, across or down)
    boxes = [tuple(corner.ravel().tolist()) for corner in corners]
    found = np.array([bool(yours(m, box)) for m, box in zip(maps, boxes, strict=True)])
    wrong = int((found != hits(torch.as_tensor(maps), boxes)).sum())
    return (
        f"of 200 random boxes {wrong} are judged wrongly. Which side is left out?" if wrong else ""
    )


def gap(yours: Yours) -> None:
    """Exercise 3: images (N, E) and texts (M, E) in, a distance out."""
    check("07.3", yours, [_worked_gap, _no_gap, _any_numbers, _order_is_nothing, _library_gap])


EAST, NORTH = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([[0.0, 1.0], [0.0, 1.0]])


def _worked_gap(yours: Yours) -> str:
    found = float(yours(EAST, NORTH))
    if abs(found - 2**0.5) < 1e-4:
        return ""
    if abs(found - 2) < 1e-4:
        return "the worked example gave 2.00. Is that the square of a distance?"
    if abs(found) < 1e-4:
        return "the worked example gave 0.00. Is that a cosine, or a mean over all E numbers?"
    return f"the worked example gave {found:.2f}, not 1.41. Is it from one middle to the other?"


def _no_gap(yours: Yours) -> str:
    both = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    found = float(yours(both, both.flip(0)))
    if abs(found) > 1e-4:
        return (
            f"the same points, in another order, gave {found:.2f}. "
            "Are the middles compared, or the points in pairs?"
        )
    return ""


def _any_numbers(yours: Yours) -> str:
    found = float(yours(EAST, NORTH[:1]))
    return (
        ""
        if abs(found - 2**0.5) < 1e-4
        else (f"two pictures and one text gave {found:.2f}, not 1.41. Does N have to be M?")
    )


def _order_is_nothing(yours: Yours) -> str:
    images, texts = _unit_rows(9, 20, 6), _unit_rows(10, 30, 6)
    if abs(float(yours(images, texts)) - float(yours(texts, images))) > 1e-4:
        return "exchanging pictures and texts changed the gap. Is it a distance?"
    return ""


def _library_gap(yours: Yours) -> str:
    images, texts = _unit_rows(11, 50, 8), F.normalize(_drawn(12, 70, 8) + 0.5, dim=1)
    found, right = float(yours(images, texts)), float(modality_gap(images, texts).norm())
    if abs(found - right) > 1e-4:
        return (
            f"50 pictures and 70 texts gave {found:.3f}, expected {right:.3f}. "
            "Did you bring the middles to length one? They are shorter, and should stay so."
        )
    return ""


def query(yours: Yours) -> None:
    """Exercise 4: a picture, words to add, words to take away (E,) and a weight in, (E,) out."""
    check("07.4", yours, [_length_one, _worked_query, _weighs_both, _rows_too, _library_query])


def _length_one(yours: Yours) -> str:
    length = yours(*_unit_rows(13, 3, 6), 0.7).norm().item()
    if abs(length - 1) > 1e-4:
        return f"the query has length {length:.2f}. What must it be, so that its dots are cosines?"
    return ""


AXES = torch.eye(3)


def _worked_query(yours: Yours) -> str:
    found = yours(*AXES, 1.0)
    if torch.allclose(found, F.normalize(torch.tensor([1.0, 1.0, -1.0]), dim=0), atol=1e-4):
        return ""
    told = f"the worked example gave {[round(v, 2) for v in found.tolist()]}"
    if found[2] > 0.01:
        return f"{told}: it is like the words to take away. Which sign have they?"
    if abs(found[2]) < 0.01:
        return f"{told}: the words to take away are not in it. Are they subtracted?"
    return f"{told}, not [0.58, 0.58, -0.58]. Are picture, plus and minus all in it?"


def _weighs_both(yours: Yours) -> str:
    right = F.normalize(torch.tensor([1.0, 0.5, -0.5]), dim=0)
    found = yours(*AXES, 0.5)
    if not torch.allclose(found, right, atol=1e-4):
        return (
            f"weight 0.5 gave {[round(v, 2) for v in found.tolist()]}, not [0.82, 0.41, -0.41]. "
            "Does the weight count for both words, and not for the picture?"
        )
    return ""


def _rows_too(yours: Yours) -> str:
    picture, plus, minus = _unit_rows(14, 3, 4, 6)
    found = yours(picture, plus, minus, 0.7)
    alone = torch.stack([yours(*three, 0.7) for three in zip(picture, plus, minus, strict=True)])
    if not torch.allclose(found, alone, atol=1e-4):
        return "four queries at once (4, E) differ from each alone. Did you normalise along E?"
    return ""


def _library_query(yours: Yours) -> str:
    three = _unit_rows(15, 3, 6)
    if not torch.allclose(yours(*three, 1.3), composed(*three, 1.3), atol=1e-4):
        return (
            "with other vectors the query differs from cliplib's. Is it linear but for its length?"
        )
    return ""
