"""The store's speed beside a plain loader on real photographs: run by its test, alone.

Prints a JSON line a round: pictures a second of both.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from cliplib.pictures import ImageTransform
from cliplib.store import PictureStore

SIZE, BATCH, BATCHES, ROUNDS = 224, 64, 13, 3
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class PlainPhotographs(Dataset):
    """What one writes without a store: Pillow, float, normalise, for each picture each time."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths
        self.mean = torch.tensor(MEAN).view(3, 1, 1)
        self.std = torch.tensor(STD).view(3, 1, 1)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> torch.Tensor:
        with Image.open(self.paths[row]) as picture:
            picture = picture.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR)
        pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()  # (3, H, W)
        return pixels.float().div_(255).sub_(self.mean).div_(self.std)


def pictures_per_second(batches: Iterable[torch.Tensor]) -> float:
    start, count = time.perf_counter(), 0
    for batch in batches:
        count += len(batch)
        batch[0, 0, 0, 0].item()
    return count / (time.perf_counter() - start)


def main() -> None:
    paths = sorted(Path(os.environ["CLIPLIB_FLICKR8K"], "Images").iterdir())[: BATCH * BATCHES]
    for path in paths:
        path.read_bytes()  # into the disk cache, for both
    plain = DataLoader(
        PlainPhotographs(paths), BATCH, shuffle=True, num_workers=2, persistent_workers=True
    )
    pictures_per_second(plain)  # its workers start here, outside what is timed
    random = np.random.default_rng(0)
    for _ in range(ROUNDS):
        store = PictureStore(paths, ImageTransform(SIZE, 0, MEAN, STD, "bilinear"), workers=2)
        found = {"plain": pictures_per_second(plain)}
        for epoch in ("first", "later"):
            order = random.permutation(len(paths)).reshape(BATCHES, BATCH)
            found[epoch] = pictures_per_second(store.batches(order))
        print(json.dumps({name: round(speed) for name, speed in found.items()}), flush=True)


if __name__ == "__main__":
    main()
