"""Figures of what a score means; like those of `plots`, each returns a sentence that reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np

from cliplib.plots import BLUE, GREEN, GREY, ORANGE
from cliplib.threshold import calibration_error, reliability

STYLES = ((BLUE, "o", "solid"), (ORANGE, "s", "dashed"), (GREEN, "^", "dotted"))


def score_distributions(groups: Mapping[str, np.ndarray], threshold: float | None = None) -> str:
    """How often each cosine occurs in two or three named groups; areas are equal.

    Raises: ValueError for another number of groups, or an empty one.
    """
    _check_groups(groups)
    _, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
    scores = [np.asarray(group, float) for group in groups.values()]
    edges = np.linspace(min(s.min() for s in scores), max(s.max() for s in scores), 61)
    for (name, _), group, (colour, _, line) in zip(groups.items(), scores, STYLES, strict=False):
        axes.hist(
            group, edges, density=True, histtype="stepfilled", color=(colour, 0.18),
            edgecolor=colour, linestyle=line, linewidth=1.6, label=f"{name} ({len(group):,})",
        )  # fmt: skip
    if threshold is not None:
        axes.axvline(threshold, color="black", linewidth=1.2, label=f"threshold {threshold:.2f}")
    axes.set(xlabel="cosine similarity", ylabel="density")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9)
    parts = [f"{name}: half lie above {np.median(group):.2f}" for name, group in groups.items()]
    sentence = "; ".join(parts)
    if threshold is None:
        return f"{sentence}."
    above = [f"{(s > threshold).mean():.1%} of {n}" for n, s in zip(groups, scores, strict=True)]
    return f"{sentence}. Above the threshold of {threshold:.2f}: {', '.join(above)}."


def reliability_curve(groups: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> str:
    """Claimed probability against the share that was right; honest claims lie on the dashed line.

    groups: for each name, claimed (Q,) and right (Q,). A larger mark stands for more answers.
    Raises: ValueError for no or more than three groups, or claims that are no probabilities.
    """
    _check_groups(groups)
    _, axes = plt.subplots(figsize=(5.2, 4.4), layout="constrained")
    axes.plot([0, 1], [0, 1], color=GREY, linestyle=(0, (4, 3)), label="honest")
    sentences = []
    for (name, (claimed, right)), (colour, mark, line) in zip(groups.items(), STYLES, strict=False):
        mean, share, counts = reliability(claimed, right)
        axes.plot(mean, share, color=colour, linestyle=line, label=name)
        axes.scatter(mean, share, 15 + 150 * counts / counts.sum(), color=colour, marker=mark)
        sentences.append(
            f"{name}: claims {np.mean(claimed):.0%} on average, is right in {np.mean(right):.0%}; "
            f"mean gap {100 * calibration_error(claimed, right):.0f} points."
        )
    axes.set(xlabel="claimed probability", ylabel="share that was right")
    axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9, loc="upper left")
    return "\n".join(sentences)


def recall_by_gallery(
    sizes: Sequence[int], found: Mapping[str, Sequence[float]], batch: int
) -> str:
    """Recall (shares of 1) in galleries of several sizes; `batch` is marked.

    Raises: ValueError when a line has not one value for each size.
    """
    _check_groups(found)
    if any(len(line) != len(sizes) for line in found.values()):
        raise ValueError(f"Each line needs {len(sizes)} values, one for each gallery.")
    _, axes = plt.subplots(figsize=(6, 3.4), layout="constrained")
    for (name, line), (colour, mark, style) in zip(found.items(), STYLES, strict=False):
        axes.plot(
            sizes, 100 * np.asarray(line), color=colour, marker=mark, linestyle=style, label=name
        )
    axes.axvline(batch, color=GREY, linewidth=1, label=f"a batch, B = {batch}")
    axes.set_xscale("log")
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.minorticks_off()
    axes.set(xlabel="pictures in the gallery", ylabel="found first (%)", ylim=(0, 105))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9)
    small, large = int(np.argmin(sizes)), int(np.argmax(sizes))
    return " ".join(
        f"{name}: {line[small]:.1%} among {sizes[small]:,}, {line[large]:.1%} among "
        f"{sizes[large]:,}."
        for name, line in found.items()
    )


def _check_groups(groups: Mapping[str, object]) -> None:
    if not 1 <= len(groups) <= len(STYLES):
        raise ValueError(f"One to {len(STYLES)} named groups can be told apart, not {len(groups)}.")
