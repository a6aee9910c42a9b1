"""Figures of what is inside a model; like those of `plots`, each returns a sentence about it."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from cliplib.plots import BLUE, GREY, ORANGE
from cliplib.plots_scores import STYLES
from cliplib.scenes import Box

GIVES_AND_TAKES = "PuOr_r"  # orange above 0, purple below, and told apart by everyone
DARKEST = 0.85  # how much of a picture the strongest colour covers


def heat_maps(
    pictures: np.ndarray, maps: np.ndarray, titles: Sequence[str],
    boxes: Sequence[Box | None] | None = None,
) -> str:  # fmt: skip
    """Each picture as the model sees it, and beneath it in grey with its map and the true box.

    One colour scale for all. The sentence says where each map's largest cell lies.
    Shapes: pictures (Q, H, W, 3) uint8, maps (Q, h, w), and Q titles.
    Raises: ValueError when they differ in number.
    """
    maps, boxes = np.asarray(maps, float), boxes or [None] * len(titles)
    if not len(pictures) == len(maps) == len(titles) == len(boxes) > 0:
        raise ValueError(
            f"There are {len(pictures)} pictures, {len(maps)} maps, {len(titles)} titles and "
            f"{len(boxes)} boxes; each picture needs one of each."
        )
    most = np.abs(maps).max() or 1.0
    _, grid = plt.subplots(
        2, len(maps), squeeze=False, layout="constrained", figsize=(1.9 * len(maps) + 0.6, 4.3)
    )
    for above, below, picture, heat, title, box in zip(
        *grid, pictures, maps, titles, boxes, strict=True
    ):
        for axes in (above, below):
            axes.set(xticks=[], yticks=[])
        above.imshow(picture, extent=(0, 1, 1, 0))
        above.set_title(textwrap.fill(title, 24), fontsize=9, parse_math=False)
        _lay_over(below, picture, heat, most, box)
    colours = plt.cm.ScalarMappable(plt.Normalize(-most, most), GIVES_AND_TAKES)
    grid[0, 0].figure.colorbar(colours, ax=grid, label="what it gives to the cosine", shrink=0.7)
    return " ".join(map(_read_map, titles, maps, boxes))


def _lay_over(axes: Axes, picture: np.ndarray, heat: np.ndarray, most: float, box: Box | None):
    grey = np.asarray(picture).mean(axis=2)
    axes.imshow(grey, cmap="gray", vmin=0, vmax=255, extent=(0, 1, 1, 0))
    colours = plt.get_cmap(GIVES_AND_TAKES)((heat / most + 1) / 2)  # (h, w, 4)
    colours[..., 3] = DARKEST * np.minimum(1, 1.5 * np.abs(heat) / most)
    axes.imshow(colours, extent=(0, 1, 1, 0), interpolation="nearest")
    if box is not None:
        left, top, right, bottom = np.clip(box, 0.005, 0.995)
        for colour, style in (("white", "solid"), ("black", "dashed")):  # seen on dark and light
            frame = Rectangle((left, top), right - left, bottom - top, fill=False)
            frame.set(edgecolor=colour, linestyle=style, linewidth=1.8)
            axes.add_patch(frame)


def _read_map(title: str, heat: np.ndarray, box: Box | None) -> str:
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    y, x = (row + 0.5) / heat.shape[0], (column + 0.5) / heat.shape[1]
    told = f"{title!r}: largest at {x:.0%} across, {y:.0%} down"
    if box is None:
        return f"{told}."
    inside = box[0] <= x <= box[2] and box[1] <= y <= box[3]
    return f"{told}, {'in' if inside else 'not in'} the true box."


def two_maps(
    images: Mapping[str, np.ndarray], texts: Mapping[str, np.ndarray],
    names: Sequence[tuple[str, str]],
) -> str:  # fmt: skip
    """The same pictures (dots) and texts (crosses) on several flat maps, a panel for each.

    images and texts have one (N, 2) and one (M, 2) array under each panel's title, `names` what its
    two axes are. The sentence says how far apart the two middles lie on each map.
    Raises: ValueError when panels differ.
    """
    if list(images) != list(texts) or len(images) != len(names):
        raise ValueError(
            f"images has panels {list(images)}, texts {list(texts)}, and there are {len(names)} "
            "pairs of axis names; each panel needs all three."
        )
    _, row = plt.subplots(
        1, len(images), squeeze=False, layout="constrained", figsize=(4.1 * len(images), 4)
    )
    parts = []
    for axes, title, (across, up) in zip(row[0], images, names, strict=True):
        dots, crosses = np.asarray(images[title]), np.asarray(texts[title])
        axes.plot(*dots.T, "o", color=BLUE, markersize=3, alpha=0.5, label="pictures")
        axes.plot(*crosses.T, "x", color=ORANGE, markersize=4, alpha=0.6, label="captions")
        axes.set_aspect("equal", adjustable="datalim")
        axes.set(title=title, xlabel=across, ylabel=up)
        apart = np.linalg.norm(dots.mean(axis=0) - crosses.mean(axis=0))
        parts.append(f"{title}: the two middles lie {apart:.2f} apart")
    legend = row[0][-1].legend(
        frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5), markerscale=2
    )
    for handle in legend.legend_handles:
        handle.set_alpha(1)
    return f"{'; '.join(parts)}."


def over_temperature(
    temperatures: Sequence[float], values: Mapping[str, Sequence[float]], learned: float
) -> str:
    """Quantities that a temperature shapes, a panel for each; the learned one is marked.

    Raises: ValueError for another number of values than of temperatures.
    """
    if not values or any(len(line) != len(temperatures) for line in values.values()):
        raise ValueError(f"Each line needs {len(temperatures)} values, one for each temperature.")
    _, row = plt.subplots(
        1, len(values), squeeze=False, layout="constrained", figsize=(3.9 * len(values), 3.2)
    )
    for axes, (name, line), (colour, mark, style) in zip(
        row[0], values.items(), STYLES, strict=False
    ):
        axes.plot(temperatures, line, color=colour, marker=mark, linestyle=style)
        axes.axvline(learned, color=GREY, linewidth=1)
        axes.text(learned, 1.01, "learned", ha="center", color=GREY, fontsize=9,
                  transform=axes.get_xaxis_transform())  # fmt: skip
        axes.set_xscale("log")
        axes.set_xticks(temperatures, [f"{t:g}" for t in temperatures], fontsize=8)
        axes.minorticks_off()
        axes.set(xlabel="temperature (log scale)", ylabel=name)
        axes.spines[["top", "right"]].set_visible(False)
    low, high = int(np.argmin(temperatures)), int(np.argmax(temperatures))
    told = [f"{name}: {v[low]:.2f} at {temperatures[low]:g}, {v[high]:.2f} at "
            f"{temperatures[high]:g}" for name, v in values.items()]  # fmt: skip
    return f"{'; '.join(told)}."


def logit_scale(
    steps: Sequence[float], learned: Sequence[float], scales: Sequence[float],
    losses: Sequence[float],
) -> str:  # fmt: skip
    """Left, the logit scale while a model was trained; right, the loss with other scales.

    Raises: ValueError when a line has not as many values as its axis.
    """
    if len(steps) != len(learned) or len(scales) != len(losses):
        raise ValueError(
            f"{len(steps)} steps have {len(learned)} scales, and {len(scales)} scales have "
            f"{len(losses)} losses; each needs one."
        )
    _, (left, right) = plt.subplots(1, 2, layout="constrained", figsize=(7.6, 3.2))
    left.plot(steps, learned, color=BLUE)
    left.set(xlabel="step", ylabel="logit scale", ylim=(0, 1.1 * max(learned)))
    right.plot(scales, losses, color=ORANGE, marker="s", linestyle="dashed", markersize=4)
    right.axvline(learned[-1], color=BLUE, label=f"learned: {learned[-1]:.1f}")
    right.set_xscale("log")
    right.set_xticks(scales, [f"{s:g}" for s in scales], fontsize=8)
    right.minorticks_off()
    right.set(xlabel="logit scale (log scale)", ylabel="loss of validation batches", ylim=(0, None))
    right.legend(frameon=False, fontsize=9)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    best = int(np.argmin(losses))
    return (
        f"From {learned[0]:.1f} to {learned[-1]:.1f} in {steps[-1]:,.0f} steps. Of the scales "
        f"tried, {scales[best]:g} has the least loss on validation batches, {losses[best]:.2f}."
    )
