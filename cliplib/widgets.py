"""What a learner drags and types into; ipywidgets 7.7 and 8 alike. A figure is drawn without one.

Sliders have no accessible name in JupyterLab, so each is linked with a labelled number field.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from threading import RLock

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import display
from PIL.Image import Image, fromarray

from cliplib.pictures import open_rgb
from cliplib.plots import Picture
from cliplib.threshold import softmax

TURN = RLock()  # for all widgets, since they share matplotlib's current figure
LOWEST, HIGHEST = 0.01, 2.0  # temperatures to choose from


def in_turn(handler: Callable[..., None]) -> Callable[..., None]:
    """A handler that waits for the one before it, and so must read what is chosen by itself.

    JupyterLab may handle two changes at once; then the older answer could come last and stay.
    """

    @wraps(handler)
    def waiting(*arguments: object) -> None:
        with TURN:
            handler(*arguments)

    return waiting


def caption_probabilities(cosines: np.ndarray, temperature: float) -> np.ndarray:
    """The softmax of each row at a temperature.

    Shapes: (B, B) in and out. Raises: ValueError when the temperature is not above 0.
    """
    if temperature <= 0:
        raise ValueError(f"The temperature divides the cosines: above 0, not {temperature}.")
    return softmax(np.asarray(cosines, float) / temperature)


def draw_temperatures(cosines: np.ndarray, temperatures: Sequence[float]) -> str:
    """Draws what each picture's softmax over the captions makes of its cosines, a panel for each
    temperature, and returns a sentence for each.

    Shapes: cosines (B, B), a row a picture.
    """
    panels = len(temperatures)
    figure, grid = plt.subplots(
        1, panels, squeeze=False, figsize=(2.9 * panels + 1.1, 3.3), layout="constrained"
    )
    sentences = []
    for axes, temperature in zip(grid[0], temperatures, strict=True):
        probabilities = caption_probabilities(cosines, temperature)
        image = axes.imshow(probabilities, cmap="viridis", vmin=0, vmax=1)
        for (row, column), p in np.ndenumerate(probabilities):
            colour = "black" if p > 0.5 else "white"
            axes.text(column, row, f"{p:.2f}", ha="center", va="center", color=colour)
        ticks = range(len(cosines))
        axes.set(xlabel="caption", ylabel="picture", xticks=ticks, yticks=ticks)
        axes.set_title(f"temperature {temperature:.3g}")
        sentences.append(_read(probabilities.diagonal(), temperature))
    figure.colorbar(image, ax=grid[0], label="probability of the caption", shrink=0.9)
    return "\n".join(sentences)


def _read(own: np.ndarray, temperature: float) -> str:
    cost = -np.log(np.maximum(own, np.finfo(float).tiny)).mean()
    return (
        f"Temperature {temperature:.3g}, logit scale {1 / temperature:.3g}: right captions get "
        f"{own.mean():.2f} (chance {1 / len(own):.2f}), rows cost {cost:.2f}."
    )


def picture_html(picture: Picture, alt: str, side: int) -> str:
    """An <img> that carries its picture with it, its longer side of so many pixels at most."""
    if isinstance(picture, Path):
        small = open_rgb(picture, side)
    else:
        small = picture.copy() if isinstance(picture, Image) else fromarray(picture)
    small.thumbnail((side, side))
    data = io.BytesIO()
    small.save(data, "PNG")
    code = base64.b64encode(data.getvalue()).decode()
    return f'<img alt="{html.escape(alt)}" src="data:image/png;base64,{code}">'


def temperature_control(temperature: float) -> tuple[ipywidgets.HBox, ipywidgets.BoundedFloatText]:
    """A slider and a number field that move together, and the field alone, whose value counts."""
    slider = ipywidgets.FloatLogSlider(
        value=temperature, base=10, min=np.log10(LOWEST), max=np.log10(HIGHEST), step=0.01,
        readout=False, description="temperature", continuous_update=False,
        style={"description_width": "initial"},
    )  # fmt: skip
    field = ipywidgets.BoundedFloatText(
        value=temperature, min=LOWEST, max=HIGHEST, step=0.01, description="or type it"
    )
    ipywidgets.dlink((slider, "value"), (field, "value"), lambda value: round(value, 3))
    ipywidgets.dlink((field, "value"), (slider, "value"))
    return ipywidgets.HBox([slider, field]), field


def temperature_slider(cosines: np.ndarray, temperature: float = 0.07) -> None:
    """The same figure under a slider and a number field for the temperature."""
    control, field = temperature_control(temperature)

    def redraw(temperature: float) -> None:
        sentence = draw_temperatures(cosines, [temperature])
        plt.show()
        print(sentence)

    figure = ipywidgets.interactive_output(redraw, {"temperature": field})
    display(ipywidgets.VBox([control, figure]))
