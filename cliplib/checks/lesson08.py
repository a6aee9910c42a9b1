"""Checks of lesson 08: false captions, choices of two, hard negatives, claims."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cliplib import hard_negatives, threshold
from cliplib.checks import Yours, check
from cliplib.loss import contrastive_loss

RED_AND_ORANGE = "a red boat and an orange car"


def swap_words(yours: Yours) -> None:
    """Exercise 1: a caption and two words in, the caption with both exchanged out."""
    check("08.1", yours, [_exchanged, _articles, _whole_words, _one_alone, _twice_is_nothing])


def _exchanged(yours: Yours) -> str:
    found = yours("the red boat and the blue car", "red", "blue")
    if found == "the blue boat and the red car":
        return ""
    if not isinstance(found, str):
        return f"a {type(found).__name__} came back. Are the words joined again?"
    if found.count("red") != 1:
        return f"{found!r} came back. Did a second step change what the first had changed?"
    if found == "the red boat and the blue car":
        return "the caption came back as it was. Which words change places?"
    return f"{found!r} came back. Does each other word stay in its place?"


def _articles(yours: Yours) -> str:
    found = yours(RED_AND_ORANGE, "red", "orange")
    if found == "an orange boat and a red car":
        return ""
    if found == "a orange boat and an red car":
        return f"{found!r} came back. Which article does each new word need?"
    return f"{found!r} came back. Does only an article change besides the two words?"


def _whole_words(yours: Yours) -> str:
    found = yours("a red cat is covered by a blue tent", "red", "blue")
    if found != "a blue cat is covered by a red tent":
        return f"{found!r} came back. Are whole words looked up, not letters inside others?"
    return ""


def _one_alone(yours: Yours) -> str:
    found = yours("a cat to the right of a house", "left", "right")
    if found != "a cat to the left of a house":
        return f"with 'right' alone {found!r} came back. Does each word turn into the other?"
    return ""


def _twice_is_nothing(yours: Yours) -> str:
    found = yours(yours(RED_AND_ORANGE, "red", "orange"), "red", "orange")
    return "" if found == RED_AND_ORANGE else f"twice gave {found!r}. Is that the first caption?"


TRUE, FALSE = np.array([0.9, 0.4, 0.5, 0.7]), np.array([0.3, 0.4, 0.6, 0.1])


def right_of_two(yours: Yours) -> None:
    """Exercise 2: cosines of true and of false captions (Q,) in, a share out."""
    check("08.2", yours, [_worked_share, _all_equal, _sizes_do_not_count, _each_with_its_own])


def _worked_share(yours: Yours) -> str:
    found = float(yours(TRUE, FALSE))
    if abs(found - 0.625) < 1e-6:
        return ""
    if abs(found - 0.375) < 1e-6:
        return "the worked example gave 0.375. Which of the two should be larger?"
    if abs(found - 0.5) < 1e-6 or abs(found - 0.75) < 1e-6:
        return f"the worked example gave {found:.3f}. How much is a pair of equal cosines worth?"
    if found > 1:
        return f"the worked example gave {found:.2f}. Is that a count, and wanted is a share?"
    return f"the worked example gave {found:.3f} instead of 0.625. Do four choices count alike?"


def _all_equal(yours: Yours) -> str:
    found = float(yours(np.full(6, 0.2), np.full(6, 0.2)))
    return "" if abs(found - 0.5) < 1e-6 else f"equal cosines gave {found:.2f}. Is a tie a half?"


def _sizes_do_not_count(yours: Yours) -> str:
    found = float(yours(TRUE / 10, FALSE / 10))
    if abs(found - 0.625) > 1e-6:
        return f"cosines divided by 10 gave {found:.3f}. Does only the order of the two count?"
    return ""


def _each_with_its_own(yours: Yours) -> str:
    found = float(yours(np.array([0.1, 0.8]), np.array([0.0, 0.9])))
    if abs(found - 0.5) > 1e-6:
        return f"(0.1, 0.8) against (0.0, 0.9) gave {found:.2f}. Is each compared with its own?"
    return ""


def _unit_rows(seed: int, rows: int, width: int = 8) -> Tensor:
    drawn = torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))
    return F.normalize(drawn, dim=1)  # (rows, E)


SCALE = torch.tensor(10.0)


def loss_with_negatives(yours: Yours) -> None:
    """Exercise 3: images and texts (B, E), negatives (H, E) and the scale in, a scalar out."""
    check("08.3", yours, [_a_scalar, _negatives_count, _as_before, _by_hand, _order_of_negatives])


def _loss(yours: Yours, negatives: int, scale: Tensor = SCALE) -> float:
    return float(yours(_unit_rows(0, 5), _unit_rows(1, 5), _unit_rows(2, negatives), scale))


def _a_scalar(yours: Yours) -> str:
    found = yours(_unit_rows(0, 5), _unit_rows(1, 5), _unit_rows(2, 3), SCALE)
    if torch.as_tensor(found).numel() != 1:
        return f"shape {tuple(found.shape)} came back. Is the mean taken over pairs?"
    return ""


def _negatives_count(yours: Yours) -> str:
    if abs(_loss(yours, 3) - _loss(yours, 0)) < 1e-5:
        return "three negatives changed nothing. Do pictures choose among B + H captions?"
    return ""


def _as_before(yours: Yours) -> str:
    found = _loss(yours, 0)
    right = contrastive_loss(_unit_rows(0, 5), _unit_rows(1, 5), SCALE).item()
    if abs(found - 2 * right) < 1e-4:
        return f"without negatives it gave {found:.3f}, twice the loss. Is it the mean of both?"
    if abs(found - right) > 1e-4:
        return (
            f"without negatives it gave {found:.3f}, lesson 03 gives {right:.3f}. Are both "
            "directions in it, and the scale?"
        )
    return ""


def _by_hand(yours: Yours) -> str:
    images, texts, negatives = _unit_rows(0, 5), _unit_rows(1, 5), _unit_rows(2, 3)
    found = _loss(yours, 3)
    right = hard_negatives.loss_with_negatives(images, texts, negatives, SCALE).item()
    if abs(found - right) < 1e-4:
        return ""
    logits = SCALE * images @ torch.cat([texts, negatives]).T  # (B, B + H)
    own = torch.arange(5)
    rows = F.cross_entropy(logits, own)
    if abs(found - rows.item()) < 1e-4:
        return f"it gave {found:.3f}. Does each caption choose among pictures, too?"
    return f"it gave {found:.3f}. Is the second direction over the first B columns alone?"


def _order_of_negatives(yours: Yours) -> str:
    images, texts, negatives = _unit_rows(0, 5), _unit_rows(1, 5), _unit_rows(2, 3)
    one = float(yours(images, texts, negatives, SCALE))
    other = float(yours(images, texts, negatives.flip(0), SCALE))
    if abs(one - other) > 1e-4:
        return "the negatives in another order gave another loss. Does none of them have a place?"
    return ""


COSINES, LABELS = np.array([[0.9, 0.1], [0.6, 0.4], [0.4, 0.6]]), np.array([0, 0, 0])
SCALES = [1.0, 4.0, 20.0]


def best_scale(yours: Yours) -> None:
    """Exercise 4: cosines (N, K), labels (N,) and scales in, the best of the scales out."""
    check("08.4", yours, [_one_of_them, _worked_scale, _labels_count, _no_overflow, _librarys])


def _one_of_them(yours: Yours) -> str:
    found = yours(COSINES, LABELS, SCALES)
    if np.ndim(found) or float(found) not in SCALES:
        return f"{found} came back. Is it one of the scales, not their place or a mean of -log p?"
    return ""


def _worked_scale(yours: Yours) -> str:
    found = float(yours(COSINES, LABELS, SCALES))
    if found == 20:
        return "the example gave 20, the boldest claims. Does a wrong answer cost, too?"
    if found == 1:
        return "the example gave 1. Is it the smallest mean of -log p that you look for?"
    return ""


def _labels_count(yours: Yours) -> str:
    cosines = np.array([[0.9, 0.1], [0.2, 0.8]])
    right, wrong = (
        yours(cosines, np.array([0, 1]), SCALES),
        yours(cosines, np.array([1, 0]), SCALES),
    )
    if right != 20 or wrong != 1:
        return (
            f"where all answers are right it gave {right}, where all are wrong {wrong}. "
            "Is it the probability of the true class?"
        )
    return ""


def _no_overflow(yours: Yours) -> str:
    with np.errstate(all="ignore"):
        found = yours(COSINES, LABELS, [4.0, 5000.0])
    if found != 4:
        return f"of 4 and 5000 it gave {found}. Is each row's maximum subtracted before exp?"
    return ""


def _librarys(yours: Yours) -> str:
    rng = np.random.default_rng(0)
    cosines, labels = rng.uniform(-0.2, 0.9, (200, 6)), rng.integers(0, 6, 200)
    cosines[np.arange(200), labels] += 0.4
    scales = [float(scale) for scale in np.geomspace(1, 100, 30)]
    found, right = yours(cosines, labels, scales), threshold.best_scale(cosines, labels, scales)
    if found != right:
        return f"200 pictures gave {found:.1f}, expected {right:.1f}. Is the mean over all of them?"
    return ""
