"""Figures of the clinic; like those of `plots`, each returns a sentence that reads it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np

from cliplib.plots import BLUE, GREY, ORANGE

COLUMNS = 5


def loss_panels(curves: Mapping[str, tuple[Sequence[float], int, float]]) -> str:
    """A small panel for each case: its losses, log B (dashed) and the floor (dotted).

    curves: title to losses, pairs B, and the least loss that its batches allow, all in nats.
    Raises: ValueError when there are none.
    """
    if not curves:
        raise ValueError("There are no losses to draw.")
    rows = math.ceil(len(curves) / COLUMNS)
    figure, grid = plt.subplots(
        rows, COLUMNS, squeeze=False, layout="constrained", figsize=(2.3 * COLUMNS, 2.1 * rows)
    )
    figure.get_layout_engine().set(h_pad=0.1)
    sentences = []
    for axes, (title, (losses, pairs, floor)) in zip(grid.flat, curves.items(), strict=False):
        axes.axhline(math.log(pairs), color=GREY, linestyle="dashed", linewidth=1)
        axes.axhline(floor, color=ORANGE, linestyle="dotted", linewidth=1.5)
        axes.plot(range(len(losses)), losses, color=BLUE, linewidth=1)
        axes.set_title(f"{title}, B = {pairs}", fontsize=9)
        axes.set_ylim(-0.4, 1.15 * max(math.log(128), *losses))
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
        sentences.append(f"{title} {losses[0]:.1f} to {np.mean(losses[-10:]):.1f}")
    for axes in list(grid.flat)[len(curves) :]:
        axes.axis("off")
    for axes in grid[:, 0]:
        axes.set_ylabel("loss (nats)", fontsize=8)
    for axes in grid[-1]:
        axes.set_xlabel("step", fontsize=8)
    return f"Loss, first to last (dashed log B, dotted floor): {'; '.join(sentences)}."


def effects(
    ill: Mapping[str, Sequence[float]], mended: Mapping[str, Sequence[float]], measure: str
) -> str:
    """What each fault does to a share: a line for each, from mended (circle) to ill (cross).

    ill, mended: fault to one value a seed, shares of 1. measure: what the shares are.
    Raises: ValueError when the two name different faults.
    """
    if not ill or list(ill) != list(mended):
        raise ValueError("ill and mended need the same faults, in the same order, at least one.")
    _, axes = plt.subplots(figsize=(8, 0.6 + 0.32 * len(ill)), layout="constrained")
    losses = {}
    for at, fault in enumerate(ill):
        bad, good = 100 * np.mean(ill[fault]), 100 * np.mean(mended[fault])
        losses[fault] = bad - good
        axes.plot([bad, good], [at, at], color=GREY, linewidth=1.5, zorder=1)
        axes.scatter(good, at, color=BLUE, marker="o", zorder=2, label="mended" if not at else "")
        axes.scatter(bad, at, color=ORANGE, marker="X", zorder=3, label="ill" if not at else "")
    axes.set_yticks(range(len(ill)), list(ill), fontsize=9)
    axes.invert_yaxis()
    axes.set(xlabel=f"{measure} (%)", xlim=(-2, 102))
    axes.grid(axis="x", alpha=0.25)
    axes.legend(frameon=False, fontsize=9, ncols=2, loc="lower right", bbox_to_anchor=(1, 1))
    axes.spines[["top", "right"]].set_visible(False)
    told = "; ".join(f"{fault} {change:+.0f}" for fault, change in losses.items())
    return f"Points of {measure}, ill against mended: {told}."
