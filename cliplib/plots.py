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


def similarity_matrix(
    scores: np.ndarray, title: str = "", names: tuple[str, str] = ("picture", "caption")
) -> str:
    """Cosines of pictures and captions; in a square matrix row i and column i are a pair.

    Shapes: scores (N, M), a row a picture, a column a caption (what `loss` makes; `retrieval` has
    captions in its rows: give its transpose). `names` says what else rows and columns are.
    Raises: ValueError when it is no matrix of finite numbers.
    """
    scores = np.asarray(scores, float)
    if scores.ndim != 2 or not scores.size or not np.isfinite(scores).all():
        raise ValueError(f"Expected a matrix (N, M) of finite cosines, got shape {scores.shape}.")
    _, axes = plt.subplots(figsize=(5.6, 4.6), layout="constrained")
    aspect = "equal" if scores.shape[0] == scores.shape[1] else "auto"
    image = axes.imshow(scores, cmap="viridis", interpolation="nearest", aspect=aspect)
    axes.figure.colorbar(image, ax=axes, label="cosine similarity", shrink=0.9)
    axes.set(xlabel=names[1], ylabel=names[0], title=title)
    for axis, count in ((axes.xaxis, scores.shape[1]), (axes.yaxis, scores.shape[0])):
        if count <= CELLS_WITH_NUMBERS:
            axis.set_ticks(range(count))
    if max(scores.shape) <= CELLS_WITH_NUMBERS:
        _write_numbers(axes, scores)
    return _read_matrix(scores, names)


def _write_numbers(axes: Axes, scores: np.ndarray) -> None:
    middle = (scores.min() + scores.max()) / 2
    for (row, column), score in np.ndenumerate(scores):
        colour = "black" if score > middle else "white"
        axes.text(column, row, f"{score:.2f}", ha="center", va="center", color=colour)


def _read_matrix(scores: np.ndarray, names: tuple[str, str]) -> str:
    pictures, captions = scores.shape
    if pictures != captions or pictures == 1:
        rows, columns = map(_count, scores.shape, names)
        return (
            f"{rows} against {columns}: the cosines run "
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
