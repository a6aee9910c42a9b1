"""Figures of classes; like those of `plots`, each returns a sentence that reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np

from cliplib.plots import CELLS_WITH_NUMBERS
from cliplib.plots_scores import STYLES


def confusion(counts: np.ndarray, classes: Sequence[str]) -> str:
    """A row for each true class, a column for each answer; shares of a row, so rows sum to 1.

    Shapes: counts (K, K).
    Raises: ValueError when counts and classes differ in number.
    """
    counts = np.asarray(counts)
    if counts.shape != (len(classes), len(classes)):
        raise ValueError(f"counts have shape {counts.shape}, but there are {len(classes)} classes.")
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)  # (K, K)
    side = 2.2 + 0.27 * len(classes)
    _, axes = plt.subplots(figsize=(side + 1, side), layout="constrained")
    image = axes.imshow(shares, cmap="viridis", vmin=0, vmax=1)
    axes.figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.8)
    axes.set_xticks(range(len(classes)), classes, rotation=90, fontsize=8)
    axes.set_yticks(range(len(classes)), classes, fontsize=8)
    axes.set(xlabel="answer", ylabel="true class")
    if len(classes) <= CELLS_WITH_NUMBERS:
        for (row, column), share in np.ndenumerate(shares):
            colour = "black" if share > 0.5 else "white"
            axes.text(column, row, f"{share:.2f}", ha="center", va="center", color=colour)
    return _read_confusion(counts, classes)


def _read_confusion(counts: np.ndarray, classes: Sequence[str]) -> str:
    right, total = int(counts.trace()), int(counts.sum())
    named = f"{right:,} of {total:,} pictures are named right ({right / max(total, 1):.1%})"
    wrong = counts * (1 - np.eye(len(counts), dtype=int))
    if not wrong.any():
        return f"{named}; nothing is mistaken."
    row, column = np.unravel_index(wrong.argmax(), wrong.shape)
    return (
        f"{named}; the commonest mistake is {classes[column]!r} for {classes[row]!r}, "
        f"{wrong[row, column]} of {counts[row].sum()}."
    )


def by_class(
    values: Mapping[str, np.ndarray], classes: Sequence[str], chance: float, label: str
) -> str:
    """One to three methods beside each other for each class, and what a guess reaches (dashed).

    values: for each method (K,) shares of 1, NaN where a class has none.
    Raises: ValueError for another number of methods, or of values.
    """
    if not 1 <= len(values) <= len(STYLES) or any(len(v) != len(classes) for v in values.values()):
        raise ValueError(
            f"values holds one to {len(STYLES)} methods with {len(classes)} values each; it has "
            f"{ {name: len(v) for name, v in values.items()} }."
        )
    _, axes = plt.subplots(figsize=(7, 1 + 0.26 * len(classes)), layout="constrained")
    rows = np.arange(len(classes))
    sizes = (10, 6, 3)  # points: a mark upon another leaves its rim to be seen
    for (name, shares), (colour, mark, _), size in zip(values.items(), STYLES, sizes, strict=False):
        axes.plot(100 * np.asarray(shares), rows, mark, color=colour, markersize=size, label=name)
    axes.axvline(100 * chance, color="black", linestyle="dashed", linewidth=1, label="chance")
    axes.set_yticks(rows, classes, fontsize=9)
    axes.invert_yaxis()
    axes.set(xlabel=f"{label} (%)", xlim=(-2, 102))
    axes.grid(axis="y", color="0.9")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5))
    parts = []
    for name, shares in values.items():
        low, high = int(np.nanargmin(shares)), int(np.nanargmax(shares))
        parts.append(
            f"{name}: {np.nanmean(shares):.1%} on average, from {shares[low]:.1%} "
            f"({classes[low]}) to {shares[high]:.1%} ({classes[high]})"
        )
    return f"{'; '.join(parts)}. Chance: {chance:.1%}."
