"""Figures of training; like those of `plots`, each returns a sentence that reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from cliplib.plots import BLUE, GREEN, GREY, ORANGE, RED

STYLES = ((BLUE, "solid"), (ORANGE, "dashed"), (GREEN, "dashdot"), (RED, "dotted"))


def training_curves(history: pd.DataFrame, reader: float | None = None) -> str:
    """Loss between its references, logit scale, and what is found in a batch and among all.

    history: a row every few steps with epoch, loss, floor, log_b, logit_scale and accuracy;
    val_t2i_r1 and val_t2i_r10 where an epoch ended, as shares of 1.
    reader: nats that `loss.reader_loss` gives, where the facts of the pictures are known.
    Raises: ValueError when it is empty.
    """
    if history.empty:
        raise ValueError("The history has no rows yet: nothing was trained so far.")
    figure, (loss, scale, found) = plt.subplots(1, 3, figsize=(12.5, 3.6), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.1)
    validated = history.reindex(columns=["epoch", "val_t2i_r1", "val_t2i_r10"]).dropna()
    _draw_loss(loss, history, reader)
    scale.plot(history.epoch, history.logit_scale, color=BLUE)
    scale.set(xlabel="epoch", ylabel="logit scale (1 / temperature)", title="Logit scale")
    _draw_found(found, history, validated)
    for axes in (loss, scale, found):
        axes.grid(alpha=0.25)
        axes.xaxis.get_major_locator().set_params(integer=history.epoch.max() >= 3)
        axes.spines[["top", "right"]].set_visible(False)
    return _read_curves(history, validated)


def _draw_loss(axes: Axes, history: pd.DataFrame, reader: float | None) -> None:
    epoch, log_b = history.epoch, history.log_b.iloc[-1]
    axes.plot(epoch, history.loss, color=BLUE)
    axes.plot(epoch, history.log_b, color=GREY, linestyle="dashed")
    axes.plot(epoch, history.floor, color=ORANGE, linestyle="dotted", linewidth=2)
    top = 1.12 * max(log_b, history.loss.max())
    notes = [  # each where a falling loss is far away
        (f"log B = {log_b:.2f}: guessing", epoch.max(), log_b, 4, "right", GREY),
        ("floor: equal captions", epoch.min(), history.floor.iloc[0], -12, "left", ORANGE),
    ]
    if reader is not None:
        axes.axhline(reader, color=GREEN, linestyle="dashdot")
        notes.append((f"who knows every fact: {reader:.2f}", epoch.min(), reader, 4, "left", GREEN))
    for words, x, y, up, side, colour in notes:
        axes.annotate(
            words, (x, y), (0, up), textcoords="offset points", ha=side, color=colour, fontsize=9
        )
    axes.set(xlabel="epoch", ylabel="loss (nats)", title="Loss", ylim=(-0.09 * top, top))


def _draw_found(axes: Axes, history: pd.DataFrame, validated: pd.DataFrame) -> None:
    pairs = round(np.exp(history.log_b.iloc[-1]))
    axes.plot(
        history.epoch, 100 * history.accuracy, color=GREY, linestyle="dashed",
        label=f"accuracy among the B of a batch (B = {pairs})",
    )  # fmt: skip
    for k, colour, marker in ((10, BLUE, "o"), (1, ORANGE, "s")):
        axes.plot(
            validated.epoch, 100 * validated[f"val_t2i_r{k}"], color=colour, marker=marker,
            markersize=4, label=f"recall@{k} among all pictures",
        )  # fmt: skip
    axes.set(xlabel="epoch", ylabel="found (%)", title="In the batch, and on validation data")
    axes.set_ylim(0, 145)  # room for the legend above 100 %
    axes.set_yticks(range(0, 101, 20))
    axes.legend(loc="upper left", fontsize=8, frameon=False)


def _read_curves(history: pd.DataFrame, validated: pd.DataFrame) -> str:
    first, last = history.iloc[0], history.iloc[-1]
    pairs = round(np.exp(last.log_b))
    sentence = (
        f"After {last.epoch:.3g} epochs the loss is {last.loss:.2f} (log B {last.log_b:.2f}, floor "
        f"{last.floor:.2f}); the logit scale went from {first.logit_scale:.1f} to "
        f"{last.logit_scale:.1f}; {last.accuracy:.0%} are right among the {pairs} of a batch"
    )
    if validated.empty:
        return sentence + ", and nothing was validated yet."
    recall = validated.iloc[-1]
    return (
        f"{sentence}, while among all validation pictures recall@1 is {recall.val_t2i_r1:.0%} "
        f"and recall@10 {recall.val_t2i_r10:.0%}."
    )


def matrix_film(frames: Mapping[str, np.ndarray]) -> str:
    """One batch's cosines at several moments, side by side on one scale.

    frames: title to (B, B) cosines, a row a picture, a column a caption.
    Raises: ValueError when there are none, or one is not square.
    """
    if not frames or any(f.ndim != 2 or f.shape[0] != f.shape[1] for f in frames.values()):
        raise ValueError("A film needs at least one square matrix (B, B) of cosines.")
    figure, row = plt.subplots(
        1, len(frames), squeeze=False, layout="constrained", figsize=(2.1 * len(frames), 2.6)
    )
    low, high = min(f.min() for f in frames.values()), max(f.max() for f in frames.values())
    sentences = []
    for axes, (title, cosines) in zip(row[0], frames.items(), strict=True):
        image = axes.imshow(cosines, cmap="viridis", interpolation="nearest", vmin=low, vmax=high)
        axes.set(title=title, xlabel="caption", xticks=[], yticks=[])
        own, pairs = cosines.diagonal(), len(cosines)
        others = np.where(np.eye(pairs, dtype=bool), -np.inf, cosines).max(1)
        sentences.append(f"{title}: {(own > others).sum()}")
    row[0][0].set_ylabel("picture")
    figure.colorbar(image, ax=row[0].tolist(), label="cosine", shrink=0.8)
    return f"Rows of {pairs} in which the diagonal is the largest: {', '.join(sentences)}."


def rate_schedule(factors: Sequence[float]) -> str:
    """The share of the full learning rate at each step. Raises: ValueError when there are none."""
    if not len(factors):
        raise ValueError("A schedule needs at least one step.")
    _, axes = plt.subplots(figsize=(6.5, 2.8), layout="constrained")
    axes.plot(range(len(factors)), factors, color=BLUE)
    axes.set(xlabel="step", ylabel="share of the full rate", ylim=(0, 1.08))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    top = int(np.argmax(factors))
    return (
        f"The rate is {factors[0]:.3f} of the full one at step 0, all of it at step {top} of "
        f"{len(factors)}, half of it at step {_half(factors, top)}, and ends at {factors[-1]:.6f}."
    )


def _half(factors: Sequence[float], top: int) -> int:
    return next((i for i in range(top, len(factors)) if factors[i] <= 0.5), len(factors) - 1)


def loss_lines(runs: Mapping[str, Sequence[float]], log_b: float) -> str:
    """The losses of up to four short runs, with the price of a guess, log B.

    Raises: ValueError for no or more than four runs.
    """
    if not 1 <= len(runs) <= len(STYLES):
        raise ValueError(f"Expected one to {len(STYLES)} runs, got {len(runs)}.")
    _, axes = plt.subplots(figsize=(6.5, 3.4), layout="constrained")
    axes.axhline(log_b, color=GREY, linewidth=1, label=f"log B = {log_b:.2f}: guessing")
    for (name, losses), (colour, line) in zip(runs.items(), STYLES, strict=False):
        axes.plot(range(len(losses)), losses, color=colour, linestyle=line, label=name)
    axes.set(xlabel="step", ylabel="loss (nats)", ylim=(0, None))
    axes.legend(frameon=False, fontsize=9, loc="lower left")
    axes.spines[["top", "right"]].set_visible(False)
    ends = ", ".join(f"{name} {np.mean(losses[-5:]):.2f}" for name, losses in runs.items())
    return f"Loss over the last five steps (log B is {log_b:.2f}): {ends}."


def film_frame(
    cosines: np.ndarray, step: int, steps: int, history: Sequence[tuple[int, float]], log_b: float
) -> None:
    """One picture of the film: a batch's cosines at a step, and the loss up to there.

    cosines: (B, B), a row a picture. history: (step, loss in nats), in order.
    """
    figure, (matrix, loss) = plt.subplots(
        1, 2, figsize=(8, 4), width_ratios=(1.15, 1), layout="constrained"
    )
    image = matrix.imshow(cosines, cmap="viridis", interpolation="nearest", vmin=-0.4, vmax=0.9)
    matrix.set(title=f"Cosines of {len(cosines)} pictures and captions", xticks=[], yticks=[])
    matrix.set(xlabel="caption", ylabel="picture")
    figure.colorbar(image, ax=matrix, shrink=0.8, label="cosine")
    loss.axhline(log_b, color=GREY, linestyle="dashed", linewidth=1)
    loss.annotate(f"log B = {log_b:.2f}: guessing", (steps, log_b), (0, 4), ha="right",
                  textcoords="offset points", color=GREY, fontsize=9)  # fmt: skip
    if history:
        loss.plot(*zip(*history, strict=True), color=BLUE)
    loss.set(title=f"step {step:,} of {steps:,}", xlabel="step", ylabel="loss (nats)")
    loss.set(xlim=(0, steps), ylim=(0, 1.12 * log_b))
    loss.spines[["top", "right"]].set_visible(False)
