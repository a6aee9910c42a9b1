"""Some pictures of a split, with their captions, for what learns from fewer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from cliplib.data import Pairs, TokenTable
from cliplib.features import FeatureTable
from cliplib.model import Tokens
from cliplib.store import CPU, PictureStore
from cliplib.trainer import Split

Inputs = PictureStore | TokenTable | FeatureTable


@dataclass(frozen=True)
class Rows:
    """Some rows of what an encoder takes, numbered from 0 on."""

    inputs: Inputs
    rows: np.ndarray  # (n,)

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, rows: np.ndarray) -> Tensor | Tokens:
        return self.inputs.batch(self.rows[rows])

    def batches(
        self, rows_of_batches: Iterable[np.ndarray], device: torch.device = CPU
    ) -> Iterator[Tensor]:
        return self.inputs.batches((self.rows[rows] for rows in rows_of_batches), device)


def part(split: Split, rows: Sequence[int] | np.ndarray) -> Split:
    """Some pictures of a split with all of their captions; nothing is encoded again.

    Shapes: rows (n,), each from 0 to N − 1.
    Raises: ValueError without a row; IndexError for one that is not there.
    """
    if not len(rows):
        raise ValueError("rows names no picture: a part of a split has at least one.")
    pairs, captions = some(split.pairs, rows)
    return Split(pairs, Rows(split.images, np.asarray(rows, int)), Rows(split.texts, captions))


def some(pairs: Pairs, rows: Sequence[int] | np.ndarray) -> tuple[Pairs, np.ndarray]:
    """Some pictures of a split, and which of its captions are theirs: (n,) rows in, (m,) out."""
    own = [pairs.captions_of(int(row)) for row in rows]
    captions = np.concatenate([np.arange(each.start, each.stop) for each in own])  # (m,)
    fewer = replace(
        pairs,
        images=tuple(pairs.images[row] for row in rows),
        captions=tuple(pairs.captions[row] for row in captions),
        caption_image=np.repeat(np.arange(len(rows)), [len(each) for each in own]),
    )
    return fewer, captions
