"""The matrix of a batch to click on, and a small batch in two dimensions to step through.

Every cell is a button, so that the keyboard reaches it too.
"""

from __future__ import annotations

import html
import io
from collections.abc import Sequence
from dataclasses import dataclass

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import display
from matplotlib.colors import to_hex
from torch import Tensor

from cliplib.loss import contrastive_loss
from cliplib.plots import BLUE, GREY, ORANGE, Picture
from cliplib.widgets import caption_probabilities, in_turn, picture_html, temperature_control

CELL = 44  # pixels
SHOWN = 160  # pixels of the chosen picture's longer side
STEP = 0.2  # radians that an embedding on the circle moves for a slope of 1
ARROW = 4  # times as long as the step, which could hardly be seen
MOST_PAIRS = 12  # whose cells can still be read and clicked


@dataclass(frozen=True)
class Cell:
    """What one cell of the matrix has to do with the loss of its batch."""

    cosine: float
    row_share: float  # of the caption among all captions, for its picture
    column_share: float  # of the picture among all pictures, for its caption
    cost: float  # what it adds to the mean loss, in nats: only pairs cost, on the diagonal
    pull: float  # how fast the loss falls as this cosine grows; below 0 the two are pushed apart


def cell_of(cosines: np.ndarray, row: int, column: int, temperature: float) -> Cell:
    """A cell's cosine, shares, cost and pull in the symmetric cross-entropy at a temperature.

    Shapes: cosines (B, B), a row a picture. Raises: ValueError when the temperature is not above 0.
    """
    row_share = caption_probabilities(cosines, temperature)[row, column]
    column_share = caption_probabilities(cosines.T, temperature)[column, row]
    pair = row == column
    cost = -(np.log(row_share) + np.log(column_share)) / (2 * len(cosines)) if pair else 0.0
    pull = (2 * pair - row_share - column_share) / (2 * len(cosines) * temperature)
    shares = float(row_share), float(column_share)
    return Cell(float(cosines[row, column]), *shares, float(cost), float(pull))


def describe_cell(cell: Cell, pair: bool) -> str:
    """The cell as sentences."""
    whose = "a pair" if pair else "no pair"
    way = "pulled together" if cell.pull > 0 else "pushed apart"
    costs = "By itself it costs nothing: it takes shares from the pairs of its row and column."
    if pair:
        costs = f"It costs {cell.cost:.3f} nats of the batch's mean."
    return (
        f"Cosine (dot product) {cell.cosine:.3f}, {whose}. Among the captions of its row it gets "
        f"{cell.row_share:.3f}, among the pictures of its column {cell.column_share:.3f}. "
        f"{costs} A step: {way}, strength {abs(cell.pull):.3f}."
    )


def click_matrix(
    cosines: np.ndarray, pictures: Sequence[Picture], captions: Sequence[str],
    temperature: float = 0.07,
) -> None:  # fmt: skip
    """The matrix as buttons, coloured by each row's softmax; a click tells about its cell.

    Shapes: cosines (B, B), a row a picture, B at most 12; B pictures and B captions.
    Raises: ValueError when the counts do not match or B is larger.
    """
    count = len(cosines)
    if cosines.shape != (count, count) or len(pictures) != count or len(captions) != count:
        raise ValueError(
            f"Expected as many pictures and captions as the matrix has rows and columns; it is "
            f"{cosines.shape}, with {len(pictures)} pictures and {len(captions)} captions."
        )
    if count > MOST_PAIRS:
        raise ValueError(f"{count} pairs are too many to click on: take at most {MOST_PAIRS}.")
    display(_ClickMatrix(np.asarray(cosines, float), pictures, captions, temperature).box)


class _ClickMatrix:
    """The buttons, the temperature, and what is told about the chosen cell."""

    def __init__(
        self, cosines: np.ndarray, pictures: Sequence[Picture], captions: Sequence[str],
        temperature: float,
    ) -> None:  # fmt: skip
        self.cosines, self.captions = cosines, captions
        self.pictures = [
            picture_html(picture, f"picture {row}", SHOWN) for row, picture in enumerate(pictures)
        ]
        self.chosen = (0, 0)
        self.told = ipywidgets.HTML()
        control, self.temperature = temperature_control(temperature)
        self.temperature.observe(lambda change: self._redraw(), "value")
        self.buttons = {cell: self._button(cell) for cell in np.ndindex(*cosines.shape)}
        grid = ipywidgets.GridBox(
            list(self.buttons.values()),
            layout={"grid_template_columns": f"repeat({len(cosines)}, {CELL}px)"},
        )
        matrix = ipywidgets.VBox([ipywidgets.Label("rows: pictures, columns: captions"), grid])
        below = ipywidgets.HBox([matrix, self.told], layout={"align_items": "flex-start"})
        self.box = ipywidgets.VBox([control, below])
        self._redraw()

    def _button(self, cell: tuple[int, int]) -> ipywidgets.Button:
        row, column = cell
        button = ipywidgets.Button(
            tooltip=f"picture {row}, caption {column}",
            layout={"width": f"{CELL - 4}px", "padding": "0"},
        )

        def choose(_: ipywidgets.Button) -> None:
            self.chosen = cell
            self._redraw()

        button.on_click(choose)
        return button

    @in_turn
    def _redraw(self) -> None:
        temperature = self.temperature.value
        shares = caption_probabilities(self.cosines, temperature)  # (B, B)
        for cell, button in self.buttons.items():
            bright = 0.45 + 0.55 * shares[cell]  # dark letters can be read on all of these
            button.style.button_color = to_hex(plt.get_cmap("viridis")(bright))
            button.description = f"{shares[cell]:.2f}" if cell != self.chosen else "●"
        row, column = self.chosen
        told = describe_cell(cell_of(self.cosines, row, column, temperature), row == column)
        caption = html.escape(self.captions[column])
        self.told.value = (
            f"<div style='margin-left:1em;max-width:24em'>{self.pictures[row]}"
            f"<p><b>Caption {column}:</b> {caption}</p><p>{told}</p></div>"
        )


@dataclass(frozen=True)
class Circle:
    """A batch in two dimensions: each embedding is an angle on the unit circle, in radians."""

    images: Tensor  # (B,)
    texts: Tensor  # (B,)
    temperature: float = 0.2

    def loss_and_slopes(self) -> tuple[float, Tensor, Tensor]:
        """The contrastive loss, and how it grows with each angle: a number and twice (B,)."""
        images, texts = (a.detach().requires_grad_() for a in (self.images, self.texts))
        scale = torch.tensor(1 / self.temperature)
        loss = contrastive_loss(on_circle(images), on_circle(texts), scale)
        loss.backward()
        return loss.item(), images.grad, texts.grad

    def after_step(self) -> Circle:
        """Each embedding moved against its slope."""
        _, images, texts = self.loss_and_slopes()
        return Circle(self.images - STEP * images, self.texts - STEP * texts, self.temperature)


def on_circle(angles: Tensor) -> Tensor:
    """(B,) angles to (B, 2) unit vectors."""
    return torch.stack([angles.cos(), angles.sin()], dim=1)


def random_circle(pairs: int = 4, seed: int = 0, temperature: float = 0.2) -> Circle:
    """A batch before any training: all angles drawn at random."""
    random = torch.Generator().manual_seed(seed)
    angles = 2 * torch.pi * torch.rand(2, pairs, generator=random)
    return Circle(angles[0], angles[1], temperature)


def draw_circle(circle: Circle) -> str:
    """Draws the batch with an arrow at each embedding: where it goes next, four times as far."""
    loss, *slopes = circle.loss_and_slopes()
    _, axes = plt.subplots(figsize=(4.6, 4.6), layout="constrained")
    axes.add_patch(plt.Circle((0, 0), 1, fill=False, color=GREY, linestyle=":"))
    kinds = ("picture", circle.images, BLUE, "o"), ("caption", circle.texts, ORANGE, "s")
    for (name, angles, colour, marker), slope in zip(kinds, slopes, strict=True):
        x, y = on_circle(angles).T.numpy()
        axes.scatter(x, y, s=120, color=colour, marker=marker, label=name, zorder=2)
        along = on_circle(angles + torch.pi / 2) * -ARROW * STEP * slope[:, None]  # (B, 2)
        axes.quiver(
            x,
            y,
            *along.T.numpy(),
            color=colour,
            width=0.008,
            angles="xy",
            scale_units="xy",
            scale=1,
        )
        for number, (across, up) in enumerate(zip(x, y, strict=True)):
            axes.annotate(str(number), (1.16 * across, 1.16 * up), ha="center", va="center")
    axes.set(xlim=(-1.6, 1.6), ylim=(-1.6, 1.6), xticks=[], yticks=[], aspect="equal")
    axes.set_title(f"loss {loss:.3f}")
    axes.legend(loc="upper right", fontsize=8)
    cosines = on_circle(circle.images) @ on_circle(circle.texts).T  # (B, B)
    own = cosines.diagonal().mean()
    others = (cosines.sum() - cosines.diagonal().sum()) / (len(cosines) * (len(cosines) - 1))
    return (
        f"Loss {loss:.3f} (log B is {np.log(len(cosines)):.3f}); mean cosine of pairs {own:.2f}, "
        f"of all others {others:.2f}."
    )


def step_through(start: Circle) -> None:
    """The same figure over buttons for one step, for ten, and to begin again."""
    display(_Steps(start).box)


class _Steps:
    """The batch as it is now, its figure, and the buttons."""

    def __init__(self, start: Circle) -> None:
        self.start = start
        self.figure, self.told = ipywidgets.Image(format="png", width=440), ipywidgets.HTML()
        buttons = []
        for title, steps in (("Step", 1), ("Ten steps", 10), ("Begin again", 0)):
            button = ipywidgets.Button(description=title)
            button.on_click(lambda _, steps=steps: self.go(steps))
            buttons.append(button)
        self.box = ipywidgets.VBox([ipywidgets.HBox(buttons), self.figure, self.told])
        self.go(0)

    @in_turn
    def go(self, steps: int) -> None:
        """Takes some steps; none begins again."""
        self.now = self.now if steps else self.start
        for _ in range(steps):
            self.now = self.now.after_step()
        self.told.value = draw_circle(self.now)
        data = io.BytesIO()
        plt.savefig(data, format="png", dpi=90)
        plt.close()
        self.figure.value = data.getvalue()
