"""Data sets for training: captions as tokens, batches for an epoch, `python -m cliplib.data`.

`python -m cliplib.data shard` writes a data set as shards, for sets that no memory holds.

What stands in `layout` (folders and splits) and `pictures` can be imported from here too.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cliplib import config, download, picturebook
from cliplib.flaws import known_flaws
from cliplib.folders import has_shards, pictures_folder
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
from cliplib.shards import PICTURES_A_SHARD, read_index, report_shards, write_shards
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
    if has_shards(folder):
        read_index(folder)  # says what is amiss
    else:
        require_layout(folder)
    return folder


def report(folder: Path, progress: bool = True) -> tuple[str, bool]:
    """What a data set holds, as text, and whether it is free of faults. Opens every picture."""
    if has_shards(folder):
        return report_shards(folder)
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


def shard(chosen: argparse.Namespace) -> tuple[str, bool]:
    """Writes a data set as shards and reports on them."""
    folder = ensure(chosen.data, source=chosen.source)
    if has_shards(folder):
        raise DataError(f"{folder} holds shards: name the folder that they were made from.")
    written = write_shards(
        folder, chosen.out, chosen.pictures_a_shard, chosen.megabytes, chosen.size, chosen.seed,
        chosen.skip_bad,
    )  # fmt: skip
    return report_shards(written)


def read_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m cliplib.data",
        description="Draws, downloads or checks a data set and reports on it.",
        epilog="python -m cliplib.data shard DATA --out FOLDER writes a data set as shards for "
        "webdataset; `python -m cliplib.data shard --help` explains that.",
    )
    parser.add_argument(
        "data",
        nargs="?",
        default="picturebook",
        help="picturebook (drawn when it is not there), flickr8k (downloaded then), or the path of "
        "your own folder of pairs or of shards; default: picturebook",
    )
    _add_source(parser)
    return parser.parse_args(arguments)


def read_shard_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m cliplib.data shard",
        description="Writes a data set as shards: tar files from which training streams, when no "
        "memory holds the pictures. Needs webdataset: python -m pip install webdataset",
        epilog="Then: python -m cliplib.train --data FOLDER",
    )
    parser.add_argument(
        "data", nargs="?", default="picturebook",
        help="picturebook, flickr8k or your own folder of pairs; default: picturebook",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, help="a folder that is not there yet")
    parser.add_argument(
        "--pictures-a-shard", type=int, default=PICTURES_A_SHARD, metavar="N",
        help=f"default: {PICTURES_A_SHARD:,}",
    )  # fmt: skip
    parser.add_argument(
        "--megabytes", type=float, default=math.inf, metavar="N",
        help="a shard also ends when it has so many",
    )  # fmt: skip
    parser.add_argument(
        "--size", type=int, default=0, metavar="PIXELS",
        help="make larger pictures smaller, to a shorter side of so many pixels, as JPEG; "
        "default: every picture's own bytes",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="of the order in the shards")
    parser.add_argument(
        "--skip-bad", action="store_true", help="leave out what has a fault, and tell"
    )
    _add_source(parser)
    return parser.parse_args(arguments)


def _add_source(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--from",
        dest="source",
        choices=download.SOURCES,
        default="kaggle",
        help="where flickr8k is downloaded from when it is not there: Kaggle (no account needed), "
        "or a mirror on the model hub; default: kaggle",
    )


def main(arguments: Sequence[str] | None = None) -> int:
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        if given[:1] == ["shard"]:
            text, sound = shard(read_shard_arguments(given[1:]))
        else:
            chosen = read_arguments(given)
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
