"""Data sets for training: captions as tokens, batches for an epoch, `python -m cliplib.data`.

What stands in `layout` (folders and splits) and `pictures` can be imported from here too.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cliplib import config, download, picturebook
from cliplib.flaws import known_flaws
from cliplib.folders import pictures_folder
from cliplib.layout import (
    Pairs,
    fingerprint,
    list_images,
    load_pairs,
    read_captions,
    read_splits,
    require_layout,
    split_names,
)
from cliplib.pictures import DataError, ImageTransform, check_pictures
from cliplib.store import PictureStore

__all__ = [
    "DataError",
    "ImageTransform",
    "Pairs",
    "PictureStore",
    "TokenTable",
    "check_pictures",
    "ensure",
    "epoch_batches",
    "fingerprint",
    "list_images",
    "load_pairs",
    "split_names",
]


class TokenTable:
    """Captions that were tokenised once; a batch is padded to the longest of its own."""

    def __init__(self, ids: list[list[int]], pad_id: int = 0) -> None:
        """Raises: ValueError naming a caption without tokens."""
        self._lengths = np.array([len(row) for row in ids])  # (M,)
        if not self._lengths.all():
            raise ValueError(f"Caption {int(np.argmin(self._lengths))} has no token at all.")
        self._ids = np.full((len(ids), max(self._lengths, default=0)), pad_id, np.int32)  # (M, L)
        for row, tokens in enumerate(ids):
            self._ids[row, : len(tokens)] = tokens

    def __len__(self) -> int:
        return len(self._ids)

    def batch(self, rows: Sequence[int] | np.ndarray) -> tuple[Tensor, Tensor]:
        """Token ids, and a mask that is 1 on tokens and 0 on padding.

        Shapes: rows (B,) -> ids (B, L) int64, mask (B, L) int64; L is the longest of these rows.
        """
        rows = np.asarray(rows, dtype=np.int64)
        lengths = self._lengths[rows]  # (B,)
        longest = lengths.max(initial=0)
        ids = torch.from_numpy(self._ids[rows, :longest].astype(np.int64))  # (B, L)
        mask = torch.from_numpy((np.arange(longest) < lengths[:, None]).astype(np.int64))
        return ids, mask  # (B, L), (B, L)


def epoch_batches(
    pairs: Pairs, batch_size: int, captions_per_step: int, seed: int, epoch: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """An epoch's batches, the same for the same seed and epoch: so resuming needs no state.

    Each picture comes once, so no two captions of one picture are ever each other's negatives. Its
    captions are drawn from its own, again only when it has fewer than captions_per_step. An
    incomplete last batch is dropped.
    Shapes: each is image rows (B,) and caption rows (captions_per_step, B).
    Raises: ValueError when there are fewer pictures than batch_size.
    """
    if not 1 <= batch_size <= len(pairs.images):
        raise ValueError(
            f"batch_size is {batch_size}, but split {pairs.split!r} has {len(pairs.images)} "
            "pictures: choose a batch_size of at most that."
        )
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(len(pairs.images))
    shuffled = np.lexsort((random.random(len(pairs.captions)), pairs.caption_image))  # (M,)
    counts = np.bincount(pairs.caption_image, minlength=len(pairs.images))  # (N,)
    firsts = np.cumsum(counts) - counts  # (N,)
    batches = []
    for start in range(0, len(order) - batch_size + 1, batch_size):
        images = order[start : start + batch_size]  # (B,)
        turns = np.arange(captions_per_step)[:, None] % counts[images]  # (captions_per_step, B)
        batches.append((images, shuffled[firsts[images] + turns]))
    return batches


def ensure(data: str, progress: bool = True, source: str = "kaggle") -> Path:
    """The folder of a data set ("picturebook", "flickr8k" or a path).

    When it is not there, the picture book is drawn, and Flickr8k looked for and downloaded from
    `source`, "kaggle" or "hub" (`download.fetch`).

    Raises: DataError saying what to do when it is not there and cannot be made.
    """
    folder = config.data_folder(data)
    if data == "picturebook":
        picturebook.generate(folder, progress=progress)  # leaves a whole book alone
    if data == "flickr8k":
        folder = download.fetch(source, progress)
    require_layout(folder)
    return folder


def report(folder: Path, progress: bool = True) -> tuple[str, bool]:
    """What a data set holds, as text, and whether it is free of faults. Opens every picture."""
    captions, faults = read_captions(folder)
    damaged = check_pictures(
        [pictures_folder(folder) / name for name in captions], progress=progress
    )
    splits = read_splits(folder, captions)
    pictures_with = Counter(len(own) for own in captions.values())
    each = ", ".join(f"{n} ({k:,} pictures)" for n, k in sorted(pictures_with.items()))
    lines = [
        str(folder),
        f"pictures            {len(captions):,}",
        f"captions            {sum(len(own) for own in captions.values()):,}",
        f"captions a picture  {each}",
        f"splits              {', '.join(f'{s} {len(names):,}' for s, names in splits.items())}",
        f"faulty rows         {len(faults)}",
        *(f"  {fault}" for fault in faults[:10]),
        f"damaged pictures    {len(damaged)}",
        *(f"  {fault}" for fault in damaged[:10]),
        "what is not as one would wish, and what is done about it",
        *(f"  {flaw}" for flaw in known_flaws(folder, captions, splits)),
    ]
    return "\n".join(lines), not faults and not damaged


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m cliplib.data",
        description="Draws, downloads or checks a data set and reports on it.",
    )
    parser.add_argument(
        "data",
        nargs="?",
        default="picturebook",
        help="picturebook (drawn when it is not there), flickr8k (downloaded then), or the path of "
        "your own folder of pairs; default: picturebook",
    )
    parser.add_argument(
        "--from",
        dest="source",
        choices=download.SOURCES,
        default="kaggle",
        help="where flickr8k is downloaded from when it is not there: Kaggle (no account needed), "
        "or a mirror on the model hub; default: kaggle",
    )
    chosen = parser.parse_args(arguments)
    try:
        text, sound = report(ensure(chosen.data, source=chosen.source))
    except KeyboardInterrupt:
        print(
            "\nInterrupted. Nothing half-made is taken for whole; the next call begins anew, or "
            "goes on with a download.",
            file=sys.stderr,
        )
        return 130
    except DataError as error:
        print(error, file=sys.stderr)
        return 1
    print(text)
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
