"""The matrix to click on and the batch to step through: figures beside autograd, and the clicks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image

from cliplib import widgets_matrix
from cliplib.loss import contrastive_loss
from cliplib.widgets_matrix import cell_of, describe_cell, draw_circle, random_circle

RANDOM = np.random.default_rng(0)
COSINES = RANDOM.uniform(-1, 1, (4, 4))
PICTURES = [np.full((20, 30, 3), 60 * i, np.uint8) for i in range(4)]
CAPTIONS = ["a boat", "two <b>cats</b>", "snow", "a tree"]
TEMPERATURE = 0.2


@pytest.fixture(autouse=True)
def figures_are_closed() -> Iterator[None]:
    yield
    plt.close("all")


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[ipywidgets.VBox]:
    boxes: list[ipywidgets.VBox] = []
    monkeypatch.setattr(widgets_matrix, "display", boxes.append)
    return boxes


def loss_of(cosines: torch.Tensor) -> torch.Tensor:
    rows, columns = ((c / TEMPERATURE).log_softmax(1).diagonal() for c in (cosines, cosines.T))
    return -(rows.mean() + columns.mean()) / 2


def test_costs_add_up_to_the_loss_and_pulls_are_its_gradient() -> None:
    cosines = torch.from_numpy(COSINES).requires_grad_()
    loss = loss_of(cosines)
    loss.backward()
    cells = [[cell_of(COSINES, i, j, TEMPERATURE) for j in range(4)] for i in range(4)]
    assert sum(cell.cost for row in cells for cell in row) == pytest.approx(loss.item())
    assert all(cells[i][j].cost == 0 for i in range(4) for j in range(4) if i != j)
    pulls = np.array([[cell.pull for cell in row] for row in cells])
    assert np.allclose(pulls, -cosines.grad.numpy())
    shares = np.array([[cell.row_share for cell in row] for row in cells])
    assert np.allclose(shares.sum(1), 1)
    shares = np.array([[cell.column_share for cell in row] for row in cells])
    assert np.allclose(shares.sum(0), 1)


def test_the_losses_are_the_librarys_own() -> None:
    images, texts = (
        torch.nn.functional.normalize(torch.from_numpy(RANDOM.normal(size=(4, 8))), dim=1)
        for _ in range(2)
    )
    cosines = (images @ texts.T).numpy()
    costs = sum(cell_of(cosines, i, i, TEMPERATURE).cost for i in range(4))
    expected = contrastive_loss(images, texts, torch.tensor(1 / TEMPERATURE, dtype=torch.double))
    assert costs == pytest.approx(expected.item())


def test_a_cell_is_told_in_words() -> None:
    pair = describe_cell(cell_of(COSINES, 1, 1, TEMPERATURE), pair=True)
    other = describe_cell(cell_of(COSINES, 1, 2, TEMPERATURE), pair=False)
    assert "a pair" in pair and "nats" in pair and "pulled together" in pair
    assert "no pair" in other and "By itself it costs nothing" in other and "pushed apart" in other


def test_a_click_tells_about_its_cell_and_another_temperature_about_the_same(
    shown: list[ipywidgets.VBox],
) -> None:
    widgets_matrix.click_matrix(COSINES, PICTURES, CAPTIONS, TEMPERATURE)
    control, below = shown[0].children
    grid, told = below.children[0].children[1], below.children[1]
    before = told.value
    assert "Caption 0:</b> a boat" in before
    grid.children[1 * 4 + 2].click()  # row by row: picture 1, caption 2
    assert "Caption 2:</b> snow" in told.value and told.value != before
    assert f"product) {COSINES[1, 2]:.3f}" in told.value
    assert grid.children[6].description == "●" and grid.children[0].description != "●"
    colours = [button.style.button_color for button in grid.children]
    clicked = told.value
    control.children[1].value = 1.0
    assert [button.style.button_color for button in grid.children] != colours
    assert "Caption 2:</b> snow" in told.value and told.value != clicked
    share = cell_of(COSINES, 1, 2, 1.0).row_share
    assert f"row it gets {share:.3f}" in told.value, "an old answer must not stay"
    grid.children[1].click()
    assert "&lt;b&gt;cats" in told.value, "a caption is text, whatever stands in it"


def test_each_row_has_its_own_picture(shown: list[ipywidgets.VBox], tmp_path: Path) -> None:
    pictures = [*PICTURES[:2], Image.new("RGB", (500, 20), "red"), tmp_path / "blue.png"]
    Image.new("RGB", (40, 30), "blue").save(pictures[3])
    widgets_matrix.click_matrix(COSINES, pictures, CAPTIONS)
    matrix, told = shown[0].children[1].children
    grid = matrix.children[1]
    seen = set()
    for row in range(4):
        grid.children[4 * row].click()
        seen.add(told.value.split('src="')[1].split('"')[0])
    assert len(seen) == 4


def test_what_does_not_match_is_refused() -> None:
    with pytest.raises(ValueError, match="3 pictures and 4 captions"):
        widgets_matrix.click_matrix(COSINES, PICTURES[:3], CAPTIONS)
    large = np.zeros((13, 13))
    with pytest.raises(ValueError, match="at most 12"):
        widgets_matrix.click_matrix(large, [PICTURES[0]] * 13, ["a"] * 13)


def test_steps_lower_the_loss_and_bring_pairs_together() -> None:
    circle = random_circle()
    first = circle.loss_and_slopes()[0]
    for _ in range(200):
        circle = circle.after_step()
    assert circle.loss_and_slopes()[0] < 0.4 * first
    cosines = (circle.images - circle.texts).cos()
    assert cosines.min() > 0.9


def test_slopes_are_those_of_the_loss() -> None:
    circle = random_circle(seed=3)
    loss, images, _ = circle.loss_and_slopes()
    moved = circle.images.clone()
    moved[1] += 1e-3
    further = widgets_matrix.Circle(moved, circle.texts).loss_and_slopes()[0]
    assert (further - loss) / 1e-3 == pytest.approx(images[1].item(), abs=5e-3)


def test_the_figure_has_an_arrow_for_each_embedding_and_a_sentence() -> None:
    told = draw_circle(random_circle(pairs=5))
    axes = plt.gcf().axes[0]
    arrows = [c for c in axes.collections if type(c).__name__ == "Quiver"]
    assert [len(arrow.U) for arrow in arrows] == [5, 5]
    assert "log B is 1.609" in told and axes.get_title() in f"loss {told.split()[1]}"


def test_buttons_step_and_begin_again(shown: list[ipywidgets.VBox]) -> None:
    widgets_matrix.step_through(random_circle())
    buttons, figure, told = shown[0].children
    one, ten, again = buttons.children
    start, picture = told.value, figure.value
    one.click()
    assert told.value != start and figure.value != picture
    ten.click()
    eleven = random_circle()
    for _ in range(11):
        eleven = eleven.after_step()
    assert told.value == draw_circle(eleven)
    again.click()
    assert (told.value, figure.value) == (start, picture)
    assert not plt.get_fignums() or len(plt.get_fignums()) == 1, "only the one drawn in this test"
