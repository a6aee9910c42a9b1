"""How many pairs are enough, and what is forgotten: the figures that lesson 09 shows, measured.

    python tests/benchmarks/few_pairs.py curve flickr8k laptop
    python tests/benchmarks/few_pairs.py curve picturebook laptop
    python tests/benchmarks/few_pairs.py curve picturebook scratch
    python tests/benchmarks/few_pairs.py forgetting pencil
    python tests/benchmarks/few_pairs.py forgetting dogs --ways heads
Rows are added to the files in data/measured/, those that stand there already are not made again.
What is chosen (steps, shares) is chosen on validation data; test is read once for each row.
"""

from __future__ import annotations

import argparse
import copy
import csv
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
import torch
from tqdm.auto import tqdm

from cliplib import album
from cliplib.checkpoint import Run, load_run
from cliplib.config import LAPTOP, QUICK, Profile, data_root, shipped_checkpoint
from cliplib.data import Pairs, ensure, load_pairs
from cliplib.evaluate import embed_split, prepare_split
from cliplib.features import image_inputs, text_inputs
from cliplib.fewer import SomeRows, some_pictures
from cliplib.finetune import continue_from, freeze, interpolate
from cliplib.measured import MEASURED
from cliplib.model import CLIP, build_clip
from cliplib.retrieval import recalls
from cliplib.train import make_tokenizer
from cliplib.trainer import Split, Trainer

SIZES = (50, 100, 200, 500, 1000, 2000, 4000, 6000, 8000)  # training pictures
SEEDS = range(3)
FEW, STEPS = (30, 100, 300), (100, 300, 1000)  # to choose from, below 500 pictures and above
FEW_SIZES, FEW_STEPS = (200, 1000, 4000, 8000), (300, 1000)  # from scratch
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
CURVE = ("data", "encoders", "pictures", "seed", "steps", "split", "gallery", "t2i_r1", "t2i_r5",
         "t2i_r10", "i2t_r1")  # fmt: skip
STEPS_OF = {"heads": 300, "image": 60, "text": 60, "both": 60}
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
    """Some pictures of a split with all of their captions; nothing is encoded again."""
    pairs, captions = some_pictures(split.pairs, rows)
    return Split(pairs, SomeRows(split.images, rows), SomeRows(split.texts, captions))


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


def fresh_heads(model: CLIP) -> CLIP:
    """Heads and logit scale newly drawn, over the same encoders."""
    new = copy.copy(model)
    new._modules = dict(model._modules)
    for name in ("image_projection", "text_projection"):
        old = getattr(model, name)
        new._modules[name] = torch.nn.Linear(old.in_features, old.out_features, bias=False)
    new._parameters = {
        "log_logit_scale": torch.nn.Parameter(torch.tensor(np.log(1 / 0.07)).float())
    }
    return new


def lay_out(profile: Profile) -> tuple[CLIP, dict[str, Split]]:
    """A profile's untrained model, and its splits."""
    folder = ensure(profile.data)
    pairs = load_pairs(folder, "train")
    tokenizer = make_tokenizer(profile, pairs.captions)
    torch.manual_seed(0)
    model = build_clip(profile)
    train = Split(
        pairs,
        image_inputs(profile, model.image_encoder, pairs.paths()),
        text_inputs(profile, model.text_encoder, pairs.captions, tokenizer),
    )
    others = {
        split: prepare_split(profile, model, tokenizer, folder, split) for split in ("val", "test")
    }
    return model, {"train": train, **others}


# ---- how many pairs?


def curve(data: str, encoders: str) -> None:
    table = Table("learning_curve.csv", CURVE, ("pictures", "seed", "steps"))
    laptop = encoders == "laptop"
    profile = replace(LAPTOP if laptop else QUICK, data=data)
    model, splits = lay_out(profile)
    train, val, test = (splits[split] for split in ("train", "val", "test"))
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
            return fresh_heads(model) if laptop else build_clip(profile)

        choices = FEW_STEPS if not laptop else FEW if pictures < 500 else STEPS
        tried = {steps: float(measure(steps, 0, "val")["t2i_r10"]) for steps in choices}
        best = max(tried, key=tried.get)
        for seed in SEEDS:
            measure(best, seed, "test")


# ---- what is forgotten?


def forgetting(which: str, names: Sequence[str]) -> None:
    """Goes on from a model with an album it does not know; measures old and new, between the two.

    The share between before (0) and after (1) is chosen on validation data: the largest mean of
    both recalls@1. Test is read at 0, at 1 and there.
    """
    before, old, new = {"pencil": pencil_album, "dogs": dogs}[which]()
    about = {"before": before.profile.name, "album": which,
             "pictures": len(new["train"].pairs.images)}  # fmt: skip
    table = Table("forgetting.csv", FORGETTING, (*about, "trained", "seed", "share"))
    for name, profile in ways(before).items():
        if name not in names:
            continue
        for seed in SEEDS:
            row = about | {"trained": name, "seed": seed}
            if table.find(row | {"split": "test", "measured_on": "new"}):
                continue
            made = replace(profile, name="after", seed=seed)
            model = copy.deepcopy(before.model)
            after = trained(made, model, as_taken(made, new["train"]), STEPS_OF[name], seed)
            after = replace(before, model=after)
            best = {}
            for share in SHARES:
                mean = []
                for known, splits in (("old", old), ("new", new)):
                    figures = found(interpolate(before, after, share).model,
                                    as_taken(made, splits["val"]))  # fmt: skip
                    table.add(row | figures | of(figures, share, "val", known))
                    mean.append(figures["t2i_r1"])
                best[share] = np.mean(mean)
            for share in sorted({0.0, max(best, key=best.get), 1.0}):
                for known, splits in (("old", old), ("new", new)):
                    figures = found(interpolate(before, after, share).model,
                                    as_taken(made, splits["test"]))  # fmt: skip
                    table.add(row | figures | of(figures, share, "test", known))


def of(figures: dict[str, float], share: float, split: str, known: str) -> Values:
    gallery = {"gallery": figures["gallery_images"], "captions": figures["gallery_captions"]}
    return {"share": share, "split": split, "measured_on": known} | gallery


def ways(before: Run) -> dict[str, Profile]:
    """Heads alone, then one encoder with them, then both; rates chosen on validation data."""
    profile = before.profile
    if profile.text_pretrained:
        slow = replace(profile, head_lr=3e-4, text_lr=5e-5, batch_size=128)
        return {"heads": profile, "text": replace(slow, text_frozen=False)}
    on = continue_from(shipped_checkpoint(), 0.3)
    return {
        "heads": freeze(continue_from(shipped_checkpoint(), 0.5), "both"),
        "image": replace(on, text_frozen=True),
        "text": replace(on, image_frozen=True),
        "both": on,
    }


@dataclass(frozen=True)
class Both:
    """A split as pictures and tokens, and as what encoders said of them before."""

    pairs: Pairs
    pictures: object
    image_features: object
    tokens: object
    text_features: object


def as_taken(profile: Profile, split: Both) -> Split:
    """What an encoder that learns takes, and what a frozen one said."""
    images = split.image_features if profile.image_frozen else split.pictures
    texts = split.text_features if profile.text_frozen else split.tokens
    return Split(split.pairs, images, texts)


def both(run: Run, pairs: Pairs) -> Both:
    p, model, tokenizer = run.profile, run.model, run.tokenizer
    frozen = replace(p, image_frozen=True, text_frozen=True, own_encoders=True)
    learned = replace(frozen, image_frozen=False, text_frozen=False)
    inputs = [image_inputs(x, model.image_encoder, pairs.paths()) for x in (learned, frozen)]
    texts = [
        text_inputs(x, model.text_encoder, pairs.captions, tokenizer) for x in (learned, frozen)
    ]
    return Both(pairs, *inputs, *texts)


def few(pairs: Pairs, rows: Sequence[int], captions: int = 5) -> Pairs:
    """Some pictures of a split, each with its first captions."""
    fewer, _ = some_pictures(pairs, rows)
    own = [list(fewer.captions_of(row))[:captions] for row in range(len(rows))]
    return replace(
        fewer, captions=tuple(fewer.captions[c] for each in own for c in each),
        caption_image=np.repeat(np.arange(len(rows)), [len(each) for each in own]),
    )  # fmt: skip


Splits = dict[str, Both]


def pencil_album() -> tuple[Run, Splits, Splits]:
    """The picture book's model, and an album in coloured pencil with words of its own."""
    run = load_run(shipped_checkpoint())
    folder = data_root() / "pencil_album"
    if not folder.exists():
        album.lay(folder, album.scenes(1000))
    everything = load_pairs(folder, "all")
    cuts = {"train": range(400), "val": range(400, 600), "test": range(600, 1000)}
    new = {split: both(run, few(everything, rows)) for split, rows in cuts.items()}
    pages = ensure("picturebook")
    old = {"val": both(run, few(load_pairs(pages, "val"), range(500)))}
    old["test"] = both(run, load_pairs(pages, "test"))
    return run, old, new


def dogs() -> tuple[Run, Splits, Splits]:
    """Heads trained on photographs without dogs, and an album of 400 photographs of dogs."""
    folder = ensure("flickr8k")
    pairs = {split: load_pairs(folder, split) for split in ("train", "val", "test")}
    rows = {split: rows_with(r"\b(dogs?|pupp(y|ies))\b", p) for split, p in pairs.items()}
    run = heads_on(few(pairs["train"], rows["train"][1]), "without dogs")
    chosen = np.random.default_rng(0).permutation(rows["train"][0])[:400]
    new = {"train": few(pairs["train"], chosen)}
    new |= {s: few(pairs[s], rows[s][0], 1 if s == "val" else 5) for s in ("val", "test")}
    old = {s: few(pairs[s], rows[s][1], 1 if s == "val" else 5) for s in ("val", "test")}
    return run, *({s: both(run, p) for s, p in splits.items()} for splits in (old, new))


def rows_with(pattern: str, pairs: Pairs) -> tuple[list[int], list[int]]:
    """Pictures of which two captions or more match a pattern, and those of which none does."""
    hits = np.zeros(len(pairs.images), int)
    for caption, row in zip(pairs.captions, pairs.caption_image, strict=True):
        hits[row] += bool(re.search(pattern, caption.lower()))
    return np.flatnonzero(hits >= 2).tolist(), np.flatnonzero(hits == 0).tolist()


def heads_on(pairs: Pairs, name: str) -> Run:
    """A run of the laptop profile on some pictures of a split."""
    profile = replace(LAPTOP, name=name)
    tokenizer = make_tokenizer(profile, pairs.captions)
    torch.manual_seed(0)
    model = build_clip(profile)
    transform = model.image_encoder.transform(profile.image_size, profile.image_crop)
    run = Run(Path(name), profile, model, tokenizer, transform)
    trained(profile, model, as_taken(profile, both(run, pairs)), 1000, seed=0)
    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("curve", "forgetting"))
    parser.add_argument("data", choices=("flickr8k", "picturebook", "pencil", "dogs"))
    parser.add_argument("encoders", nargs="?", default="laptop", choices=("laptop", "scratch"))
    parser.add_argument("--ways", nargs="*", default=["heads", "image", "text", "both"])
    chosen = parser.parse_args()
    torch.set_flush_denormal(True)
    if chosen.what == "curve":
        curve(chosen.data, chosen.encoders)
    else:
        forgetting(chosen.data, chosen.ways)


if __name__ == "__main__":
    main()
