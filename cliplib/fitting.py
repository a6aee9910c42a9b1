"""A training from its first step to its last: heads first, within memory, within time."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from pathlib import Path

import torch
from tqdm.auto import tqdm

from cliplib.config import Profile
from cliplib.data import load_pairs
from cliplib.encoders import CaptionTokenizer
from cliplib.evaluate import prepare_split
from cliplib.folders import has_shards
from cliplib.meter import in_words
from cliplib.model import CLIP
from cliplib.processes import first_alone, of_the_first, world
from cliplib.shards import vocabulary_captions
from cliplib.trainer import OutOfMemory, Split, Trainer

REHEARSED = {"cuda": 15}  # steps; a GPU is set up in its first few, not in the very first alone


class TimeIsUp(RuntimeError):
    """Training stopped before its end because it was given so many minutes; it can be resumed."""


def training_captions(folder: Path) -> tuple[str, ...]:
    """What a vocabulary is learned from: all captions, of shards at most the first 100,000."""
    if has_shards(folder):
        return vocabulary_captions(folder)
    return load_pairs(folder, "train").captions


def train_heads(
    profile: Profile, model: CLIP, tokenizer: CaptionTokenizer, folder: Path, progress: bool = True
) -> None:
    """Trains a model's projections and logit scale alone, on what its frozen encoders say.

    Random projections would send random gradients into encoders that know something, and spoil it.
    Source: Kumar et al. 2022, Fine-Tuning can Distort Pretrained Features and Underperform
    Out-of-Distribution (arXiv 2202.10054).
    """
    alone = heads_alone(profile)
    with first_alone():
        split = prepare_split(alone, model, tokenizer, folder, "train", progress)
    trainer = Trainer(alone, model, split)
    with progress_bar(trainer, f"heads of {profile.name}", progress) as bar:
        while trainer.epoch < alone.epochs:
            trainer.run_epoch(bar)


def heads_alone(profile: Profile) -> Profile:
    """The profile with both encoders frozen, for its `head_epochs` if it has any."""
    epochs = profile.head_epochs or profile.epochs
    return replace(profile, image_frozen=True, text_frozen=True, epochs=epochs, head_epochs=0)


def fit_to_memory(trainer: Trainer, progress: bool = True) -> Trainer:
    """Rehearses a step, asking for less as long as it does not fit, and says how long training
    will take.

    Raises: OutOfMemory when two pairs are too many.
    """
    while True:
        try:
            step = trainer.rehearse(REHEARSED.get(trainer.device.type, 3))
            break
        except OutOfMemory:
            if world() > 1:  # one process cannot ask for less alone
                raise
            if trainer.profile.batch_size < 4 and trainer.profile.chunk_size < 2:
                raise
            smaller, told = ask_for_less(trainer.profile)
        print(f"A step does not fit into the memory of {trainer.device}: it goes on with {told}")
        trainer = Trainer(smaller, trainer.model, trainer.train)
        torch.cuda.empty_cache()
    if progress:
        steps = trainer.steps_an_epoch * trainer.profile.epochs
        told = in_words(trainer.seconds_left(step))
        print(f"{steps:,} steps of {step:.2g} s: about {told}, and validation after each epoch.")
    return trainer


def ask_for_less(profile: Profile) -> tuple[Profile, str]:
    """Half of a chunk, which changes no result, or where there is none, half of a batch."""
    if profile.chunk_size > 1:
        chunk = profile.chunk_size // 2
        return replace(profile, chunk_size=chunk), f"chunks of {chunk} instead of {2 * chunk}."
    pairs = profile.batch_size // 2
    told = f"{pairs} pairs instead of {2 * pairs}. A pair then has fewer to be told apart from."
    return replace(profile, batch_size=pairs), told


def fit(
    trainer: Trainer, val: Split, out: Path, tokenizer: CaptionTokenizer, progress: bool = True,
    until: float = math.inf,
) -> None:  # fmt: skip
    """Runs the epochs that are left; after each one validation recall and a whole checkpoint.

    until: a time of `time.monotonic`. Raises: TimeIsUp when the next epoch would end after it.
    """
    profile = trainer.profile
    with progress_bar(trainer, f"training {profile.name}", progress) as bar:
        while trainer.epoch < profile.epochs:
            started = time.monotonic()
            trainer.run_epoch(bar)
            trainer.validate(val)
            trainer.save(out, tokenizer)
            now = time.monotonic()
            over = of_the_first(now + (now - started) - until)  # their clocks differ
            if trainer.epoch < profile.epochs and over > 0:
                raise TimeIsUp(
                    f"Time is up after {trainer.epoch} of {profile.epochs} epochs. "
                    f"Go on with: python -m cliplib.train --resume --out {out}"
                )


def progress_bar(trainer: Trainer, title: str, progress: bool) -> tqdm:
    """Counts pictures, over all epochs."""
    pictures = trainer.steps_an_epoch * trainer.profile.batch_size
    return tqdm(
        total=pictures * trainer.profile.epochs,
        initial=pictures * trainer.epoch,
        desc=title,
        unit=" pictures",
        disable=not progress,
    )
