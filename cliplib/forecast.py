"""Twenty real training steps on pages drawn for them, and what they say about lesson 04."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm.auto import tqdm

from cliplib.checkpoint import tokenizer_of
from cliplib.config import QUICK, data_folder, shipped_checkpoint
from cliplib.data import Pairs, TokenTable
from cliplib.drawing import draw
from cliplib.meter import in_words
from cliplib.model import build_clip
from cliplib.picturebook import SPLIT_SIZES, is_whole, plan_page
from cliplib.pictures import ImageTransform
from cliplib.store import CPU
from cliplib.trainer import Split, Trainer

STEPS = 20
STEPS_AN_EPOCH = 2  # of the twenty: 256 pages are drawn, and seen ten times


@dataclass(frozen=True)
class Forecast:
    """What twenty steps tell about lesson 04 on this computer. Seconds."""

    step: float
    training: float
    drawing: float  # of the picture book; 0 when it is there
    loss: tuple[float, float]  # nats, mean of the first two steps and of the last two

    def sentences(self) -> str:
        first, last = self.loss
        text = (
            f"{STEPS} steps of the quick profile took {self.step:.2f} s each; the loss was "
            f"{first:.2f} at the first two and {last:.2f} at the last."
        )
        if self.drawing:
            text += f" Drawing the picture book, once: about {in_words(self.drawing)}."
        return text + f" Training in lesson 04: about {in_words(self.training)}."


class DrawnPictures:
    """Pictures that never were files, behind the same calls as `PictureStore`."""

    def __init__(self, pixels: np.ndarray, transform: ImageTransform) -> None:
        self._pixels = pixels  # (N, H, W, 3) uint8
        self._transform = transform

    def __len__(self) -> int:
        return len(self._pixels)

    def batch(self, rows: np.ndarray) -> Tensor:
        return self._transform.normalise(self._pixels[rows])  # (B, 3, H, W)

    def batches(
        self, rows_of_batches: Iterable[np.ndarray], device: torch.device = CPU
    ) -> Iterator[Tensor]:
        return (self.batch(rows).to(device) for rows in rows_of_batches)


def twenty_steps() -> Forecast:
    """Trains twenty real steps of the quick profile; reads and writes no data folder.

    Everything random happens aside: your own run after it is the same as without it.
    """
    with torch.random.fork_rng(), tqdm(disable=True) as bar:
        torch.manual_seed(QUICK.seed)
        torch.set_flush_denormal(True)  # as training does
        trainer, page = _make_trainer()
        marks = [trainer.seconds]
        for _ in range(STEPS // STEPS_AN_EPOCH):
            trainer.run_epoch(bar)
            marks.append(trainer.seconds)
        trainer.validate(trainer.train)
    step = (
        statistics.median(np.diff(marks)[1:].tolist()) / STEPS_AN_EPOCH
    )  # the first epoch warms up
    training = training_seconds(step, trainer.seconds - marks[-1])
    losses = [row["loss"] for row in trainer.history]
    return Forecast(step, training, drawing_seconds(page), (losses[0], losses[-1]))


def training_seconds(step: float, validation: float) -> float:
    """The steps of all epochs, and a validation after each of them.

    step: seconds of one; validation: seconds for the pages of the twenty steps.
    """
    steps = SPLIT_SIZES["train"] // QUICK.batch_size * QUICK.epochs
    once = validation * SPLIT_SIZES["val"] / (STEPS_AN_EPOCH * QUICK.batch_size)
    return steps * step + QUICK.epochs * once


def drawing_seconds(page: float) -> float:
    """Drawing the picture book on all cores; 0 when it is there. page: seconds for one."""
    if is_whole(data_folder("picturebook")):
        return 0.0
    return page * sum(SPLIT_SIZES.values()) / (os.cpu_count() or 1)


def _make_trainer() -> tuple[Trainer, float]:
    """A trainer for twenty steps, and the seconds that drawing one of its pages took."""
    profile = replace(QUICK, epochs=STEPS // STEPS_AN_EPOCH)
    model = build_clip(profile)
    transform = model.image_encoder.transform(profile.image_size, profile.image_crop)
    started = time.perf_counter()
    pages = [plan_page("train", i) for i in range(STEPS_AN_EPOCH * profile.batch_size)]
    drawn = [draw(page.scene) for page in pages]
    seconds_a_page = (time.perf_counter() - started) / len(pages)
    edge = (profile.image_size, profile.image_size)
    pixels = np.stack([np.asarray(p.resize(edge, Image.Resampling.BILINEAR)) for p in drawn])
    tokenizer = tokenizer_of(shipped_checkpoint(), profile)
    captions = tuple(caption for page in pages for caption in page.captions)
    texts = TokenTable(tokenizer.encode(captions), tokenizer.pad_id)
    owners = np.repeat(np.arange(len(pages)), [len(page.captions) for page in pages])  # (M,)
    pairs = Pairs(Path(), "train", tuple(page.image for page in pages), captions, owners, ())
    train = Split(pairs, DrawnPictures(pixels, transform), texts)
    return Trainer(profile, model, train), seconds_a_page
