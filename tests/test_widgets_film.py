"""The film of a training: its controls move together and show the moment that they name."""

from __future__ import annotations

import io

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from cliplib import widgets_film

FRAMES = {20: np.eye(3), 0: np.full((3, 3), 0.5), 10: np.array([[1, 0, 0], [1, 0, 0], [0, 0, 1.0]])}
HISTORY = [(10, 0.9), (20, 0.4)]


@pytest.fixture
def film(monkeypatch: pytest.MonkeyPatch) -> ipywidgets.VBox:
    shown: list[ipywidgets.VBox] = []
    monkeypatch.setattr(widgets_film, "display", shown.append)
    widgets_film.play_film(FRAMES, HISTORY, 1.1)
    assert not plt.get_fignums(), "the figure is in the widget, not below the cell"
    return shown[0]


def test_it_begins_with_the_earliest_moment(film: ipywidgets.VBox) -> None:
    _, figure, told = film.children
    assert told.value == "Step 0 of 20: the pair is the largest in 0 of 3 rows."
    assert Image.open(io.BytesIO(figure.value)).size == (640, 320)


@pytest.mark.parametrize("which", [0, 1, 2])
def test_each_control_moves_the_others_and_the_picture(film: ipywidgets.VBox, which: int) -> None:
    controls, figure, told = film.children
    before = figure.value
    controls.children[which].value = 1
    assert [control.value for control in controls.children] == [1, 1, 1]
    assert told.value == "Step 10 of 20: the pair is the largest in 2 of 3 rows."
    assert figure.value != before
    controls.children[which].value = 2
    assert told.value == "Step 20 of 20: the pair is the largest in 3 of 3 rows."
    controls.children[which].value = 0
    assert figure.value == before, "an earlier moment is drawn as it was"


def test_the_loss_is_drawn_up_to_the_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    told = []

    def record(cosines: np.ndarray, step: int, steps: int, history: list, log_b: float) -> None:
        told.append((step, steps, history, log_b))
        plt.figure()

    monkeypatch.setattr(widgets_film, "film_frame", record)
    monkeypatch.setattr(widgets_film, "display", lambda box: None)
    film = widgets_film._Film(FRAMES, HISTORY, 1.1)
    for moment in (1, 2):
        film.field.value = moment
    assert told == [
        (0, 20, [], 1.1),
        (10, 20, [(10, 0.9)], 1.1),
        (20, 20, [(10, 0.9), (20, 0.4)], 1.1),
    ]


def test_a_film_without_moments_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one moment"):
        widgets_film.play_film({}, HISTORY, 1.1)
