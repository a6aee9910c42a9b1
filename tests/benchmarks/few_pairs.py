"""How many pairs are enough, and what is forgotten: the figures that lesson 09 shows, measured.

    python tests/benchmarks/few_pairs.py curve flickr8k laptop
    python tests/benchmarks/few_pairs.py curve picturebook laptop
    python tests/benchmarks/few_pairs.py curve picturebook scratch
    python tests/benchmarks/few_pairs.py forgetting
Rows are added to the files in data/measured/, those that stand there already are not made again.
What is chosen (steps, shares) is chosen on validation data; test is read once for each row.
"""

from __future__ import annotations

import argparse
import copy
import csv
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np  # noqa: E402
import torch  # noqa: E402
from tqdm.auto import tqdm  # noqa: E402

from cliplib.config import COURSE, LAPTOP, QUICK, Profile, data_root  # noqa: E402
from cliplib.data import Pairs, ensure, load_pairs  # noqa: E402
from cliplib.evaluate import embed_split, prepare_split  # noqa: E402
from cliplib.features import FeatureTable, text_inputs  # noqa: E402
from cliplib.model import CLIP, build_clip  # noqa: E402
from cliplib.retrieval import recalls  # noqa: E402
from cliplib.storage import read_tensors, write_tensors  # noqa: E402
from cliplib.train import make_tokenizer  # noqa: E402
from cliplib.trainer import Split, Trainer  # noqa: E402

MEASURED = COURSE / "data" / "measured"
SIZES = (50, 100, 200, 500, 1000, 2000, 4000, 6000, 8000)  # training pictures
SEEDS = range(3)
FEW, STEPS = (30, 100, 300), (100, 300, 1000)  # to choose from, below 500 pictures and above
FEW_SEEDS, FEW_SIZES, FEW_STEPS = range(3), (200, 1000, 4000, 8000), (300, 1000)  # from scratch
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
CURVE = ("data", "encoders", "pictures", "seed", "steps", "split", "gallery", "t2i_r1", "t2i_r5",
         "t2i_r10", "i2t_r1")  # fmt: skip
FORGETTING = ("before", "album", "trained", "pictures", "seed", "share", "split", "measured_on",
              "gallery", "captions", "t2i_r1", "t2i_r10", "i2t_r1")  # fmt: skip

Values = dict[str, object]


class Table:
    """A CSV file that grows by a row a measurement."""

    def __init__(self, name: str, columns: Sequence[str], keys: Sequence[str]) -> None:
        self.path, self.columns, self.keys = MEASURED / name, columns, keys
        MEASURED.mkdir(parents=True, exist_ok=True)
        if not self.path.exists():
            self.path.write_text(",".join(columns) + "\n", encoding="utf-8")
        with open(self.path, encoding="utf-8", newline="") as file:
            self.rows = list(csv.DictReader(file))

    def find(self, values: Values) -> list[dict[str, str]]:
        """The rows that agree with all values."""
        return [r for r in self.rows if all(r[k] == str(v) for k, v in values.items())]

    def add(self, values: Values) -> None:
        row = {c: f"{v:.4f}" if isinstance(v, float) and c not in self.keys else str(v)
               for c, v in values.items() if c in self.columns}  # fmt: skip
        self.rows.append(row)
        with open(self.path, "a", encoding="utf-8", newline="") as file:
            csv.DictWriter(file, self.columns, lineterminator="\n").writerow(row)
        print(row, flush=True)


def part(split: Split, rows: np.ndarray) -> Split:
    """Some pictures of a split, with all of their captions."""
    own = [split.pairs.captions_of(int(row)) for row in rows]
    captions = np.concatenate([np.arange(o.start, o.stop) for o in own])  # (m,)
    pairs = replace(
        split.pairs,
        images=tuple(split.pairs.images[row] for row in rows),
        captions=tuple(split.pairs.captions[row] for row in captions),
        caption_image=np.repeat(np.arange(len(rows)), [len(o) for o in own]),
    )
    return Split(pairs, Rows(split.images, rows), Rows(split.texts, captions))


class Rows:
    """Some rows of what an encoder takes, under numbers of their own."""

    def __init__(self, inputs: object, rows: np.ndarray) -> None:
        self.inputs, self.rows = inputs, rows

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, rows: np.ndarray) -> object:
        return self.inputs.batch(self.rows[rows])

    def batches(self, rows_of_batches: object, device: torch.device) -> object:
        return self.inputs.batches((self.rows[rows] for rows in rows_of_batches), device)


def drawn(split: Split, pictures: int, seed: int) -> Split:
    """So many training pictures; another seed draws others."""
    rows = np.random.default_rng([seed, pictures]).permutation(len(split.pairs.images))[:pictures]
    return part(split, rows)


def trained(profile: Profile, model: CLIP, split: Split, steps: int, seed: int) -> CLIP:
    """The model after so many steps, at least, on a split."""
    batch = min(profile.batch_size, len(split.pairs.images))
    epochs = max(1, round(steps / (len(split.pairs.images) // batch)))
    torch.manual_seed(seed)
    trainer = Trainer(
        replace(profile, batch_size=batch, epochs=epochs, seed=seed, head_epochs=0), model, split
    )
    while trainer.epoch < epochs:
        trainer.run_epoch(tqdm(disable=True))
    return trainer.model.eval()


def found(model: CLIP, split: Split) -> dict[str, float]:
    images, texts = embed_split(model, split)
    return recalls((texts @ images.T).numpy(), split.pairs.caption_image)


# ---- how many pairs?


def curve(data: str, encoders: str) -> None:
    table = Table("learning_curve.csv", CURVE, ("pictures", "seed", "steps"))
    laptop = encoders == "laptop"
    profile = replace(LAPTOP if laptop else QUICK, data=data)
    folder = ensure(data)
    tokenizer = make_tokenizer(profile, load_pairs(folder, "train").captions)
    torch.manual_seed(0)
    model = build_clip(profile)
    train, val, test = (
        prepare_split(profile, model, tokenizer, folder, split) for split in ("train", "val", "test")
    )
    sizes = [n for n in (SIZES if laptop else FEW_SIZES) if n <= len(train.pairs.images)]
    for pictures in sizes:
        about = {"data": data, "encoders": encoders, "pictures": pictures}

        def measure(steps: int, seed: int, split: str, about: Values = about) -> Values:
            """One row, made when it is not there."""
            row = about | {"seed": seed, "steps": steps, "split": split}
            if not table.find(row):
                some = drawn(train, about["pictures"], seed)
                torch.manual_seed(seed)
                after = trained(profile, begin(), some, steps, seed)
                figures = found(after, val if split == "val" else test)
                table.add(row | figures | {"gallery": figures["gallery_images"]})
            return table.find(row)[0]

        def begin() -> CLIP:
            """Heads freshly drawn over the same encoders, or everything."""
            if not laptop:
                return build_clip(profile)
            new = copy.copy(model)
            new._modules = dict(model._modules)
            for name in ("image_projection", "text_projection"):
                old = getattr(model, name)
                new._modules[name] = torch.nn.Linear(old.in_features, old.out_features, bias=False)
            new._parameters = {"log_logit_scale": torch.nn.Parameter(torch.tensor(np.log(1 / 0.07)).float())}
            return new

        choices = FEW_STEPS if not laptop else FEW if pictures < 500 else STEPS
        tried = {steps: float(measure(steps, 0, "val")["t2i_r10"]) for steps in choices}
        best = max(tried, key=tried.get)
        for seed in SEEDS if laptop else FEW_SEEDS:
            measure(best, seed, "test")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("curve", "forgetting"))
    parser.add_argument("data", nargs="?", default="flickr8k")
    parser.add_argument("encoders", nargs="?", default="laptop")
    chosen = parser.parse_args()
    torch.set_flush_denormal(True)
    curve(chosen.data, chosen.encoders)


if __name__ == "__main__":
    main()
