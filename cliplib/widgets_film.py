"""The film of a training, to play or step through: a batch's matrix beside the loss so far."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import display

from cliplib.plots_training import film_frame
from cliplib.widgets import in_turn

PAUSE = 600  # milliseconds from one moment to the next


def play_film(
    frames: Mapping[int, np.ndarray], history: Sequence[tuple[int, float]], log_b: float
) -> None:
    """Shows the moments of a training under a play button, a slider and a number field.

    frames: step to the cosines (B, B) of a fixed batch, a row a picture.
    history: (step, loss in nats), in order. Raises: ValueError when there are no frames.
    """
    if not frames:
        raise ValueError("A film needs at least one moment: frames maps steps to cosines (B, B).")
    display(_Film(frames, history, log_b).box)


class _Film:
    """The controls, which move together, the figure of the chosen moment, and its sentence."""

    def __init__(
        self, frames: Mapping[int, np.ndarray], history: Sequence[tuple[int, float]], log_b: float
    ) -> None:
        self.frames, self.history, self.log_b = frames, history, log_b
        self.steps = sorted(frames)
        self.drawn: dict[int, bytes] = {}
        last = len(self.steps) - 1
        play = ipywidgets.Play(max=last, interval=PAUSE)
        slider = ipywidgets.IntSlider(max=last, description="moment", readout=False)
        self.field = ipywidgets.BoundedIntText(max=last, description="or type it")
        for control in (play, slider):
            ipywidgets.link((control, "value"), (self.field, "value"))
        self.figure, self.told = ipywidgets.Image(format="png", width=640), ipywidgets.HTML()
        self.field.observe(lambda change: self.show(), "value")
        controls = ipywidgets.HBox([play, slider, self.field])
        self.box = ipywidgets.VBox([controls, self.figure, self.told])
        self.show()

    @in_turn
    def show(self) -> None:
        """The moment that the field names now."""
        step = self.steps[self.field.value]
        if step not in self.drawn:
            self.drawn[step] = self._draw(step)
        self.figure.value = self.drawn[step]
        cosines = self.frames[step]
        others = np.where(np.eye(len(cosines), dtype=bool), -np.inf, cosines).max(1)  # (B,)
        won = (cosines.diagonal() > others).sum()
        self.told.value = (
            f"Step {step:,} of {self.steps[-1]:,}: the pair is the largest in {won} of "
            f"{len(cosines)} rows."
        )

    def _draw(self, step: int) -> bytes:
        so_far = [(at, loss) for at, loss in self.history if at <= step]
        film_frame(self.frames[step], step, self.steps[-1], so_far, self.log_b)
        data = io.BytesIO()
        plt.savefig(data, format="png", dpi=80)
        plt.close()
        return data.getvalue()
