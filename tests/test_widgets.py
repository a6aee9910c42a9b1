"""The temperature slider: what it draws, and that slider and field move together."""

from collections.abc import Iterator

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from cliplib import widgets

COSINES = np.array([[0.8, 0.0, -0.6], [0.96, 0.8, 0.28], [-0.28, 0.6, 0.96]])


@pytest.fixture(autouse=True)
def figures_are_closed() -> Iterator[None]:
    yield
    plt.close("all")


@pytest.mark.parametrize("temperature", [2.0, 0.07, 0.001])
def test_probabilities_are_a_softmax_of_each_row(temperature: float) -> None:
    expected = (torch.from_numpy(COSINES) / temperature).softmax(dim=1).numpy()
    assert np.allclose(widgets.caption_probabilities(COSINES, temperature), expected)


@pytest.mark.parametrize("temperature", [0.0, -0.1])
def test_a_temperature_that_cannot_divide_is_refused(temperature: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        widgets.draw_temperatures(COSINES, [temperature])


def test_a_panel_and_a_sentence_for_each_temperature() -> None:
    first, second = widgets.draw_temperatures(COSINES, [1.0, 0.2]).splitlines()
    titles = [axes.get_title() for axes in plt.gcf().axes if axes.get_title()]
    assert titles == ["temperature 1", "temperature 0.2"]
    assert "get 0.48 (chance 0.33), rows cost 0.74" in first
    assert "logit scale 5: right captions get 0.71 (chance 0.33), rows cost 0.46" in second


def test_slider_and_field_move_together(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[ipywidgets.VBox] = []
    monkeypatch.setattr(widgets, "display", shown.append)
    widgets.temperature_slider(COSINES)
    slider, field = shown[0].children[0].children
    assert slider.value == field.value == 0.07
    slider.value = 0.123456
    assert field.value == slider.value == 0.123
    field.value = 0.5
    assert slider.value == 0.5
    field.value = 9
    assert slider.value == field.value == 2
