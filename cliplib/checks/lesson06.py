"""Checks of lesson 06: prompts, an ensemble's rows, a confusion matrix, the area under a curve."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cliplib.checks import Yours, check
from cliplib.zeroshot import area_under_curve, confusion_matrix

PAIR = ["a boat", "a cat"]
THREE = ["{}", "a picture of {}", "look, {} is here"]


def fill(yours: Yours) -> None:
    """Exercise 1: K classes and T templates in, a flat list of K · T sentences out."""
    check("06.1", yours, [_a_flat_list, _every_one, _no_place_left, _class_by_class, _any_number])


def _a_flat_list(yours: Yours) -> str:
    found = yours(PAIR, THREE)
    if isinstance(found, str) or not all(isinstance(sentence, str) for sentence in found):
        return f"a {type(found).__name__} came back that holds no sentences. Is it one flat list?"
    return ""


def _every_one(yours: Yours) -> str:
    found = len(list(yours(PAIR, THREE)))
    if found != 6:
        return f"2 classes and 3 templates gave {found} sentences. Does every class meet every one?"
    return ""


def _no_place_left(yours: Yours) -> str:
    left = [sentence for sentence in yours(PAIR, THREE) if "{}" in sentence]
    if left:
        return f"{left[0]!r} came back. Does the class stand in the template's place?"
    missing = [sentence for sentence in yours(PAIR, THREE) if not any(n in sentence for n in PAIR)]
    return f"{missing[0]!r} names no class. Which one belongs there?" if missing else ""


def _class_by_class(yours: Yours) -> str:
    found = list(yours(PAIR, THREE))
    if found[0] == "a boat" and found[1] == "a cat":
        return "the second sentence is 'a cat'. Do all templates of one class come before the next?"
    right = [template.replace("{}", name) for name in PAIR for template in THREE]
    if found != right:
        return f"the sentences are {found}. Is each template's own wording kept?"
    return ""


def _any_number(yours: Yours) -> str:
    found = list(yours(["a red car"], ["{}"]))
    return "" if found == ["a red car"] else f"one class in '{{}}' gave {found}. Is that one short?"


def _unit_rows(seed: int, *shape: int) -> Tensor:
    drawn = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return F.normalize(drawn, dim=-1)  # (..., E)


def ensemble(yours: Yours) -> None:
    """Exercise 2: unit vectors (K, T, E) in, unit rows (K, E) out."""
    check("06.2", yours, [_a_row_a_class, _worked_mean, _length_one, _every_template, _each_alone])


def _a_row_a_class(yours: Yours) -> str:
    shape = tuple(yours(_unit_rows(0, 2, 3, 4)).shape)
    if shape != (2, 4):
        return f"(K, T, E) = (2, 3, 4) gave {shape}. Is the mean taken over the templates?"
    return ""


def _worked_mean(yours: Yours) -> str:
    found = yours(torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]))[0]  # (E,)
    if torch.allclose(found, torch.tensor([0.5, 0.5]), atol=1e-4):
        return "(1, 0) and (0, 1) gave (0.50, 0.50). What length must a row have to give cosines?"
    if not torch.allclose(found, torch.full((2,), 0.5**0.5), atol=1e-4):
        return f"(1, 0) and (0, 1) gave {[round(v, 2) for v in found.tolist()]}. Are both in it?"
    return ""


def _length_one(yours: Yours) -> str:
    lengths = yours(_unit_rows(1, 3, 5, 8)).norm(dim=1)
    if not torch.allclose(lengths, torch.ones(3), atol=1e-4):
        return f"a row has length {lengths[0]:.2f}. Did you normalise along E, the last dimension?"
    return ""


def _every_template(yours: Yours) -> str:
    embeddings = _unit_rows(2, 2, 6, 8)
    if not torch.allclose(yours(embeddings), yours(embeddings.flip(1)), atol=1e-4):
        return "the templates in another order gave other rows. Do all of them count alike?"
    right = F.normalize(embeddings.mean(dim=1), dim=1)
    if not torch.allclose(yours(embeddings), right, atol=1e-4):
        return "the rows are not in the direction of the mean. Did you take a mean?"
    return ""


def _each_alone(yours: Yours) -> str:
    embeddings = _unit_rows(3, 4, 2, 8)
    if not torch.allclose(yours(embeddings[:1]), yours(embeddings)[:1], atol=1e-4):
        return "a class's row changes with the other classes. Is each class averaged alone?"
    return ""


TRUE, SAID = np.array([0, 0, 1, 2]), np.array([0, 1, 1, 1])
COUNTS = np.array([[1, 1, 0], [0, 1, 0], [0, 1, 0]])


def confusion(yours: Yours) -> None:
    """Exercise 3: labels (N,), answers (N,) and K in, counts (K, K) out, a row a true class."""
    check("06.3", yours, [_square, _counts, _nobody_lost, _absent_class, _library_counts])


def _square(yours: Yours) -> str:
    shape = np.asarray(yours(TRUE, SAID, 3)).shape
    return "" if shape == (3, 3) else f"K = 3 gave shape {shape}. Is there a row for each class?"


def _counts(yours: Yours) -> str:
    found = np.asarray(yours(TRUE, SAID, 3))
    if np.array_equal(found, COUNTS):
        return ""
    if np.array_equal(found, COUNTS.T):
        return "rows and columns are exchanged. Is a row a true class, and a column an answer?"
    if np.array_equal(found, np.diag(COUNTS.diagonal())):
        return "only right answers are counted. Where does a wrong one go?"
    if np.allclose(found.sum(), 1) or np.allclose(found.sum(1), 1):
        return "the cells are shares. Are they counts of pictures?"
    return f"four pictures gave {found.tolist()}. Which cell is true class 0, answer 1?"


def _nobody_lost(yours: Yours) -> str:
    same = np.array([1, 1, 1, 0])
    found = int(np.asarray(yours(same, same, 2)).sum())
    if found != 4:
        return f"four pictures, three of them in one cell, gave {found}. Does each picture add 1?"
    return ""


def _absent_class(yours: Yours) -> str:
    found = np.asarray(yours(np.array([0, 1]), np.array([1, 1]), 4))
    if found.shape != (4, 4):
        return f"K = 4 with two classes seen gave {found.shape}. Does the size come from K?"
    return "" if found.sum() == 2 else f"two pictures gave a sum of {found.sum()}. Is it 2?"


def _library_counts(yours: Yours) -> str:
    rng = np.random.default_rng(0)
    labels, answers = rng.integers(0, 6, 300), rng.integers(0, 6, 300)
    wrong = int(
        (np.asarray(yours(labels, answers, 6)) != confusion_matrix(labels, answers, 6)).sum()
    )
    return (
        f"of 300 pictures {wrong} of 36 cells differ. Which pictures are missed?" if wrong else ""
    )


def area(yours: Yours) -> None:
    """Exercise 4: scores (N,) and which pictures have it (N,) bool in, a share of pairs out."""
    check("06.4", yours, [_five_pairs, _all_alike, _perfect, _order_only, _library_area])


SCORES, THERE = np.array([0.9, 0.4, 0.6, 0.4]), np.array([True, True, False, False])


def _five_pairs(yours: Yours) -> str:
    found = float(yours(SCORES, THERE))
    if abs(found - 0.625) < 1e-6:
        return ""
    if abs(found - 0.375) < 1e-6:
        return "the worked example gave 0.375. Which of the two has to score higher?"
    if abs(found - 0.75) < 1e-6 or abs(found - 0.5) < 1e-6:
        return f"the worked example gave {found:.3f}. How much is a pair of equal scores worth?"
    if found > 1:
        return f"the worked example gave {found:.2f}. Is that a count, and the area a share?"
    return f"the worked example gave {found:.3f} instead of 0.625. Are there 2 · 2 pairs?"


def _all_alike(yours: Yours) -> str:
    found = float(yours(np.zeros(6), np.arange(6) < 2))
    return "" if abs(found - 0.5) < 1e-6 else f"equal scores gave {found:.2f}. Is a tie a half?"


def _perfect(yours: Yours) -> str:
    found = float(yours(np.array([0.1, 0.2, 0.3]), np.array([False, False, True])))
    return "" if found == 1 else f"a perfect order gave {found:.2f}. Does each pair count once?"


def _order_only(yours: Yours) -> str:
    found = float(yours(SCORES / 100, THERE))
    if abs(found - 0.625) > 1e-6:
        return f"all scores divided by 100 gave {found:.3f}. Does only the order of scores count?"
    return ""


def _library_area(yours: Yours) -> str:
    rng = np.random.default_rng(1)
    there = rng.random(200) < 0.2
    scores = (rng.normal(size=200) + there).round(1)  # with ties
    found, right = float(yours(scores, there)), area_under_curve(scores, there)
    if abs(found - right) > 1e-6:
        return f"200 pictures gave {found:.4f}, expected {right:.4f}. Is every pair in it?"
    return ""
