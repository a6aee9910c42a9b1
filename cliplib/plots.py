"""Every figure of the course: each function draws one and returns a sentence that reads it.

The figure stays open as pyplot's current one: notebooks show it, `save` writes it.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from math import ceil
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from PIL.Image import Image

from cliplib.pictures import open_rgb
from cliplib.storage import write_whole

Picture = Path | np.ndarray | Image
Scores = Sequence[Sequence[float]]  # a row a query, best first
Correct = Sequence[Sequence[bool]]  # the same shape

BLUE, ORANGE, GREY, GREEN, RED = "#0072b2", "#d55e00", "#555555", "#1a7f37", "#c62828"
PIXELS = 224  # a picture's shorter side is read no finer than it is shown
CELLS_WITH_NUMBERS = 8  # a matrix of at most so many rows and columns has its numbers in its cells


def save(path: Path, dpi: int = 110) -> None:
    """Writes the current figure, whole or not at all, and closes it; `path` names the format."""
    file_format = path.suffix.lstrip(".") or "png"
    write_whole(path, lambda aside: plt.savefig(aside, dpi=dpi, format=file_format))
    plt.close()


def similarity_matrix(scores: np.ndarray, title: str = "") -> str:
    """Cosines of pictures and captions; in a square matrix row i and column i are a pair.

    Shapes: scores (N, M), a row a picture, a column a caption (what `loss` makes; `retrieval` has
    captions in its rows: give its transpose).
    Raises: ValueError when it is no matrix of finite numbers.
    """
    scores = np.asarray(scores, float)
    if scores.ndim != 2 or not scores.size or not np.isfinite(scores).all():
        raise ValueError(f"Expected a matrix (N, M) of finite cosines, got shape {scores.shape}.")
    _, axes = plt.subplots(figsize=(5.6, 4.6), layout="constrained")
    aspect = "equal" if scores.shape[0] == scores.shape[1] else "auto"
    image = axes.imshow(scores, cmap="viridis", interpolation="nearest", aspect=aspect)
    axes.figure.colorbar(image, ax=axes, label="cosine similarity", shrink=0.9)
    axes.set(xlabel="caption", ylabel="picture", title=title)
    for axis, count in ((axes.xaxis, scores.shape[1]), (axes.yaxis, scores.shape[0])):
        if count <= CELLS_WITH_NUMBERS:
            axis.set_ticks(range(count))
    if max(scores.shape) <= CELLS_WITH_NUMBERS:
        _write_numbers(axes, scores)
    return _read_matrix(scores)


def _write_numbers(axes: Axes, scores: np.ndarray) -> None:
    middle = (scores.min() + scores.max()) / 2
    for (row, column), score in np.ndenumerate(scores):
        colour = "black" if score > middle else "white"
        axes.text(column, row, f"{score:.2f}", ha="center", va="center", color=colour)


def _read_matrix(scores: np.ndarray) -> str:
    pictures, captions = scores.shape
    if pictures != captions or pictures == 1:
        return (
            f"{_count(pictures, 'picture')} against {_count(captions, 'caption')}: the cosines run "
            f"from {scores.min():.2f} to {scores.max():.2f}, {scores.mean():.2f} on average."
        )
    is_pair = np.eye(pictures, dtype=bool)
    own, others = scores[is_pair], np.where(is_pair, -np.inf, scores)
    rows, columns = (own > others.max(1)).sum(), (own > others.max(0)).sum()
    on, beside = own.mean(), scores[~is_pair].mean()
    return (
        f"The diagonal is the largest in {rows} of {pictures} rows and {columns} of {pictures} "
        f"columns; the mean cosine is {on:.2f} on it and {beside:.2f} beside it."
    )


def training_curves(history: pd.DataFrame) -> str:
    """Loss between its two references, logit scale, and what is found in a batch and among all.

    history: a row every few steps with epoch, loss, floor, log_b, logit_scale and accuracy;
    val_t2i_r1 and val_t2i_r10 where an epoch ended, as shares of 1.
    Raises: ValueError when it is empty.
    """
    if history.empty:
        raise ValueError("The history has no rows yet: nothing was trained so far.")
    figure, (loss, scale, found) = plt.subplots(1, 3, figsize=(12.5, 3.6), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.1)
    validated = history.reindex(columns=["epoch", "val_t2i_r1", "val_t2i_r10"]).dropna()
    _draw_loss(loss, history)
    scale.plot(history.epoch, history.logit_scale, color=BLUE)
    scale.set(xlabel="epoch", ylabel="logit scale (1 / temperature)", title="Logit scale")
    _draw_found(found, history, validated)
    for axes in (loss, scale, found):
        axes.grid(alpha=0.25)
        axes.xaxis.get_major_locator().set_params(integer=history.epoch.max() >= 3)
        axes.spines[["top", "right"]].set_visible(False)
    return _read_curves(history, validated)


def _draw_loss(axes: Axes, history: pd.DataFrame) -> None:
    epoch, log_b = history.epoch, history.log_b.iloc[-1]
    axes.plot(epoch, history.loss, color=BLUE)
    axes.plot(epoch, history.log_b, color=GREY, linestyle="dashed")
    axes.plot(epoch, history.floor, color=ORANGE, linestyle="dotted", linewidth=2)
    top = 1.12 * max(log_b, history.loss.max())
    for words, x, y, side, colour in (  # each where a falling loss is far away
        (f"log B = {log_b:.2f}: guessing", epoch.max(), log_b, "right", GREY),
        ("floor: equal captions", epoch.min(), history.floor.iloc[0], "left", ORANGE),
    ):
        axes.annotate(
            words, (x, y), (0, 4), textcoords="offset points", ha=side, color=colour, fontsize=9
        )
    axes.set(xlabel="epoch", ylabel="loss (nats)", title="Loss", ylim=(-0.03 * top, top))


def _draw_found(axes: Axes, history: pd.DataFrame, validated: pd.DataFrame) -> None:
    pairs = round(np.exp(history.log_b.iloc[-1]))
    axes.plot(
        history.epoch, 100 * history.accuracy, color=GREY, linestyle="dashed",
        label=f"accuracy among the B of a batch (B = {pairs})",
    )  # fmt: skip
    for k, colour, marker in ((10, BLUE, "o"), (1, ORANGE, "s")):
        axes.plot(
            validated.epoch, 100 * validated[f"val_t2i_r{k}"], color=colour, marker=marker,
            markersize=4, label=f"recall@{k} among all pictures",
        )  # fmt: skip
    axes.set(xlabel="epoch", ylabel="found (%)", title="In the batch, and on validation data")
    axes.set_ylim(0, 145)  # room for the legend above 100 %
    axes.set_yticks(range(0, 101, 20))
    axes.legend(loc="upper left", fontsize=8, frameon=False)


def _read_curves(history: pd.DataFrame, validated: pd.DataFrame) -> str:
    first, last = history.iloc[0], history.iloc[-1]
    pairs = round(np.exp(last.log_b))
    sentence = (
        f"After {last.epoch:.3g} epochs the loss is {last.loss:.2f} (log B {last.log_b:.2f}, floor "
        f"{last.floor:.2f}); the logit scale went from {first.logit_scale:.1f} to "
        f"{last.logit_scale:.1f}; {last.accuracy:.0%} are right among the {pairs} of a batch"
    )
    if validated.empty:
        return sentence + ", and nothing was validated yet."
    recall = validated.iloc[-1]
    return (
        f"{sentence}, while among all validation pictures recall@1 is {recall.val_t2i_r1:.0%} "
        f"and recall@10 {recall.val_t2i_r10:.0%}."
    )


def text_to_image_grid(
    queries: Sequence[str], answers: Sequence[Sequence[Picture]], scores: Scores,
    correct: Correct | None = None,
) -> str:  # fmt: skip
    """A row for each query: its words, then its pictures from the best on, a score under each.

    When `correct` is known, a picture has a green solid frame and a tick, or a red dashed one and
    a cross.
    """
    _check_grid(queries, answers, scores, correct)
    most = max(map(len, answers))
    _, grid = plt.subplots(
        len(queries), most + 1, squeeze=False, layout="constrained",
        width_ratios=[1.4] + [1] * most, figsize=(1.25 * (most + 1.4), 1.5 * len(queries)),
    )  # fmt: skip
    for q, row in enumerate(grid):
        for axes in row:
            axes.axis("off")
        row[0].text(0, 0.5, _wrapped(queries[q], 22, 7), va="center", fontsize=9, parse_math=False)
        for rank, picture in enumerate(answers[q]):
            _show(row[rank + 1], picture)
            _mark(row[rank + 1], scores[q][rank], None if correct is None else correct[q][rank])
    return _read_grid(scores, correct, "query", "picture")


def image_to_text_grid(
    pictures: Sequence[Picture], answers: Sequence[Sequence[str]], scores: Scores,
    correct: Correct | None = None,
) -> str:  # fmt: skip
    """A row for each picture: the picture, then its captions from the best on, with their scores.

    When `correct` is known, a caption has a green tick or a red cross.
    """
    _check_grid(pictures, answers, scores, correct)
    lines = [[_wrapped(answer, 76, 2) for answer in row] for row in answers]
    heights = [max(1.5, 0.2 + 0.19 * sum(map(_height, row))) for row in lines]
    _, grid = plt.subplots(
        len(pictures), 2, squeeze=False, layout="constrained",
        width_ratios=[1.5, 6], height_ratios=heights, figsize=(7.5, sum(heights)),
    )  # fmt: skip
    for p, (picture, words) in enumerate(grid):
        _show(picture, pictures[p])
        _write_answers(words, lines[p], scores[p], None if correct is None else correct[p])
    return _read_grid(scores, correct, "picture", "caption")


def _write_answers(
    axes: Axes, lines: Sequence[str], scores: Sequence[float], correct: Sequence[bool] | None
) -> None:
    axes.axis("off")
    above, total = 0, sum(map(_height, lines))
    for rank, (line, score) in enumerate(zip(lines, scores, strict=True)):
        y = 0.95 - 0.9 * (above + _height(line) / 2) / total
        above += _height(line)
        mark, colour, _ = _verdict(None if correct is None else correct[rank])
        axes.text(0.0, y, f"{mark}{score:.2f}", va="center", fontsize=9, color=colour)
        axes.text(0.11, y, line, va="center", fontsize=9, parse_math=False)


def picture_sheet(
    pictures: Sequence[Picture], captions: Sequence[str] | None = None, columns: int = 8
) -> str:
    """Many pictures side by side, each with its caption underneath if there are captions."""
    if not pictures:
        raise ValueError("There are no pictures to show.")
    if captions is not None and len(captions) != len(pictures):
        raise ValueError(f"{len(captions)} captions do not go with {len(pictures)} pictures.")
    columns = min(columns, len(pictures))
    rows = ceil(len(pictures) / columns)
    lines = [_wrapped(caption, 24, 4) for caption in captions or ()]
    room = 0.13 * max(map(_height, lines), default=0)
    _, grid = plt.subplots(
        rows, columns, squeeze=False, layout="constrained",
        figsize=(1.35 * columns, (1.35 + room) * rows),
    )  # fmt: skip
    for axes in grid.flat:
        axes.axis("off")
    for i, (axes, picture) in enumerate(zip(grid.flat, pictures, strict=False)):
        _show(axes, picture)
        axes.set_anchor("S")  # captions of a row start at one height, whatever the pictures' shapes
        if lines:
            axes.set_xlabel(lines[i], fontsize=7, parse_math=False)
    shown = f"{_count(len(pictures), 'picture')} in {_count(rows, 'row')}"
    return f"{shown}, each over its caption." if lines else f"{shown}."


def _show(axes: Axes, picture: Picture) -> None:
    axes.axis("on")
    axes.imshow(open_rgb(picture, PIXELS) if isinstance(picture, Path) else picture)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def _mark(axes: Axes, score: float, correct: bool | None) -> None:
    mark, colour, style = _verdict(correct)
    axes.set_xlabel(f"{mark}{score:.2f}", fontsize=9, color=colour, labelpad=3)
    if correct is not None:
        axes.spines[:].set(visible=True, color=colour, linewidth=2.5, linestyle=style)


def _verdict(correct: bool | None) -> tuple[str, str, str]:
    """Mark, colour and line: what is right and what is wrong differ in all three."""
    if correct is None:
        return "", "black", "solid"
    return ("✓ ", GREEN, "solid") if correct else ("✗ ", RED, "dashed")


def _check_grid(
    queries: Sequence[object], answers: Sequence[Sequence[object]], scores: Scores,
    correct: Correct | None,
) -> None:  # fmt: skip
    if not queries or not all(answers):
        raise ValueError("There is nothing to show: no query, or a query without answers.")
    expected = [len(row) for row in answers]
    for name, rows in (("answers", answers), ("scores", scores), ("correct", correct)):
        lengths = expected if rows is None else [len(row) for row in rows]
        if lengths != expected or len(lengths) != len(queries):
            rows_wanted = f"{len(queries)} rows, as long as those of the answers: {expected}"
            raise ValueError(f"{name} needs {rows_wanted}; its rows are {lengths} long.")


def _read_grid(scores: Scores, correct: Correct | None, query: str, answer: str) -> str:
    queries, most = _count(len(scores), query), max(map(len, scores))
    if correct is not None:
        first, some = sum(bool(row[0]) for row in correct), sum(map(any, correct))
        firsts = f"For {first} of {queries} the first {answer} is right"
        return f"{firsts}, for {some} at least one of the best {most}."
    best, last = max(row[0] for row in scores), min(row[-1] for row in scores)
    shown = f"The best {_count(most, answer)} for {queries}"
    return f"{shown}; the cosines run from {best:.2f} down to {last:.2f}."


def _wrapped(text: str, width: int, most_lines: int) -> str:
    return "\n".join(textwrap.wrap(text, width, max_lines=most_lines, placeholder=" …"))


def _height(wrapped: str) -> int:
    return wrapped.count("\n") + 1


def _count(number: int, noun: str) -> str:
    plural = "queries" if noun == "query" else noun + "s"
    return f"{number} {noun if number == 1 else plural}"
