"""Recall against batch size at equal epochs and at equal steps: the figures of lesson 11, measured.

    python tests/benchmarks/batch_sizes.py flickr8k laptop
    python tests/benchmarks/batch_sizes.py picturebook laptop
    python tests/benchmarks/batch_sizes.py picturebook scratch
Rows are added to data/measured/batch_size.csv, those that stand there already are not made again.
For each batch size the learning rate is chosen on validation data with seed 0: from a middle one,
that grows with the root of B, on by factors of 3 until the best lies between two worse ones. Test
is read once for each seed at that rate.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import torch
from few_pairs import Table, found, fresh_heads, lay_out, trained

from cliplib.config import LAPTOP, QUICK, Profile
from cliplib.model import CLIP, build_clip
from cliplib.trainer import Split

COLUMNS = ("data", "encoders", "equal", "batch", "rate", "seed", "steps", "pictures", "split",
           "gallery", "t2i_r1", "t2i_r5", "t2i_r10", "i2t_r1")  # fmt: skip
KEYS = COLUMNS[:9]
FACTOR = 3.0  # from one learning rate to the next
MIDDLE = 256  # the batch for which the profile's rate is the middle one
FURTHEST = 3  # rates to either side, at most


@dataclass(frozen=True)
class Series:
    """What is compared: batch sizes, each for so many pairs seen and for so many steps."""

    batches: tuple[int, ...]
    epochs: float
    steps: int
    seeds: range


SERIES = {
    ("flickr8k", "laptop"): Series((16, 64, 256, 1024, 4096), 20, 200, range(3)),
    ("picturebook", "laptop"): Series((16, 64, 256, 1024), 20, 200, range(3)),
    ("picturebook", "scratch"): Series((16, 64, 256), 2, 62, range(1)),
}


@dataclass(frozen=True)
class Bench:
    """One data set with its encoders, and a fresh model for every training."""

    profile: Profile
    train: Split
    val: Split
    test: Split
    begin: Callable[[], CLIP]


def set_up(data: str, encoders: str) -> Bench:
    laptop = encoders == "laptop"
    profile = replace(LAPTOP if laptop else QUICK, data=data, captions_per_step=1)
    model, splits = lay_out(profile)
    begin = (lambda: fresh_heads(model)) if laptop else (lambda: build_clip(profile))
    return Bench(profile, **splits, begin=begin)


def with_rate(profile: Profile, batch: int, step: int) -> Profile:
    """All rates of the profile, times the root of the batch's size, times 3 to the power `step`."""
    times = math.sqrt(batch / MIDDLE) * FACTOR**step
    rates = {name: getattr(profile, name) * times for name in ("image_lr", "text_lr", "head_lr")}
    return replace(profile, batch_size=batch, **rates)


def best_rate(quality: Callable[[int], float]) -> int:
    """The step along the rates with the best quality, once both its neighbours were tried."""
    tried = {step: quality(step) for step in (-1, 0, 1)}
    while True:
        best = max(tried, key=tried.get)
        missing = [s for s in (best - 1, best + 1) if s not in tried and abs(s) <= FURTHEST]
        if not missing:
            return best
        tried |= {step: quality(step) for step in missing}


def measure(data: str, encoders: str, batches: list[int], equals: list[str]) -> None:
    table = Table("batch_size.csv", COLUMNS, KEYS)
    bench, series = set_up(data, encoders), SERIES[data, encoders]
    pictures = len(bench.train.pairs.images)
    for batch in batches or series.batches:
        for equal in equals:
            steps = series.steps
            if equal == "epochs":
                steps = round(series.epochs * pictures / batch)
            about = {"data": data, "encoders": encoders, "equal": equal, "batch": batch,
                     "steps": steps, "pictures": pictures}  # fmt: skip

            def row_of(step: int, seed: int, split: str, about: dict = about) -> dict[str, str]:
                """One row, made when it is not there: a training, measured on one split."""
                profile = with_rate(bench.profile, about["batch"], step)
                row = about | {"rate": f"{profile.head_lr:.2g}", "seed": seed, "split": split}
                if not table.find(row):
                    torch.manual_seed(seed)
                    model = trained(profile, bench.begin(), bench.train, about["steps"], seed)
                    figures = found(model, getattr(bench, split))
                    table.add(row | figures | {"gallery": figures["gallery_images"]})
                return table.find(row)[0]

            best = best_rate(lambda step, row_of=row_of: float(row_of(step, 0, "val")["t2i_r10"]))
            for seed in series.seeds:
                row_of(best, seed, "test")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", choices=("flickr8k", "picturebook"))
    parser.add_argument("encoders", choices=("laptop", "scratch"))
    parser.add_argument("--batches", nargs="*", type=int, default=[])
    parser.add_argument("--equal", nargs="*", default=["epochs", "steps"])
    chosen = parser.parse_args()
    torch.set_flush_denormal(True)
    measure(chosen.data, chosen.encoders, chosen.batches, chosen.equal)


if __name__ == "__main__":
    main()
