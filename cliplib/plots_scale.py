"""Figures of large batches; like those of `plots`, each returns a sentence that reads it."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

from cliplib.plots import BLUE, GREY, ORANGE

STYLES = {"epochs": (BLUE, "o", "solid"), "steps": (ORANGE, "s", "dashed")}


def recall_by_batch(groups: Mapping[str, pd.DataFrame], gallery: int, k: int = 10) -> str:
    """Recall against batch size, a panel a group: at equal epochs, and at equal steps.

    groups: a row a training, with the columns equal ("epochs" or "steps"), batch, steps and
    t2i_r<k> (a share of 1); several seeds of one batch make a band. gallery: how many pictures are
    searched; the dotted line is what a guess finds there.
    Raises: ValueError when there is no group.
    """
    if not groups:
        raise ValueError("There is no group of trainings to draw.")
    _, grid = plt.subplots(
        1, len(groups), squeeze=False, sharey=True, layout="constrained",
        figsize=(1.2 + 3.9 * len(groups), 3.7),
    )  # fmt: skip
    told = [
        _panel(axes, name, rows, f"t2i_r{k}", 100 * k / gallery)
        for axes, (name, rows) in zip(grid[0], groups.items(), strict=True)
    ]
    grid[0][0].set(ylabel=f"recall@{k} among {gallery:,} (%)", ylim=(0, None))
    grid[0][0].legend(frameon=False, fontsize=9, loc="lower left")
    return f"{'; '.join(told)}. Chance: {100 * k / gallery:.1f} %."


def _panel(axes: Axes, name: str, rows: pd.DataFrame, column: str, chance: float) -> str:
    sentences = []
    for equal, some in rows.groupby("equal"):
        colour, mark, line = STYLES[equal]
        by = 100 * some.groupby("batch")[column].agg(["mean", "min", "max"])
        axes.fill_between(by.index, by["min"], by["max"], color=colour, alpha=0.2, linewidth=0)
        axes.plot(
            by.index, by["mean"], color=colour, marker=mark, linestyle=line, label=f"equal {equal}"
        )
        found = ", ".join(f"{batch}: {mean:.1f}" for batch, mean in by["mean"].items())
        sentences.append(f"{name}, equal {equal} (%), by batch: {found}")
    axes.axhline(chance, color=GREY, linestyle="dotted", linewidth=1.2)
    axes.set_xscale("log", base=2)
    sizes = sorted(rows.batch.unique())
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.minorticks_off()
    axes.set(title=name, xlabel="pairs in a batch")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    return "; ".join(sentences)
