"""From which cosine on an answer counts, and when nothing in a gallery matches."""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import floor

import numpy as np


def best_absent(scores: np.ndarray, fits: np.ndarray) -> np.ndarray:
    """What each query would find were all pictures taken away that fit it: its best other cosine.

    Shapes: scores (M, N), fits (M, N) bool; (M,) out.
    Raises: ValueError when the shapes differ, or a query fits every picture.
    """
    if scores.shape != fits.shape:
        raise ValueError(
            f"scores have shape {scores.shape} and fits {fits.shape}: both are (M, N)."
        )
    best = np.where(fits, -np.inf, scores).max(1)  # (M,)
    if np.isneginf(best).any():
        row = int(np.argmin(best))
        raise ValueError(f"Query {row} fits every picture, so nothing is left that it could miss.")
    return best


def share_words(captions: Sequence[str], caption_image: np.ndarray) -> np.ndarray:
    """Which pictures are described with any word of a caption; always its own.

    Take them away from `best_absent`, and the caption asks for something that is not there at all.
    That needs no facts about the pictures. Words that stand with more than half of the pictures
    ("a", "the") don't count.
    Shapes: M captions, caption_image (M,) the picture that each belongs to; (M, N) bool out.
    """
    pictures = np.arange(caption_image.max() + 1)  # (N,)
    words = [set(re.findall(r"\w+", caption.lower())) for caption in captions]
    described = {word: np.zeros(len(pictures), bool) for word in set().union(*words)}  # (N,) each
    for own, picture in zip(words, caption_image, strict=True):
        for word in own:
            described[word][picture] = True
    telling = {word for word, with_it in described.items() if with_it.mean() <= 0.5}
    shared = caption_image[:, None] == pictures  # (M, N)
    for row, own in enumerate(words):
        for word in own & telling:
            shared[row] |= described[word]
    return shared


def find_threshold(absent: np.ndarray, false_alarm_rate: float) -> float:
    """The lowest threshold above which at most this share of absent queries still get an answer.

    An answer counts when its cosine is above the threshold, not when it equals it. Find it on
    validation data, and read the test split once, afterwards.
    Shapes: absent (Q,), the best cosine of each query for which the gallery holds nothing.
    Raises: ValueError without queries, or when the rate is not a share from 0 to below 1.
    """
    if len(absent) == 0 or not np.isfinite(absent).all():
        raise ValueError("absent needs the best cosine, a finite number, of at least one query.")
    if not 0 <= false_alarm_rate < 1:
        raise ValueError(f"false_alarm_rate is a share from 0 to below 1, not {false_alarm_rate}.")
    allowed = floor(false_alarm_rate * len(absent) + 1e-9)  # 0.29 · 100 is 28.999… in a computer
    return float(np.sort(absent)[::-1][allowed])


def answered(best: np.ndarray, threshold: float) -> float:
    """The share of queries whose best cosine is above the threshold.

    Of absent queries it is the false-alarm rate, of present ones the share that is kept.
    Shapes: best (Q,).
    """
    return float((np.asarray(best) > threshold).mean())


def matches(scores: np.ndarray, threshold: float) -> list[int]:
    """The rows of a gallery above the threshold, best first; empty: nothing here matches.

    Shapes: scores (N,), the cosines of one query.
    """
    order = np.argsort(-np.asarray(scores), kind="stable")  # (N,)
    return [int(row) for row in order if scores[row] > threshold]


def reliability(
    claimed: np.ndarray, right: np.ndarray, bins: int = 10
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Claimed probabilities beside what came true, for each of `bins` equal steps from 0 to 1.

    Shapes: claimed (Q,), right (Q,) bool; three arrays of one length, empty steps left out: mean
    claimed probability, share that was right, number of answers.
    Raises: ValueError when the lengths differ or a probability is not one.
    Source: Guo et al. 2017, On Calibration of Modern Neural Networks, section 2 (arXiv 1706.04599).
    """
    claimed, right = np.asarray(claimed, float), np.asarray(right, bool)
    if claimed.shape != right.shape or not ((claimed >= 0) & (claimed <= 1)).all():
        raise ValueError("claimed holds a probability for each answer of right, from 0 to 1.")
    step = np.minimum((claimed * bins).astype(int), bins - 1)  # (Q,)
    counts = np.bincount(step, minlength=bins)  # (bins,)
    there = counts > 0
    mean = np.bincount(step, claimed, bins)[there] / counts[there]
    share = np.bincount(step, right, bins)[there] / counts[there]
    return mean, share, counts[there]


def calibration_error(claimed: np.ndarray, right: np.ndarray, bins: int = 10) -> float:
    """The mean gap between claimed probability and share right, weighted by the answers in a step.

    Shapes and errors as `reliability`; a share of 1 out.
    """
    mean, share, counts = reliability(claimed, right, bins)
    return float((counts * np.abs(mean - share)).sum() / counts.sum())


def best_scale(cosines: np.ndarray, labels: np.ndarray, scales: Sequence[float]) -> float:
    """The logit scale whose softmax gives the true answers the highest probability; the first of
    equal ones. It changes claims, never answers. Choose it on validation data.

    Shapes: cosines (N, K), labels (N,) from 0 to K - 1; scales are multipliers, 1/temperature.
    Raises: ValueError when the shapes do not fit or there is no scale.
    Source: Guo et al. 2017, On Calibration of Modern Neural Networks, section 4.2
    (arXiv 1706.04599).
    """
    cosines, labels = np.asarray(cosines, float), np.asarray(labels)
    if cosines.ndim != 2 or labels.shape != (len(cosines),) or not len(scales):
        raise ValueError(
            f"best_scale needs cosines (N, K), labels (N,) and scales; got {cosines.shape}, "
            f"{labels.shape} and {len(scales)} scales."
        )
    return min(scales, key=lambda scale: _surprise(scale * cosines, labels))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Rows of probabilities. Shapes: (N, K) in and out."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def _surprise(logits: np.ndarray, labels: np.ndarray) -> float:
    """The mean negative log-probability of the true answers, in nats."""
    top = logits.max(axis=1)  # (N,)
    sums = np.log(np.exp(logits - top[:, None]).sum(axis=1)) + top  # (N,)
    return float((sums - logits[np.arange(len(labels)), labels]).mean())
