"""Trains the quick profile before a camera: `python -m cliplib.film` makes the README's pictures.

The film shows the cosines of one fixed validation batch while training goes on, beside the loss so
far; the still shows what the trained model then finds in the test split.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image
from tqdm.auto import tqdm

from cliplib import plots
from cliplib.checkpoint import Run
from cliplib.config import QUICK, Profile, data_root
from cliplib.data import load_pairs
from cliplib.plots_training import film_frame
from cliplib.retrieval import to_device
from cliplib.search import build_index, by_words
from cliplib.storage import write_whole
from cliplib.train import begin
from cliplib.trainer import Split, Trainer

PAIRS = 32  # rows and columns of the filmed matrix
FRAMES = 56
FRAME_MS, LAST_FRAME_MS = 110, 4000
QUERIES = ("a red boat at night", "three balloons in the sky", "a pink flower in the rain")


def chosen_steps(steps: int, frames: int) -> set[int]:
    """At which of the steps to look, the first and the last among them: mostly early ones."""
    return set(np.round(np.linspace(0, 1, frames) ** 2 * steps).astype(int).tolist())


class Camera(tqdm):
    """A progress bar that looks at the matrix at chosen steps: most of them early, where it moves.

    frames: one RGB picture for each chosen step, the untrained model's first.
    """

    def __init__(self, trainer: Trainer, val: Split, frames: int, progress: bool) -> None:
        self.steps = trainer.steps_an_epoch * trainer.profile.epochs
        super().__init__(
            total=self.steps * trainer.profile.batch_size,
            desc="training",
            unit=" pictures",
            disable=not progress,
        )
        self.trainer, self.val = trainer, val
        self.chosen = chosen_steps(self.steps, frames)
        self.frames: list[Image.Image] = []
        self.look()

    def update(self, n: float = 1) -> bool | None:
        if self.trainer.step in self.chosen:
            self.look()
        return super().update(n)

    def look(self) -> None:
        rows = np.arange(min(PAIRS, len(self.val.pairs.images)))
        words = np.array([self.val.pairs.captions_of(row)[0] for row in rows])
        model, device = self.trainer.model.eval(), self.trainer.device
        with torch.inference_mode():
            images = model.encode_image(self.val.images.batch(rows).to(device))  # (PAIRS, E)
            texts = model.encode_text(to_device(self.val.texts.batch(words), device))
        cosines = (images @ texts.T).float().cpu().numpy()
        model.train()
        history = [(row["step"], row["loss"]) for row in self.trainer.history]
        film_frame(
            cosines, self.trainer.step, self.steps, history, np.log(self.trainer.profile.batch_size)
        )
        self.frames.append(_developed())


def _developed() -> Image.Image:
    """The current figure as a picture; closes it."""
    file = io.BytesIO()
    plt.savefig(file, dpi=80, format="png")
    plt.close()
    return Image.open(file).convert("RGB")


def film(
    profile: Profile, frames: int = FRAMES, progress: bool = True
) -> tuple[Run, list[Image.Image]]:
    """Trains a profile; gives the model and the pictures of its matrix on the way."""
    trainer, val, tokenizer = begin(profile, progress)
    with Camera(trainer, val, frames, progress) as camera:
        while trainer.epoch < profile.epochs:
            trainer.run_epoch(camera)
    model = trainer.model.eval()
    transform = model.image_encoder.transform(profile.image_size, profile.image_crop)
    return Run(val.pairs.folder, profile, model, tokenizer, transform), camera.frames


def save_film(path: Path, frames: Sequence[Image.Image]) -> None:
    """Writes an animated GIF that repeats for ever and rests on its last picture."""
    palette = frames[-1].quantize(96)  # one for all frames: no flicker, and a small file
    drawn = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    times = [FRAME_MS] * (len(drawn) - 1) + [LAST_FRAME_MS]
    write_whole(
        path,
        lambda aside: drawn[0].save(
            aside, "GIF", save_all=True, append_images=drawn[1:], duration=times, loop=0
        ),
    )


def save_answers(path: Path, run: Run, queries: Sequence[str], top: int = 5) -> str:
    """Draws what the model finds in the test split; gives the sentence that reads the figure."""
    index = build_index(run, load_pairs(run.folder, "test").paths(), progress=False)
    found = [by_words(run, index, query, top) for query in queries]
    sentence = plots.text_to_image_grid(
        queries,
        [[answer.item for answer in answers] for answers in found],
        [[answer.score for answer in answers] for answers in found],
    )
    plots.save(path, dpi=100)
    return sentence


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m cliplib.film", description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=data_root() / "film", help="folder; default: %(default)s"
    )
    out = parser.parse_args(arguments).out
    run, frames = film(QUICK)
    save_film(out / "diagonal.gif", frames)
    print(save_answers(out / "answers.png", run, QUERIES))
    print(f"The film is {out / 'diagonal.gif'}, the answers are {out / 'answers.png'}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
