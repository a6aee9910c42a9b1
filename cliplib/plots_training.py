"""Figures of training; like those of `plots`, each returns a sentence that reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np

from cliplib.plots import BLUE, GREEN, GREY, ORANGE, RED

STYLES = ((BLUE, "solid"), (ORANGE, "dashed"), (GREEN, "dashdot"), (RED, "dotted"))


def matrix_film(frames: Mapping[str, np.ndarray]) -> str:
    """One batch's cosines at several moments, side by side on one scale.

    frames: title to (B, B) cosines, a row a picture, a column a caption.
    Raises: ValueError when there are none, or one is not square.
    """
    if not frames or any(f.ndim != 2 or f.shape[0] != f.shape[1] for f in frames.values()):
        raise ValueError("A film needs at least one square matrix (B, B) of cosines.")
    figure, row = plt.subplots(
        1, len(frames), squeeze=False, layout="constrained", figsize=(2.1 * len(frames), 2.6)
    )
    low, high = min(f.min() for f in frames.values()), max(f.max() for f in frames.values())
    sentences = []
    for axes, (title, cosines) in zip(row[0], frames.items(), strict=True):
        image = axes.imshow(cosines, cmap="viridis", interpolation="nearest", vmin=low, vmax=high)
        axes.set(title=title, xlabel="caption", xticks=[], yticks=[])
        own, pairs = cosines.diagonal(), len(cosines)
        others = np.where(np.eye(pairs, dtype=bool), -np.inf, cosines).max(1)
        sentences.append(f"{title}: {(own > others).sum()}")
    row[0][0].set_ylabel("picture")
    figure.colorbar(image, ax=row[0].tolist(), label="cosine", shrink=0.8)
    return f"Rows of {pairs} in which the diagonal is the largest: {', '.join(sentences)}."


def rate_schedule(factors: Sequence[float]) -> str:
    """The share of the full learning rate at each step. Raises: ValueError when there are none."""
    if not len(factors):
        raise ValueError("A schedule needs at least one step.")
    _, axes = plt.subplots(figsize=(6.5, 2.8), layout="constrained")
    axes.plot(range(len(factors)), factors, color=BLUE)
    axes.set(xlabel="step", ylabel="share of the full rate", ylim=(0, 1.08))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    top = int(np.argmax(factors))
    return (
        f"The rate is {factors[0]:.3f} of the full one at step 0, all of it at step {top} of "
        f"{len(factors)}, half of it at step {_half(factors, top)}, and ends at {factors[-1]:.6f}."
    )


def _half(factors: Sequence[float], top: int) -> int:
    return next((i for i in range(top, len(factors)) if factors[i] <= 0.5), len(factors) - 1)


def loss_lines(runs: Mapping[str, Sequence[float]], log_b: float) -> str:
    """The losses of up to four short runs, with the price of a guess, log B.

    Raises: ValueError for no or more than four runs.
    """
    if not 1 <= len(runs) <= len(STYLES):
        raise ValueError(f"Expected one to {len(STYLES)} runs, got {len(runs)}.")
    _, axes = plt.subplots(figsize=(6.5, 3.4), layout="constrained")
    axes.axhline(log_b, color=GREY, linewidth=1, label=f"log B = {log_b:.2f}: guessing")
    for (name, losses), (colour, line) in zip(runs.items(), STYLES, strict=False):
        axes.plot(range(len(losses)), losses, color=colour, linestyle=line, label=name)
    axes.set(xlabel="step", ylabel="loss (nats)", ylim=(0, None))
    axes.legend(frameon=False, fontsize=9, loc="lower left")
    axes.spines[["top", "right"]].set_visible(False)
    ends = ", ".join(f"{name} {np.mean(losses[-5:]):.2f}" for name, losses in runs.items())
    return f"Loss over the last five steps (log B is {log_b:.2f}): {ends}."
