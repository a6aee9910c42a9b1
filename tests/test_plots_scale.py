"""The figures of large batches draw what they are given and say it."""

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from cliplib import plots_scale


@pytest.fixture(autouse=True)
def close_figures() -> None:
    plt.close("all")


def test_a_panel_a_group_and_a_line_for_what_is_equal() -> None:
    rows = [
        {"equal": equal, "batch": batch, "seed": seed, "t2i_r10": found + seed / 100}
        for equal, batch, found in (
            ("epochs", 16, 0.5), ("epochs", 64, 0.4), ("steps", 16, 0.1), ("steps", 64, 0.3),
        )
        for seed in (0, 2)
    ]  # fmt: skip
    told = plots_scale.recall_by_batch({"photographs": pd.DataFrame(rows)}, gallery=200)
    assert "photographs, equal epochs (%), by batch: 16: 51.0, 64: 41.0" in told
    assert "equal steps (%), by batch: 16: 11.0, 64: 31.0" in told and "Chance: 5.0 %" in told
    (axes,) = plt.gcf().axes
    epochs, steps, chance = axes.lines
    assert list(epochs.get_ydata()) == pytest.approx([51, 41])
    assert list(steps.get_ydata()) == pytest.approx([11, 31])
    assert list(chance.get_ydata()) == [5, 5] and axes.get_title() == "photographs"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["16", "64"]
    assert len({line.get_linestyle() for line in axes.lines}) == 3
    with pytest.raises(ValueError, match="no group"):
        plots_scale.recall_by_batch({}, gallery=200)
