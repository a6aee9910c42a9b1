"""Figures of learning from few pairs: what they draw and the sentence they return."""

from collections.abc import Iterator

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from cliplib import plots_own


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    plt.close("all")


CURVE = pd.DataFrame({
    "pictures": [50, 50, 100, 100, 400, 400], "seed": [0, 1] * 3,
    "t2i_r10": [0.10, 0.20, 0.30, 0.32, 0.50, 0.60],
})  # fmt: skip


def test_a_curve_has_a_band_of_seeds_chance_and_factors() -> None:
    told = plots_own.learning_curve({"album": CURVE}, gallery=200)
    assert told == "album: 15.0 % with 50 pictures, 55.0 % with 400. Chance: 5.0 %."
    axes = plt.gca()
    assert axes.get_xscale() == "log"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["50", "100", "400"]
    line = next(line for line in axes.lines if line.get_label() == "album")
    assert line.get_ydata() == pytest.approx([15, 31, 55])
    band = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert band.min() == pytest.approx(10) and band.max() == pytest.approx(60)
    assert any(list(line.get_ydata()) == [5, 5] for line in axes.lines), "chance is 10 of 200"


def test_what_is_kept_against_what_is_learned() -> None:
    lines = {"both": [(0.0, 0.7, 0.1), (0.5, 0.6, 0.3), (1.0, 0.2, 0.5)]}
    told = plots_own.kept_and_learned(lines, "book", "album", ("both", 0.5))
    assert told == "both: book 70.0% before, 20.0% after; album 10.0% before, 50.0% after."
    axes = plt.gca()
    assert list(axes.lines[0].get_xdata()) == pytest.approx([70, 60, 20])
    ring = axes.lines[1]
    assert (ring.get_xdata()[0], ring.get_ydata()[0]) == pytest.approx((60, 30))
    assert {text.get_text() for text in axes.texts} == {"0", "1"}


def test_shots_stand_beside_levels() -> None:
    rows = pd.DataFrame(
        {"shots": [1, 1, 4, 4], "seed": [0, 1] * 2, "accuracy": [0.2, 0.4, 0.6, 0.8]}
    )
    told = plots_own.shots({"probe": rows}, {"chance": 0.125, "prompts": 0.5})
    assert told == "probe by labels of each class: 1: 30 %, 4: 70 %; chance: 12%; prompts: 50%."
    axes = plt.gca()
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "4"]
    levels = {line.get_label(): line for line in axes.lines if line.get_label() != "probe"}
    assert {name: line.get_ydata()[0] for name, line in levels.items()} == {
        "chance: 12%": 12.5, "prompts: 50%": 50.0,
    }  # fmt: skip
    assert len({str(line._unscaled_dash_pattern) for line in levels.values()}) == 2
    with pytest.raises(ValueError, match="not 5"):
        plots_own.shots({"probe": rows}, {str(n): 0.1 for n in range(5)})


@pytest.mark.parametrize("count", [0, 5])
def test_too_few_or_too_many_groups_are_refused(count: int) -> None:
    groups = {str(n): CURVE for n in range(count)}
    with pytest.raises(ValueError, match=f"not {count}"):
        plots_own.learning_curve(groups, 100)
    with pytest.raises(ValueError, match=f"not {count}"):
        plots_own.shots(groups, {})
    with pytest.raises(ValueError, match=f"not {count}"):
        plots_own.kept_and_learned({str(n): [] for n in range(count)}, "a", "b")


def test_numbers_that_would_run_into_each_other_are_left_out() -> None:
    rows = CURVE.replace({"pictures": {400: 6000, 100: 8000}})
    plots_own.learning_curve({"album": rows}, gallery=200)
    assert [label.get_text() for label in plt.gca().get_xticklabels()] == ["50", "6,000", ""]
