"""Checks of lesson 03: the cosine matrix, the loss, its gradient and its floor."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from cliplib.checks import Yours, check

SCALE = 1 / 0.07
THREE_IMAGES = torch.tensor([[2.0, 0.0], [0.0, 1.0], [3.0, 3.0]])
THREE_TEXTS = torch.tensor([[4.0, 3.0], [0.0, 5.0], [0.6, 0.8]])
THREE_COSINES = torch.tensor([[0.8, 0.0, 0.6], [0.6, 1.0, 0.8], [0.98995, 0.70711, 0.98995]])


def _random(rows: int, width: int, seed: int) -> Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))


def _unit(rows: int, width: int, seed: int) -> Tensor:
    return F.normalize(_random(rows, width, seed), dim=1)


def _matrix(result: object, pairs: int) -> str:
    """What is wrong with the form of a result that should be a (B, B) tensor."""
    if not isinstance(result, Tensor):
        return f"a {type(result).__name__} came back. Should it be a tensor?"
    if result.shape != (pairs, pairs):
        return (
            f"{pairs} pairs gave the shape {tuple(result.shape)}. Which of the two matrices has to "
            "be transposed?"
        )
    return ""


def cosine_matrix(yours: Yours) -> None:
    """Exercise 1: (B, D) and (B, D) of any length in, (B, B) cosines out."""
    check(
        "03.1",
        yours,
        [_cosine_form, _lengths_do_not_count, _rows_are_pictures, _cosine_range, _three_by_hand],
    )


def _cosine_form(yours: Yours) -> str:
    return _matrix(yours(_random(5, 3, 0), _random(5, 3, 1)), 5)


def _lengths_do_not_count(yours: Yours) -> str:
    images, texts = _random(5, 3, 0), _random(5, 3, 1)
    lengths = torch.tensor([[1.0], [2.0], [3.0], [4.0], [5.0]])
    change = max(
        float((yours(lengths * images, texts) - yours(images, texts)).abs().max()),
        float((yours(images, lengths * texts) - yours(images, texts)).abs().max()),
    )
    if change > 1e-4:
        return (
            f"making vectors longer changed an entry by {change:.2f}. Did you divide each row, of "
            "pictures and of captions, by its own length?"
        )
    return ""


def _rows_are_pictures(yours: Yours) -> str:
    images, texts = _unit(4, 3, 2), _unit(4, 3, 3)
    found = yours(images, texts)
    if torch.allclose(found, texts @ images.T, atol=1e-4):
        return "row 0 holds caption 0 against every picture. Should a row belong to a picture?"
    return ""


def _cosine_range(yours: Yours) -> str:
    rows = _random(4, 3, 4)
    largest = float(yours(rows, rows).diagonal().max())
    if abs(largest - 1) > 1e-4:
        return (
            f"a vector against itself gave {largest:.2f}. Is something multiplied in that is not "
            "part of a cosine?"
        )
    return ""


def _three_by_hand(yours: Yours) -> str:
    found = yours(THREE_IMAGES, THREE_TEXTS)
    if not torch.allclose(found, THREE_COSINES, atol=1e-4):
        return (
            f"for (2, 0) and (4, 3) it gave {float(found[0, 0]):.2f}. Is that what 8 / (2 · 5) is?"
        )
    return ""


def clip_loss(yours: Yours) -> None:
    """Exercise 2: (B, D) twice, of any length, and the logit scale in; the loss out."""
    check(
        "03.2",
        yours,
        [
            _equal_rows_cost_log_b,
            _longer_vectors_cost_the_same,
            _swapping_costs_the_same,
            _order_does_not_count,
            _perfect_is_near_zero,
            _mismatched_is_worse,
            _crowded,
        ],
    )


def _loss_of(yours: Yours, images: Tensor, texts: Tensor, scale: float = SCALE) -> float:
    return float(yours(images, texts, torch.tensor(scale)))


def _equal_rows_cost_log_b(yours: Yours) -> str:
    rows = _random(1, 6, 5).expand(8, 6)
    found = _loss_of(yours, rows, rows)
    if abs(found - math.log(8)) > 1e-3:
        return (
            f"8 equal pairs cost {found:.2f}, and a guess among 8 costs log 8 = 2.08. Do you take "
            "the mean over the rows, and the natural logarithm?"
        )
    return ""


def _longer_vectors_cost_the_same(yours: Yours) -> str:
    images, texts = _random(6, 8, 6), _random(6, 8, 7)
    change = abs(_loss_of(yours, 3 * images, 2 * texts) - _loss_of(yours, images, texts))
    if change > 1e-3:
        return (
            f"making all vectors longer changed the loss by {change:.2f}. Did you normalise both "
            "sides before the product?"
        )
    return ""


def _swapping_costs_the_same(yours: Yours) -> str:
    images, texts = _unit(6, 8, 8), _unit(6, 8, 9)
    change = abs(_loss_of(yours, images, texts) - _loss_of(yours, texts, images))
    if change > 1e-3:
        return (
            f"swapping images and captions changed the loss by {change:.2f}. Did you average both "
            "directions?"
        )
    return ""


def _order_does_not_count(yours: Yours) -> str:
    images, texts = _unit(6, 8, 10), _unit(6, 8, 11)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    change = abs(_loss_of(yours, images[order], texts[order]) - _loss_of(yours, images, texts))
    if change > 1e-3:
        return (
            f"shuffling whole pairs changed the loss by {change:.2f}. Does the right answer of row "
            "i stand in column i?"
        )
    return ""


def _perfect_is_near_zero(yours: Yours) -> str:
    found = _loss_of(yours, torch.eye(8), torch.eye(8))
    if abs(found) > 1e-3:
        return (
            f"8 perfect pairs at right angles cost {found:.2f} at a logit scale of 14.3. Do you "
            "multiply the cosines by the scale, or divide by it?"
        )
    return ""


def _mismatched_is_worse(yours: Yours) -> str:
    rows = torch.eye(8)
    found = _loss_of(yours, rows, rows.roll(1, 0))
    if found < math.log(8):
        return (
            f"8 pairs that are all wrong cost {found:.2f}, less than a guess (2.08). Is the right "
            "answer the diagonal, whatever the vectors say?"
        )
    return ""


def _crowded(yours: Yours) -> str:
    """32 matched pairs in 4 dimensions: other pairs lie near, and only the true loss ignores it."""
    rows = _unit(32, 4, 0)
    logits = SCALE * rows @ rows.T
    right = float((logits.logsumexp(1) - logits.diagonal()).mean())
    found = _loss_of(yours, rows, rows)
    if abs(found - right) > 1e-3:
        return (
            f"32 perfect pairs crowded into 4 dimensions cost {found:.2f}, expected {right:.2f}. "
            "Are your targets the diagonal, or were they made from similarities?"
        )
    return ""


def logit_gradient(yours: Yours) -> None:
    """Exercise 3: (B, B) logits in, the gradient of the symmetric loss at each of them out."""
    check(
        "03.3",
        yours,
        [
            _gradient_form,
            _pull_and_push,
            _columns_count_too,
            _nothing_is_left_over,
            _mean_over_pairs,
            _as_autograd,
        ],
    )


def _gradient_form(yours: Yours) -> str:
    return _matrix(yours(_random(5, 5, 12)), 5)


def _pull_and_push(yours: Yours) -> str:
    gradient = yours(_random(5, 5, 12))
    off = gradient[~torch.eye(5, dtype=torch.bool)]
    if float(gradient.diagonal().max()) >= 0 or float(off.min()) < 0:
        return (
            f"the first pair's own entry is {float(gradient[0, 0]):+.2f}, its neighbour's "
            f"{float(gradient[0, 1]):+.2f}. Which of them must fall below 0 when a pair is pulled?"
        )
    return ""


def _columns_count_too(yours: Yours) -> str:
    logits = _random(5, 5, 13)
    change = float((yours(logits.T) - yours(logits).T).abs().max())
    if change > 1e-5:
        return (
            f"transposing the logits changed more than the places, by {change:.2f}. Where are the "
            "probabilities of the columns?"
        )
    return ""


def _nothing_is_left_over(yours: Yours) -> str:
    total = float(yours(_random(5, 5, 14)).sum())
    if abs(total) > 1e-5:
        return f"all entries add up to {total:+.2f}. Do pull and push not cancel exactly?"
    return ""


def _mean_over_pairs(yours: Yours) -> str:
    found = float(yours(torch.zeros(4, 4))[0, 0])
    if abs(found + 0.1875) > 1e-5:
        return (
            f"four pairs with equal logits gave {found:+.4f} on the diagonal. What do the mean "
            "over B pairs and the mean of two directions divide by?"
        )
    return ""


def _as_autograd(yours: Yours) -> str:
    logits = (3 * _random(6, 6, 15)).requires_grad_()
    targets = torch.arange(6)
    loss = (F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets)) / 2
    loss.backward()
    difference = float((yours(logits.detach()) - logits.grad).abs().max())
    if difference > 1e-5:
        return f"autograd differs by {difference:.3f} at one entry. Is each softmax along its own?"
    return ""


def equal_caption_floor(yours: Yours) -> None:
    """Exercise 4: a list of captions in, the least loss that any model can reach out."""
    check(
        "03.4",
        yours,
        [_different_is_free, _all_equal_is_log_b, _worked_floor, _two_groups, _floor_order],
    )


def _different_is_free(yours: Yours) -> str:
    found = float(yours(["a red boat", "two cats", "a kite"]))
    if abs(found) > 1e-6:
        return (
            f"three different captions gave {found:.2f}. What does a caption cost that stands "
            "alone in its group?"
        )
    return ""


def _all_equal_is_log_b(yours: Yours) -> str:
    found = float(yours(["a kite"] * 4))
    if abs(found - math.log(4)) < 1e-6:
        return ""
    if abs(found - 4 * math.log(4)) < 1e-6:
        return f"four equal captions gave {found:.2f}. Is that the sum, and the loss a mean?"
    if abs(found - math.log(4) / 4) < 1e-6:
        return (
            f"four equal captions gave {found:.2f}. Does a group of n cost log n once, or once for "
            "each of its n captions?"
        )
    if abs(found - 2) < 1e-6:
        return f"four equal captions gave {found:.2f}. Is that log to base 2, and the loss in nats?"
    return f"four equal captions gave {found:.2f}. Can a model do better than guess among the four?"


def _worked_floor(yours: Yours) -> str:
    found = float(yours(["a", "a", "b"]))
    if abs(found - 2 * math.log(2) / 3) > 1e-6:
        return (
            f"a, a, b gave {found:.2f}. Do both captions of the pair count, and is the sum divided "
            "by all three?"
        )
    return ""


def _two_groups(yours: Yours) -> str:
    found = float(yours(["a", "a", "b", "b", "b", "c"]))
    if abs(found - (2 * math.log(2) + 3 * math.log(3)) / 6) > 1e-6:
        return f"groups of 2, 3 and 1 gave {found:.2f}. Did every group get its own logarithm?"
    return ""


def _floor_order(yours: Yours) -> str:
    found = float(yours(["b", "a", "b", "a"]))
    if abs(found - math.log(2)) > 1e-6:
        return f"b, a, b, a gave {found:.2f}. Do equal captions have to stand side by side?"
    return ""
