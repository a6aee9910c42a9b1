"""Figures: the sentence is computed from what is drawn, and what is drawn can be read."""

from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from PIL import Image

from cliplib import plots

# Rows: 0.9 is largest, 0.7 is largest, 0.35 is not. Columns: all three are.
THREE_PAIRS = np.array([[0.9, 0.1, -0.2], [0.0, 0.7, 0.3], [0.2, 0.4, 0.35]])


@pytest.fixture(autouse=True)
def figures_are_closed() -> Iterator[None]:
    plt.close("all")
    yield
    plt.close("all")


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    colours = ("red", "green", "blue", "white", "black", "orange")
    paths = [tmp_path / f"{colour}.png" for colour in colours]
    for path, colour in zip(paths, colours, strict=True):
        Image.new("RGB", (30, 20), colour).save(path)
    return paths


def texts_of(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def frame(axes: Axes) -> tuple[str, str]:
    spine = axes.spines["left"]
    assert spine.get_visible()
    return to_hex(spine.get_edgecolor()), spine.get_linestyle()


def test_matrix_sentence_counts_rows_and_columns_apart() -> None:
    assert plots.similarity_matrix(THREE_PAIRS) == (
        "The diagonal is the largest in 2 of 3 rows and 3 of 3 columns; "
        "the mean cosine is 0.65 on it and 0.13 beside it."
    )
    assert "in 3 of 3 rows and 2 of 3 columns" in plots.similarity_matrix(THREE_PAIRS.T)


def test_matrix_ties_count_against() -> None:
    assert "in 0 of 4 rows and 0 of 4 columns" in plots.similarity_matrix(np.ones((4, 4)))


def test_matrix_that_is_not_square_has_no_diagonal_to_speak_of() -> None:
    assert plots.similarity_matrix(np.array([[0.1, 0.2, 0.9]])) == (
        "1 picture against 3 captions: the cosines run from 0.10 to 0.90, 0.40 on average."
    )


def test_matrix_shows_what_its_axes_and_colours_mean() -> None:
    plots.similarity_matrix(THREE_PAIRS, title="Three pairs")
    matrix, bar = plt.gcf().axes
    assert (matrix.get_ylabel(), matrix.get_xlabel()) == ("picture", "caption")
    assert bar.get_ylabel() == "cosine similarity"
    assert matrix.get_title() == "Three pairs"
    assert matrix.images[0].get_cmap().name == "viridis"
    np.testing.assert_array_equal(matrix.images[0].get_array(), THREE_PAIRS)


def test_matrix_of_other_things_names_them() -> None:
    told = plots.similarity_matrix(np.ones((2, 1)), names=("sentence", "word"))
    assert told.startswith("2 sentences against 1 word: ")
    matrix, _ = plt.gcf().axes
    assert (matrix.get_ylabel(), matrix.get_xlabel()) == ("sentence", "word")


def test_numbers_stand_in_the_cells_of_small_matrices_alone() -> None:
    plots.similarity_matrix(THREE_PAIRS)
    written = {text.get_position(): text.get_text() for text in plt.gcf().axes[0].texts}
    assert written[(2, 0)] == "-0.20"  # column 2 lies to the right, row 0 at the top
    assert len(written) == 9
    plots.similarity_matrix(np.eye(9))
    assert not plt.gcf().axes[0].texts


@pytest.mark.parametrize("bad", [np.zeros(3), np.zeros((0, 0)), np.array([[np.nan]])])
def test_matrix_of_something_else_is_told(bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match="matrix"):
        plots.similarity_matrix(bad)


def test_picture_grid_marks_right_and_wrong_by_frame_and_sign(pictures: list[Path]) -> None:
    said = plots.text_to_image_grid(
        ["a red boat", "grass"],
        [pictures[:2], pictures[2:4]],
        [[0.71, 0.5], [0.6, -0.1]],
        [[True, False], [False, True]],
    )
    assert said == (
        "For 1 of 2 queries the first picture is right, for 2 at least one of the best 2."
    )
    words, first, second = plt.gcf().axes[:3]
    assert texts_of(words) == ["a red boat"]
    assert (first.get_xlabel(), *frame(first)) == ("✓ 0.71", plots.GREEN, "solid")
    assert (second.get_xlabel(), *frame(second)) == ("✗ 0.50", plots.RED, "dashed")
    assert tuple(first.images[0].get_array()[0, 0]) == (255, 0, 0)


def test_dollar_signs_in_captions_are_no_formulas(pictures: list[Path]) -> None:
    price = "a $\\x note and a $5 note"
    plots.text_to_image_grid([price], [pictures[:1]], [[0.5]])
    plots.image_to_text_grid(pictures[:1], [[price]], [[0.5]])
    plots.picture_sheet(pictures[:1], [price])
    for number in plt.get_fignums():
        plt.figure(number).canvas.draw()


def test_picture_grid_without_truth_marks_nothing(pictures: list[Path]) -> None:
    said = plots.text_to_image_grid(["boat"], [pictures[:3]], [[0.7, 0.6, 0.25]])
    assert said == "The best 3 pictures for 1 query; the cosines run from 0.70 down to 0.25."
    first = plt.gcf().axes[1]
    assert first.get_xlabel() == "0.70"
    assert not first.spines["left"].get_visible()


def test_picture_grid_takes_arrays_and_rows_of_different_lengths(pictures: list[Path]) -> None:
    drawn = np.zeros((8, 8, 3), np.uint8)
    plots.text_to_image_grid(
        ["one", "two"], [[drawn], pictures[:2]], [[0.5], [0.4, 0.3]], [[True], [False, False]]
    )
    one_empty = plt.gcf().axes[2]
    assert not one_empty.images
    assert not one_empty.axison


def test_caption_grid_marks_every_line(pictures: list[Path]) -> None:
    long = "a caption that goes on and on " * 8
    said = plots.image_to_text_grid(
        pictures[:2],
        [["a red wall", long], ["a boat", "grass"]],
        [[0.7, 0.6], [0.5, 0.4]],
        np.array([[True, False], [False, False]]),
    )
    assert said == (
        "For 1 of 2 pictures the first caption is right, for 1 at least one of the best 2."
    )
    words = plt.gcf().axes[1]
    right, first, wrong, second = words.texts
    assert (right.get_text(), first.get_text()) == ("✓ 0.70", "a red wall")
    assert (wrong.get_text(), right.get_color(), wrong.get_color()) == (
        "✗ 0.60", plots.GREEN, plots.RED,
    )  # fmt: skip
    assert second.get_text().count("\n") == 1
    assert second.get_text().endswith("…")
    assert first.get_position()[1] > second.get_position()[1]


@pytest.mark.parametrize(
    ("scores", "correct", "named"),
    [([[0.5]], None, "scores"), ([[0.5, 0.4]], [[True]], "correct"), ([], None, "scores")],
)
def test_grids_of_uneven_parts_are_told(
    pictures: list[Path], scores: list[list[float]], correct: list[list[bool]] | None, named: str
) -> None:
    with pytest.raises(ValueError, match=f"{named} needs 1 rows"):
        plots.text_to_image_grid(["boat"], [pictures[:2]], scores, correct)
    with pytest.raises(ValueError, match=f"{named} needs 1 rows"):
        plots.image_to_text_grid(pictures[:1], [["a", "b"]], scores, correct)
    with pytest.raises(ValueError, match="answers needs 2 rows"):
        plots.text_to_image_grid(["boat", "house"], [pictures[:2]], [[0.5, 0.4]])


def test_grids_of_nothing_are_told() -> None:
    for queries, answers in (([], []), (["boat"], [[]])):
        with pytest.raises(ValueError, match="nothing to show"):
            plots.text_to_image_grid(queries, answers, answers)


def test_sheet_has_every_picture_over_its_caption(pictures: list[Path]) -> None:
    captions = [f"a {path.stem} wall without any window in it" for path in pictures]
    assert plots.picture_sheet(pictures, captions, columns=4) == (
        "6 pictures in 2 rows, each over its caption."
    )
    axes = plt.gcf().axes
    assert [bool(a.images) for a in axes] == [True] * 6 + [False] * 2
    assert axes[2].get_xlabel() == "a blue wall without any\nwindow in it"
    assert tuple(axes[2].images[0].get_array()[0, 0]) == (0, 0, 255)


def test_sheet_without_captions_and_with_too_few(pictures: list[Path]) -> None:
    assert plots.picture_sheet(pictures[:2]) == "2 pictures in 1 row."
    assert len(plt.gcf().axes) == 2
    with pytest.raises(ValueError, match="1 captions do not go with 2 pictures"):
        plots.picture_sheet(pictures[:2], ["one"])
    with pytest.raises(ValueError, match="no pictures"):
        plots.picture_sheet([])


def test_save_writes_the_current_figure_whole_and_closes_it(tmp_path: Path) -> None:
    plots.similarity_matrix(THREE_PAIRS)
    path = tmp_path / "new" / "matrix.png"
    plots.save(path, dpi=50)
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert picture.size == pytest.approx((280, 230), abs=1)  # matplotlib's rounding has changed
    assert [p.name for p in path.parent.iterdir()] == ["matrix.png"]
    assert not plt.get_fignums()


def test_save_in_an_unknown_format_leaves_nothing(tmp_path: Path) -> None:
    plots.similarity_matrix(THREE_PAIRS)
    with pytest.raises(ValueError, match="xyz"):
        plots.save(tmp_path / "matrix.xyz")
    assert not list(tmp_path.iterdir())
