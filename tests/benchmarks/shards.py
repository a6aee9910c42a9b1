"""Pictures a second from shards and from the folder, side by side, and the memory of both.

    python tests/benchmarks/shards.py [picturebook|flickr8k|FOLDER] [--size 224]

The same transform, threads and prefetch for both; each picture decoded anew, as in every epoch of a
set that memory does not hold. Warm: the system has the files in its memory; cold: it was told to
forget them before each epoch, as it does by itself when they are more than memory holds (Linux).
In turns; medians and the ratio of each round are printed. The shards are written to a temporary
folder and removed.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
import torch
from torch import Tensor

from cliplib.config import QUICK
from cliplib.data import TokenTable, ensure, load_pairs
from cliplib.encoders import CaptionTokenizer, train_tokenizer
from cliplib.memory import peak_memory
from cliplib.pictures import WORKERS, ImageTransform
from cliplib.shards import write_shards
from cliplib.store import CPU, PictureStore
from cliplib.streaming import StreamedSplit, Window

ROUNDS = 5
BATCH = 64
VOCABULARY = ("a red boat at night", "a dog runs over the grass")


def from_folder(folder: Path, transform: ImageTransform, words: CaptionTokenizer) -> Iterator:
    """Epochs of batches: pictures decoded anew, captions from a table of tokens."""
    pairs = load_pairs(folder, "train")
    store = PictureStore(pairs.paths(), transform, memory_limit=0)
    texts = TokenTable(words.encode(pairs.captions), words.pad_id)
    random = np.random.default_rng(0)
    steps = len(store) // BATCH
    while True:
        rows = random.permutation(len(store))[: steps * BATCH].reshape(steps, BATCH)
        first = [np.searchsorted(pairs.caption_image, some) for some in rows]
        yield zip(store.batches(rows), map(texts.batch, first), strict=True)


def from_shards(shards: Path, transform: ImageTransform, words: CaptionTokenizer) -> Iterator:
    split = StreamedSplit(Window(shards, "train", 0), transform, words, "train")
    epoch = 0
    while True:
        plan = split.plan(QUICK, epoch)
        plan.batch_size, plan.steps = BATCH, split.window.pictures // BATCH
        pictures = split.images.batches(rows for rows, _ in plan)
        yield zip(pictures, (split.texts.batch(c[0]) for _, c in plan), strict=True)
        epoch += 1


SOURCES = {"folder": from_folder, "shards": from_shards}


def speed(epoch: Iterator[tuple[Tensor, object]]) -> tuple[float, float]:
    """Pictures a second of one epoch, and microseconds of all cores that each takes."""
    started, busy, count = time.perf_counter(), time.process_time(), 0
    for pictures, _ in epoch:
        count += len(pictures)
        pictures[0, 0, 0, 0].item()
    return count / (time.perf_counter() - started), (time.process_time() - busy) / count * 1e6


def print_memory(name: str, folder: Path, size: int) -> None:
    """In a fresh process: what an epoch takes beside what is imported."""
    transform, words = prepare(size)
    before = peak_memory(CPU) / 1e6
    speed(next(SOURCES[name](folder, transform, words)))
    extra = peak_memory(CPU) / 1e6 - before
    print(f"{name:8} {extra:8.1f} MB for an epoch, beside {before:,.0f} MB of imports")


def prepare(size: int) -> tuple[ImageTransform, CaptionTokenizer]:
    transform = ImageTransform(size, 0, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bilinear")
    return transform, train_tokenizer(VOCABULARY, 200, 40)


def forget(paths: list[Path]) -> None:
    """Tells the system that it need not keep these files in its memory."""
    for path in paths:
        file = os.open(path, os.O_RDONLY)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(file)


def compare(folder: Path, shards: Path, size: int, cold: bool) -> None:
    transform, words = prepare(size)
    places = {"folder": folder, "shards": shards}
    sources = {name: SOURCES[name](places[name], transform, words) for name in SOURCES}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in SOURCES}
    files = {"folder": load_pairs(folder, "train").paths(), "shards": sorted(shards.glob("*.tar"))}
    for source in sources.values():
        speed(next(source))  # what is set up once, and files into the system's memory
    for _ in range(ROUNDS):
        for name, source in sources.items():
            if cold:
                forget(files[name])
            found[name].append(speed(next(source)))
    print("cold" if cold else "warm")
    for name, rounds in found.items():
        speeds, busy = zip(*rounds, strict=True)
        told = f"{np.median(speeds):8,.0f} pictures/s, best {max(speeds):,.0f}"
        print(f"{name:8} {told}; at least {min(busy):,.0f} µs of a core each")
    ratios = [
        one[0] / other[0] for one, other in zip(found["shards"], found["folder"], strict=True)
    ]
    told = ", ".join(f"{ratio:.2f}" for ratio in sorted(ratios))
    print(f"shards over folder, each round: {told}; median {np.median(ratios):.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="?", default="picturebook")
    parser.add_argument("--size", type=int, default=224, help="pixels; of the transform")
    chosen = parser.parse_args()
    folder = ensure(chosen.data)
    print(f"torch {torch.__version__}, {WORKERS} decoding threads, {platform.machine()}")
    with tempfile.TemporaryDirectory() as place:
        shards = write_shards(folder, Path(place) / "shards", progress=False)
        compare(folder, shards, chosen.size, cold=False)
        if hasattr(os, "posix_fadvise"):
            os.sync()  # what was not written yet is kept
            compare(folder, shards, chosen.size, cold=True)
        for name, where in (("folder", folder), ("shards", shards)):
            subprocess.run([sys.executable, __file__, name, where, str(chosen.size)], check=True)


if __name__ == "__main__":
    if len(sys.argv) == 4 and sys.argv[1] in SOURCES:
        print_memory(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
    else:
        main()
