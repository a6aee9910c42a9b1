"""The clinic's figures draw what they are given and say it."""

import math

import matplotlib.pyplot as plt
import pytest

from cliplib import plots_clinic


@pytest.fixture(autouse=True)
def close_figures() -> None:
    plt.close("all")


def test_a_panel_for_each_case_with_log_b_and_floor() -> None:
    curves = {f"case {n}": ([5.0, 3.0 + n], 2 + n, 0.5 * n) for n in range(6)}
    told = plots_clinic.loss_panels(curves)
    assert "case 5 5.0 to 6.5" in told
    shown = [axes for axes in plt.gcf().axes if axes.lines]
    assert len(shown) == 6 and shown[3].get_title() == "case 3, B = 5"
    log_b, floor, losses = shown[3].lines
    assert log_b.get_ydata()[0] == pytest.approx(math.log(5)) and floor.get_ydata()[0] == 1.5
    assert list(losses.get_ydata()) == [5.0, 6.0]
    with pytest.raises(ValueError, match="no losses"):
        plots_clinic.loss_panels({})


def test_effects_run_from_mended_to_ill() -> None:
    told = plots_clinic.effects({"a": [0.1, 0.3], "b": [0.9]}, {"a": [0.5], "b": [0.4]}, "recall")
    assert told == "Points of recall, ill against mended: a -30; b +50."
    axes = plt.gca()
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]
    assert axes.lines[0].get_xdata() == pytest.approx([20, 50])
    assert axes.get_xlabel() == "recall (%)"
    with pytest.raises(ValueError, match="same faults"):
        plots_clinic.effects({"a": [1.0]}, {"b": [1.0]}, "recall")
