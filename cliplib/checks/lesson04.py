"""Checks of lesson 04: the scale's bound, the schedule, what decays, batch against gallery."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from cliplib.checks import Yours, check

LOG_100 = math.log(100)


def clamp_log_scale(yours: Yours) -> None:
    """Exercise 1: the logarithm of the logit scale in, the bounded logarithm out."""
    check("04.1", yours, [_stays_below, _stops_at_100, _small_ones_stay, _no_lower_bound])


def _log_scale(yours: Yours, value: float) -> float:
    return float(yours(torch.tensor(value)))


def _stays_below(yours: Yours) -> str:
    found = _log_scale(yours, 2.66)
    if abs(found - math.exp(2.66)) < 1e-2:
        return f"2.66 became {found:.2f}. Is that the scale, and the parameter its logarithm?"
    if abs(found - 2.66) > 1e-4:
        return f"2.66, a scale of 14.3, became {found:.2f}. Should an allowed value change?"
    return ""


def _stops_at_100(yours: Yours) -> str:
    found = _log_scale(yours, 6.0)
    if abs(found - 6) < 1e-4:
        return (
            "a logarithm of 6.00, a scale of 403, stayed as it was. Which bound belongs to the "
            "logarithm, 100 or log 100?"
        )
    if abs(found - LOG_100) > 1e-4:
        return f"a logarithm of 6.00 became {found:.2f}. What is the natural logarithm of 100?"
    return ""


def _small_ones_stay(yours: Yours) -> str:
    found = _log_scale(yours, 4.6)
    if abs(found - 4.6) > 1e-4:
        return f"4.60, a scale of 99.5, became {found:.2f}. Is the bound the natural log of 100?"
    return ""


def _no_lower_bound(yours: Yours) -> str:
    found = _log_scale(yours, -3.0)
    if abs(found + 3) > 1e-4:
        return f"-3.00, a scale of 0.05, became {found:.2f}. Is there a lower bound in the task?"
    return ""


def rate_share(yours: Yours) -> None:
    """Exercise 2: step, steps and warm-up share in; the share of the full rate out."""
    check("04.2", yours, [_starts_small, _full_after_warmup, _half_way, _ends_near_0, _no_warmup])


def _starts_small(yours: Yours) -> str:
    found = float(yours(0, 100, 0.1))
    if abs(found) < 1e-9:
        return "step 0 of 100 gave 0.00. Would that step not be wasted?"
    if abs(found - 0.1) > 1e-6:
        return f"step 0 of 100 with 10 steps of warm-up gave {found:.2f}. Does the rate rise?"
    return ""


def _full_after_warmup(yours: Yours) -> str:
    found = [float(yours(step, 100, 0.1)) for step in (9, 10)]
    if max(abs(share - 1) for share in found) > 1e-6:
        return (
            f"steps 9 and 10 of 100 gave {found[0]:.3f} and {found[1]:.3f}. Does the cosine begin "
            "where the warm-up ends?"
        )
    return ""


def _half_way(yours: Yours) -> str:
    found = float(yours(55, 100, 0.1)), float(yours(32, 100, 0.1))
    if abs(found[0]) < 1e-6:
        return "half way down it is 0.00 already. Is that half a cosine, from 1 to -1, moved up?"
    if abs(found[0] - 0.5) > 1e-6:
        return f"half way down it gave {found[0]:.3f}. How far is step 55 between 10 and 100?"
    if abs(found[1] - 0.5 * (1 + math.cos(math.pi * 22 / 90))) > 1e-6:
        return f"step 32 of 100 gave {found[1]:.3f}. Is that a straight line or a cosine?"
    return ""


def _ends_near_0(yours: Yours) -> str:
    found = float(yours(99, 100, 0.1))
    if not 0 <= found < 0.001:
        return f"the last step gave {found:.3f}. Does the rate fall to nearly 0 at the end?"
    return ""


def _no_warmup(yours: Yours) -> str:
    found = float(yours(0, 100, 0.0))
    if abs(found - 1) > 1e-6:
        return f"without warm-up step 0 gave {found:.2f}. Is there nothing to wait for?"
    return ""


class _Sample(nn.Module):
    """One parameter of each kind that CLIP has."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3)
        self.batch_norm = nn.BatchNorm2d(4)
        self.layer_norm = nn.LayerNorm(4)
        self.words = nn.Embedding(5, 4)
        self.projection = nn.Linear(4, 2, bias=False)
        self.log_logit_scale = nn.Parameter(torch.tensor(2.66))


def decaying(yours: Yours) -> None:
    """Exercise 3: a model in, the names of the parameters that decay out."""
    check("04.3", yours, [_names, _scale_never, _norms_never, _biases_never, _matrices_do])


def _chosen(yours: Yours) -> set[str]:
    return {str(name) for name in yours(_Sample())}


def _names(yours: Yours) -> str:
    found, known = _chosen(yours), {name for name, _ in _Sample().named_parameters()}
    unknown = sorted(found - known)
    if unknown:
        return f"{unknown[0][:40]!r} is no parameter's name. Do you collect the names?"
    return ""


def _scale_never(yours: Yours) -> str:
    if "log_logit_scale" in _chosen(yours):
        return "the logit scale decays. How many dimensions has a single number?"
    return ""


def _norms_never(yours: Yours) -> str:
    if _chosen(yours) & {"batch_norm.weight", "layer_norm.weight"}:
        return "the weight of a norm decays. Does its name tell, or its number of dimensions?"
    return ""


def _biases_never(yours: Yours) -> str:
    if any(name.endswith(".bias") for name in _chosen(yours)):
        return "a bias decays. What would a pull towards 0 do to a shift?"
    return ""


def _matrices_do(yours: Yours) -> str:
    missing = {"convolution.weight", "words.weight", "projection.weight"} - _chosen(yours)
    if missing:
        return f"{min(missing)} does not decay. Does it have two dimensions or more?"
    return ""


FOUR = np.array(
    [[0.9, 0.1, 0.2, 0.3], [0.2, 0.5, 0.8, 0.1], [0.1, 0.9, 0.6, 0.2], [0.3, 0.2, 0.7, 0.4]]
)


def batch_and_gallery(yours: Yours) -> None:
    """Exercise 4: (N, N) scores and B in; the share found in its batch and in the gallery out."""
    check("04.4", yours, [_two_shares, _four_by_hand, _one_batch, _every_batch, _ties_are_wrong])


def _shares(yours: Yours, scores: np.ndarray | Tensor, size: int) -> tuple[float, float]:
    in_batch, in_gallery = yours(scores, size)
    return float(in_batch), float(in_gallery)


def _two_shares(yours: Yours) -> str:
    found = _shares(yours, FOUR, 2)
    if not all(0 <= share <= 1 for share in found):
        return f"it gave {found[0]:.2f} and {found[1]:.2f}. Are these counts, and not shares of 1?"
    return ""


def _four_by_hand(yours: Yours) -> str:
    found = _shares(yours, FOUR, 2)
    right = (0.75, 0.25)
    if np.allclose(found, right[::-1]):
        return "batch and gallery came back in the other order. Which of them comes first?"
    if np.allclose(found, _shares_of(FOUR.T, 2)):
        return (
            f"the worked example gave {found[0]:.2f} and {found[1]:.2f}. Does each caption, a row, "
            "look for its picture, a column?"
        )
    if abs(found[1] - right[1]) > 1e-6:
        return f"in the gallery of 4 it found {found[1]:.2f}. Is the largest score of a row meant?"
    return ""


def _shares_of(scores: np.ndarray, size: int) -> tuple[float, float]:
    def first(block: np.ndarray) -> np.ndarray:
        return (block >= block.diagonal()[:, None]).sum(1) == 1

    blocks = [scores[i : i + size, i : i + size] for i in range(0, len(scores), size)]
    return float(np.concatenate([first(b) for b in blocks]).mean()), float(first(scores).mean())


def _one_batch(yours: Yours) -> str:
    found = _shares(yours, FOUR, 4)
    if abs(found[0] - found[1]) > 1e-6:
        return (
            f"with one batch of all 4 it gave {found[0]:.2f} and {found[1]:.2f}. Should they not be"
            " equal?"
        )
    return ""


def _every_batch(yours: Yours) -> str:
    own = np.repeat([0.9, 0.2, 0.0, 0.5], 3)  # so that the batches differ
    scores = np.random.default_rng(0).random((12, 12)) + np.diag(own)
    found, right = _shares(yours, scores, 3), _shares_of(scores, 3)
    if abs(found[0] - right[0]) > 1e-6:
        return (
            f"12 pairs in batches of 3 gave {found[0]:.2f}, expected {right[0]:.2f}. Do you look "
            "at every batch, and at its own columns only?"
        )
    return ""


def _ties_are_wrong(yours: Yours) -> str:
    found = _shares(yours, np.full((4, 4), 0.5), 2)
    if max(found) > 0:
        return (
            f"equal scores everywhere found {max(found):.2f}. Does argmax not take the first of "
            "equals?"
        )
    return ""
