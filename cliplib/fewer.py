"""Fewer pictures of a split, to measure what more of them would bring."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from cliplib.data import Pairs, PictureStore, TokenTable
from cliplib.features import FeatureTable
from cliplib.model import Tokens
from cliplib.trainer import Split

CPU = torch.device("cpu")


class SomeRows:
    """Some rows of a table behind the same calls; nothing is copied, decoded or encoded anew."""

    def __init__(self, table: PictureStore | FeatureTable | TokenTable, rows: np.ndarray) -> None:
        self.table = table
        self.rows = rows  # (N,): each row's place in the table

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, rows: np.ndarray) -> Tensor | Tokens:
        return self.table.batch(self.rows[rows])

    def batches(
        self, rows_of_batches: Iterable[np.ndarray], device: torch.device = CPU
    ) -> Iterator[Tensor]:
        return self.table.batches((self.rows[rows] for rows in rows_of_batches), device)


def some_pictures(pairs: Pairs, rows: Sequence[int] | np.ndarray) -> tuple[Pairs, np.ndarray]:
    """Some pictures of a split with all their captions, and which of its captions those are.

    Shapes: rows (N,) -> caption rows (M,).
    """
    own = [np.array(pairs.captions_of(int(row))) for row in rows]
    caption_rows = np.concatenate(own)  # (M,)
    some = replace(
        pairs,
        images=tuple(pairs.images[row] for row in rows),
        captions=tuple(pairs.captions[row] for row in caption_rows),
        caption_image=np.repeat(np.arange(len(rows)), [len(captions) for captions in own]),
    )
    return some, caption_rows


def fewer_pictures(split: Split, pictures: int, seed: int = 0) -> Split:
    """So many pictures of a split, drawn for a seed, with all their captions.

    More pictures with the same seed keep those of fewer.
    Raises: ValueError for fewer than one, or more than there are.
    """
    pairs = split.pairs
    if not 1 <= pictures <= len(pairs.images):
        raise ValueError(
            f"pictures is a number from 1 to {len(pairs.images)}, the pictures of split "
            f"{pairs.split!r}, not {pictures}."
        )
    drawn = np.random.default_rng(seed).permutation(len(pairs.images))[:pictures]
    rows = np.sort(drawn)  # (N,)
    some, caption_rows = some_pictures(pairs, rows)
    return Split(some, SomeRows(split.images, rows), SomeRows(split.texts, caption_rows))
