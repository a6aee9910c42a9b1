"""One table of what the library costs, beside the plain forms: for the README, in a few minutes.

    pip install faiss-cpu
    python tests/benchmarks/table.py [--rows 1000000]

Each row is measured side by side in this run, in turns, and the best round of each form counts; so
ratios compare, seconds only on the same machine. --rows is how many the search looks through.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import large_batches
import million
import torch
from large_batches import FORMS, batch, in_turns, step_seconds
from torch import nn
from tqdm.auto import tqdm

from cliplib.checkpoint import METRICS
from cliplib.config import COURSE, QUICK, data_folder, shipped_checkpoint
from cliplib.data import load_pairs
from cliplib.features import image_inputs
from cliplib.loss import contrastive_loss
from cliplib.model import build_clip
from cliplib.retrieval import to_device
from cliplib.train import begin
from cliplib.trainer import Trainer

STEPS = 20
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Row:
    what: str
    found: str
    ratio: str = ""

    def __str__(self) -> str:
        return f"| {self.what} | {self.found} | {self.ratio} |"


def losses(pairs: int = 8192) -> Iterator[Row]:
    given = batch(pairs)
    names = ("one product", "two products", "in blocks")
    best = in_turns({n: lambda f=FORMS[n]: large_batches.seconds(f, given) for n in names}, 3)
    for name in names[1:]:
        ratio = f"{best[name] / best['one product']:.2f} of one product used both ways"
        yield Row(f"loss and gradients, {pairs:,} pairs, {name}", f"{best[name]:.2f} s", ratio)


def caching() -> Iterator[Row]:
    whole, chunked = step_seconds((0, 64)).values()
    what = "a step of 512 pairs in chunks of 64, by gradient caching"
    yield Row(what, f"{chunked:.2f} s", f"{chunked / whole:.2f} of the step at once")


class BareTowers:
    """The same step written out: encoders, loss, gradients and optimizer, and nothing kept."""

    def __init__(self, trainer: Trainer) -> None:
        self.model, self.optimizer, self.train = trainer.model, trainer.optimizer, trainer.train
        self.plan = trainer.plan(0)[:STEPS]

    def __call__(self) -> None:
        asked = (rows for rows, _ in self.plan)
        pictures = self.train.images.batches(asked, CPU)
        for _, caption_rows in self.plan:
            images = self.model.encode_image(next(pictures))  # (B, E)
            tokens = to_device(self.train.texts.batch(caption_rows.reshape(-1)), CPU)
            texts = self.model.encode_text(tokens).view(len(caption_rows), *images.shape)
            scale = self.model.logit_scale
            loss = torch.stack([contrastive_loss(images, some, scale) for some in texts]).mean()
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), QUICK.clip_norm)
            self.optimizer.step()


class OneStep(Trainer):
    """A trainer whose epoch is so many steps."""

    def run_steps(self) -> None:
        plan = self.plan(0)[:STEPS]
        pictures = self.train.images.batches((rows for rows, _ in plan), CPU)
        for rows, caption_rows in plan:
            self._window.append(self._step(rows, caption_rows, pictures))
            self._report(tqdm(disable=True), len(rows))


def training() -> Iterator[Row]:
    train = begin(QUICK, progress=False)[0].train
    trainer = OneStep(QUICK, build_clip(QUICK), train)
    bare = BareTowers(trainer)
    trainer.model.train()
    bare()  # decodes the pictures
    best = in_turns({"ours": trainer.run_steps, "bare": bare}, 5)
    step = f"{1e3 * best['ours'] / STEPS:.0f} ms"
    yield Row("a training step, quick", step, f"{best['ours'] / best['bare']:.2f} of bare towers")


def loader() -> Iterator[Row]:
    paths = load_pairs(data_folder("picturebook"), "test").paths()
    encoder = build_clip(QUICK).image_encoder
    inputs = image_inputs(QUICK, encoder, paths, False)
    rows = [part.numpy() for part in torch.arange(len(paths)).split(QUICK.batch_size)]
    for name in ("decoded for the first time", "from then on"):
        started = time.perf_counter()
        for _ in inputs.batches(rows, CPU):
            pass
        speed = len(paths) / (time.perf_counter() - started)
        yield Row(f"pictures of 64 pixels, {name}", f"{speed:,.0f} a second")


def importing() -> Iterator[Row]:
    """Beside the libraries that it stands on, in a fresh process each time."""
    libraries = "torch, timm, pandas, matplotlib.pyplot, PIL.Image, tqdm.auto, safetensors.torch"
    code = (
        f"import time, tokenizers, {libraries}\n"
        "from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel\n"
        "started = time.perf_counter()\n"
        "import cliplib.train, cliplib.search, cliplib.zeroshot, cliplib.plots\n"
        "print(time.perf_counter() - started)"
    )
    spent = [
        float(subprocess.run([sys.executable, "-c", code], check=True, cwd=COURSE,
                             capture_output=True, text=True).stdout)
        for _ in range(5)
    ]  # fmt: skip
    yield Row("import of cliplib, its libraries being there", f"{min(spent):.2f} s")


def searching(rows: int) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        million.write_tables(Path(folder), rows)
        theirs = million.theirs(Path(folder))
        ours = million.ours(million.mapped(Path(folder), "float32"))
        for count, rounds in million.ROUNDS.items():
            asked = million.some_queries(count)
            forms = {"ours": lambda a=asked: ours(a), "faiss": lambda a=asked: theirs(a)}
            best = in_turns(forms, rounds)
            what = f"search, {rows:,} × {million.WIDTH}, top 10, {count:,} queries"
            ratio = f"{best['ours'] / best['faiss']:.2f} of faiss's exact index"
            yield Row(what, f"{1e3 * best['ours']:,.0f} ms", ratio)


def kept() -> Iterator[Row]:
    """What stands already beside the checkpoint and in the lessons."""
    metrics = json.loads((shipped_checkpoint() / METRICS).read_text(encoding="utf-8"))
    yield Row("memory of the quick training", f"{metrics['peak_memory_gb']:.1f} GB")
    seconds = {
        path.stem: json.loads(path.read_text(encoding="utf-8"))["metadata"]["course"]["seconds"]
        for path in sorted((COURSE / "notebooks").glob("*.ipynb"))
    }
    told = ", ".join(f"{name.split('_')[0]}: {found}" for name, found in seconds.items())
    yield Row(f"lessons, each run from top to bottom ({told})", f"{sum(seconds.values())} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=million.ROWS)
    rows = parser.parse_args().rows
    torch.set_flush_denormal(True)
    versions = ", ".join(f"{n} {version(n)}" for n in ("torch", "timm", "transformers", "numpy"))
    print(f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores; {versions}\n")
    print("| what | measured | ratio |\n|---|---|---|")
    for part in (losses(), caching(), training(), loader(), importing(), searching(rows), kept()):
        for row in part:
            print(row, flush=True)


if __name__ == "__main__":
    main()
