"""Figures of training: what they draw and the sentences that read them."""

from collections.abc import Iterator

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from cliplib import plots_training


@pytest.fixture(autouse=True)
def figures_are_closed() -> Iterator[None]:
    yield
    plt.close("all")


@pytest.fixture
def history() -> pd.DataFrame:
    nan = np.nan
    return pd.DataFrame(
        {
            "step": [10, 20, 30, 40],
            "epoch": [0.5, 1.0, 1.5, 2.0],
            "loss": [3.1, 2.4, 1.9, 1.25],
            "floor": [0.1, 0.1, 0.1, 0.12],
            "log_b": [np.log(32)] * 4,
            "logit_scale": [14.3, 16.0, 18.0, 20.5],
            "accuracy": [0.1, 0.2, 0.4, 0.62],
            "learning_rate": [1e-3] * 4,
            "val_t2i_r1": [nan, 0.05, nan, 0.11],
            "val_t2i_r10": [nan, 0.2, nan, 0.47],
        }
    )


def test_curves_sentence_reads_the_last_row(history: pd.DataFrame) -> None:
    assert plots_training.training_curves(history) == (
        "After 2 epochs the loss is 1.25 (log B 3.47, floor 0.12); the logit scale went from 14.3 "
        "to 20.5; 62% are right among the 32 of a batch, while among all validation pictures "
        "recall@1 is 11% and recall@10 47%."
    )


def test_curves_before_the_first_validation(history: pd.DataFrame) -> None:
    unvalidated = history.drop(columns=["val_t2i_r1", "val_t2i_r10"])
    for early in (unvalidated, history[:1]):
        assert plots_training.training_curves(early).endswith("and nothing was validated yet.")


def test_curves_name_both_references_at_their_lines(history: pd.DataFrame) -> None:
    plots_training.training_curves(history)
    loss = plt.gcf().axes[0]
    heights = {note.get_text(): note.xy[1] for note in loss.texts}
    assert heights == {"log B = 3.47: guessing": np.log(32), "floor: equal captions": 0.1}
    lowest, highest = loss.get_ylim()
    assert lowest < 0 and highest > np.log(32)  # neither line is cut off
    styles = [line.get_linestyle() for line in loss.lines]
    assert len(set(styles)) == 3  # told apart without colour


def test_curves_never_call_accuracy_in_a_batch_recall(history: pd.DataFrame) -> None:
    plots_training.training_curves(history)
    found = plt.gcf().axes[2]
    lines = {line.get_label(): line for line in found.lines}
    assert set(lines) == {
        "accuracy among the B of a batch (B = 32)",
        "recall@10 among all pictures",
        "recall@1 among all pictures",
    }
    recall = lines["recall@10 among all pictures"]
    assert recall.get_xdata().tolist() == [1.0, 2.0]  # where an epoch ended, as one line
    assert recall.get_ydata() == pytest.approx([20, 47])
    assert len({(line.get_linestyle(), line.get_marker()) for line in found.lines}) == 3


def test_curves_have_labels_and_units(history: pd.DataFrame) -> None:
    plots_training.training_curves(history)
    labels = [(axes.get_xlabel(), axes.get_ylabel()) for axes in plt.gcf().axes]
    assert labels == [
        ("epoch", "loss (nats)"),
        ("epoch", "logit scale (1 / temperature)"),
        ("epoch", "found (%)"),
    ]


def test_curves_of_nothing_are_told(history: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="no rows yet"):
        plots_training.training_curves(history[:0])


def test_the_readers_loss_is_a_line_with_its_name(history: pd.DataFrame) -> None:
    plots_training.training_curves(history, reader=0.5)
    loss = plt.gcf().axes[0]
    heights = {note.get_text(): note.xy[1] for note in loss.texts}
    assert heights["who knows every fact: 0.50"] == 0.5
    assert len({line.get_linestyle() for line in loss.lines}) == 4


def test_a_film_counts_rows_in_which_the_diagonal_wins() -> None:
    said = plots_training.matrix_film({"start": np.zeros((3, 3)), "end": np.eye(3)})
    assert said == "Rows of 3 in which the diagonal is the largest: start: 0, end: 3."
    first, second, _ = plt.gcf().axes
    assert first.images[0].get_clim() == second.images[0].get_clim() == (0, 1)


@pytest.mark.parametrize("frames", [{}, {"start": np.zeros((2, 3))}])
def test_a_film_of_no_or_oblong_matrices_is_refused(frames: dict[str, np.ndarray]) -> None:
    with pytest.raises(ValueError, match="square"):
        plots_training.matrix_film(frames)


def test_a_schedule_is_read() -> None:
    said = plots_training.rate_schedule([0.5, 1.0, 0.8, 0.4, 0.1])
    assert "0.500 of the full one at step 0, all of it at step 1 of 5, half of it at step 3" in said
    with pytest.raises(ValueError, match="at least one step"):
        plots_training.rate_schedule([])


def test_lines_of_several_runs_are_told_apart() -> None:
    said = plots_training.loss_lines({"a": [3.0] * 9, "b": [3.0, 1.0, 1.0, 1.0, 1.0, 1.0]}, 2.5)
    assert said == "Loss over the last five steps (log B is 2.50): a 3.00, b 1.00."
    styles = {line.get_linestyle() for line in plt.gca().lines[1:]}
    assert len(styles) == 2
    for runs in ({}, {str(i): [1.0] for i in range(5)}):
        with pytest.raises(ValueError, match="one to 4 runs"):
            plots_training.loss_lines(runs, 2.5)
