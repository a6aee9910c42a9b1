"""Figures of learning from few pairs; like those of `plots`, each returns a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import FuncFormatter, NullFormatter

from cliplib.plots import BLUE, GREEN, ORANGE, RED

STYLES = ((BLUE, "o", "solid"), (ORANGE, "s", "dashed"), (GREEN, "^", "dashdot"),
          (RED, "D", "dotted"))  # fmt: skip
DASHES = ((1, 2), (6, 2), (3, 2, 1, 2), (10, 4))  # of lines that need no labels


def learning_curve(
    groups: Mapping[str, pd.DataFrame], gallery: int, k: int = 10, column: str = "t2i_r10"
) -> str:
    """Recall against the number of training pictures, a line a group, with its spread over seeds.

    groups: a row a seed and number, with the columns pictures, seed and `column` (a share of 1).
    gallery: how many pictures are searched; the dotted line is what a guess finds there.
    Raises: ValueError for no or more than four groups.
    """
    _check(groups)
    _, axes = plt.subplots(figsize=(7.4, 3.9), layout="constrained")
    sentences = []
    for (name, rows), (colour, mark, line) in zip(groups.items(), STYLES, strict=False):
        by = 100 * rows.groupby("pictures")[column].agg(["mean", "min", "max"])
        axes.fill_between(by.index, by["min"], by["max"], color=colour, alpha=0.2, linewidth=0)
        axes.plot(by.index, by["mean"], color=colour, marker=mark, linestyle=line, label=name)
        first, last = by.index[0], by.index[-1]
        sentences.append(
            f"{name}: {by['mean'].iloc[0]:.1f} % with {first:,} pictures, "
            f"{by['mean'].iloc[-1]:.1f} % with {last:,}"
        )
    chance = 100 * k / gallery
    axes.axhline(chance, color="black", linestyle="dotted", linewidth=1)
    axes.annotate(
        f"chance: {chance:.1f} %", (1, chance), (0, 3), xycoords=("axes fraction", "data"),
        textcoords="offset points", ha="right", fontsize=9,
    )  # fmt: skip
    sizes = sorted({size for rows in groups.values() for size in rows.pictures})
    axes.set_xscale("log")
    named = [size for before, size in zip([0, *sizes], sizes, strict=False) if size > 1.4 * before]
    axes.set_xticks(sizes, [f"{size:,}" if size in named else "" for size in sizes], fontsize=9)
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.minorticks_off()
    axes.set(
        xlabel="training pictures (each step to the right is a factor)",
        ylabel=f"recall@{k}, text to image (%)", ylim=(0, None),
        title=f"Among {gallery:,} pictures; band: smallest and largest of the seeds",
    )  # fmt: skip
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9, loc="upper left")
    return f"{'; '.join(sentences)}. Chance: {chance:.1f} %."


def kept_and_learned(
    lines: Mapping[str, Sequence[tuple[float, float, float]]], old: str, new: str,
    chosen: tuple[str, float] | None = None,
) -> str:  # fmt: skip
    """What a model finds of the new against what it still finds of the old, from before to after.

    lines: for each way of training (share, recall of the old, recall of the new), shares rising
    from 0 (before) to 1 (after), recalls as shares of 1. chosen: a line and a share of it, marked.
    Raises: ValueError for no or more than four lines.
    """
    _check(lines)
    _, axes = plt.subplots(figsize=(6.2, 4.2), layout="constrained")
    sentences = []
    for (name, points), (colour, mark, line) in zip(lines.items(), STYLES, strict=False):
        shares, kept, learned = (np.array(values, float) for values in zip(*points, strict=True))
        axes.plot(
            100 * kept, 100 * learned, color=colour, marker=mark, linestyle=line, markersize=4,
            label=name,
        )  # fmt: skip
        for at in (0, -1):
            axes.annotate(
                f"{shares[at]:g}", (100 * kept[at], 100 * learned[at]), (5, 5),
                textcoords="offset points", fontsize=9, color=colour,
            )  # fmt: skip
        if chosen and chosen[0] == name:
            at = list(shares).index(chosen[1])
            axes.plot(
                100 * kept[at], 100 * learned[at], "o", markersize=13, markerfacecolor="none",
                markeredgecolor="black",
            )  # fmt: skip
        sentences.append(
            f"{name}: {old} {kept[0]:.1%} before, {kept[-1]:.1%} after; {new} {learned[0]:.1%} "
            f"before, {learned[-1]:.1%} after"
        )
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set(xlabel=f"{old}: what it knew (%)", ylabel=f"{new}: what it learned (%)")
    high = 108 * max(max(known, found) for points in lines.values() for _, known, found in points)
    axes.set(xlim=(0, high), ylim=(0, high))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9)
    return f"{'; '.join(sentences)}."


def shots(
    groups: Mapping[str, pd.DataFrame], levels: Mapping[str, float], column: str = "accuracy"
) -> str:
    """Accuracy against the labelled pictures of each class, with its spread over seeds.

    groups: a row a seed and number, with the columns shots and `column` (a share of 1).
    levels: what needs no label or is a reference, a horizontal line each.
    Raises: ValueError for no or more than four groups, or more than four levels.
    """
    _check(groups)
    if len(levels) > len(DASHES):
        raise ValueError(f"levels holds at most {len(DASHES)} of them, not {len(levels)}.")
    _, axes = plt.subplots(figsize=(8.2, 3.5), layout="constrained")
    sentences = []
    for (name, rows), (colour, mark, line) in zip(groups.items(), STYLES, strict=False):
        by = 100 * rows.groupby("shots")[column].agg(["mean", "min", "max"])
        axes.fill_between(by.index, by["min"], by["max"], color=colour, alpha=0.2, linewidth=0)
        axes.plot(by.index, by["mean"], color=colour, marker=mark, linestyle=line, label=name)
        told = ", ".join(f"{n}: {mean:.0f} %" for n, mean in by["mean"].items())
        sentences.append(f"{name} by labels of each class: {told}")
    for (name, level), dashes in zip(levels.items(), DASHES, strict=False):
        axes.axhline(
            100 * level, color="black", linestyle=(0, dashes), linewidth=1.2,
            label=f"{name}: {level:.0%}",
        )  # fmt: skip
        sentences.append(f"{name}: {level:.0%}")
    axes.set_xscale("log", base=2)
    ticks = sorted({n for rows in groups.values() for n in rows.shots})
    axes.set_xticks(ticks, [str(n) for n in ticks])
    axes.minorticks_off()
    axes.set(xlabel="labelled pictures of each class", ylabel="right (%)", ylim=(0, 102))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5))
    return f"{'; '.join(sentences)}."


def _check(groups: Mapping[str, object]) -> None:
    if not 1 <= len(groups) <= len(STYLES):
        raise ValueError(f"groups holds one to {len(STYLES)} of them, not {len(groups)}.")
