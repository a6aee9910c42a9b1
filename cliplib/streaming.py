"""Training from shards: pictures and captions pass by once an epoch, and memory stays flat."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from cliplib.config import Profile
from cliplib.data import TokenTable
from cliplib.encoders import CaptionTokenizer
from cliplib.model import CLIP, Tokens
from cliplib.pair_encoder import Split
from cliplib.pictures import WORKERS, DataError, ImageTransform
from cliplib.retrieval import to_device
from cliplib.shards import Sample, library, read_samples, read_whole, shards_of
from cliplib.store import CPU, PictureStore

BUFFER = 1000  # pictures among which the next one is drawn: some 100 MB of large photographs
BATCHES_AT_HAND = 3  # the one in use, the one being prepared, and one before
TURN = 2**40  # a caption's number: its turn times this, plus its picture's row


class Window:
    """The pictures that are passing by, each by its row, of which the last few are at hand.

    A row is a place in the order of all epochs: row 0 passes first in epoch 0, row N first in
    epoch 1. The order of shards, and within a buffer of pictures, is drawn for seed and epoch.
    """

    def __init__(self, folder: Path, split: str, seed: int, buffer: int = BUFFER) -> None:
        self.shards = shards_of(folder, split)
        self.folder = folder
        self.seed = seed
        self.pictures = sum(shard.pictures for shard in self.shards)  # N
        self.holds = 1  # pictures; a plan asks for more
        self._buffer = buffer
        self._at_hand: dict[int, Sample] = {}  # in the order in which they came
        self._lock = threading.Lock()  # the next batch is prepared in a thread
        self._epoch = -1
        self._next = 0
        self._coming: Iterator[Sample] = iter(())

    def sample(self, row: int) -> Sample:
        """What has this row: at hand, or further on; one that has gone costs its epoch anew.

        Raises: DataError when a shard is damaged or holds less than its index says.
        """
        found = self._at_hand.get(row)
        if found is not None:
            return found
        with self._lock:
            if row // self.pictures != self._epoch or row < self._next:
                self._epoch = row // self.pictures
                self._next = self._epoch * self.pictures
                self._coming = self.epoch(self._epoch)
            while row not in self._at_hand:
                self._take()
            return self._at_hand[row]

    def _take(self) -> None:
        sample = next(self._coming, None)
        if sample is None:
            raise DataError(f"{self.folder} holds fewer pictures than its index says.")
        self._at_hand.pop(self._next, None)
        self._at_hand[self._next] = sample
        self._next += 1
        while len(self._at_hand) > self.holds:
            del self._at_hand[next(iter(self._at_hand))]

    def epoch(self, epoch: int) -> Iterator[Sample]:
        """All pictures once, in this epoch's order."""
        drawn = random.Random(f"{self.seed} {epoch}")
        paths = [self.folder / shard.name for shard in self.shards]
        drawn.shuffle(paths)
        shuffled = library().filters.shuffle(self._buffer, initial=self._buffer, rng=drawn)
        return iter(shuffled(read_samples(paths)))

    def caption(self, number: int) -> str:
        """The caption of a picture's turn: one of its own, drawn for seed and epoch.

        Drawn again only when the picture has fewer captions than turns.
        """
        turn, row = divmod(number, TURN)
        own = list(self.sample(row).captions)
        random.Random(f"{self.seed} {row}").shuffle(own)
        return own[turn % len(own)]


class StreamedPictures(PictureStore):
    """A `PictureStore` of what passes by: decoded by the same code, never kept."""

    def __init__(self, window: Window, transform: ImageTransform, workers: int = WORKERS) -> None:
        super().__init__([], transform, workers)
        self.window = window

    def __len__(self) -> int:
        return self.window.pictures

    def _fill(
        self, rows: Sequence[int] | np.ndarray, use: Callable[[int, np.ndarray], None]
    ) -> None:
        def decode(at: int, sample: Sample) -> None:
            use(at, self.transform.load(sample.picture))

        samples = map(self.window.sample, np.asarray(rows).tolist())  # decoded while more are read
        list(self._pool.map(decode, range(len(rows)), samples))


class StreamedTexts:
    """A `TokenTable` of what passes by: captions become tokens when their batch is used."""

    def __init__(self, window: Window, tokenizer: CaptionTokenizer) -> None:
        self.window = window
        self.tokenizer = tokenizer

    def __getitem__(self, number: int) -> str:
        return self.window.caption(int(number))

    def batch(self, rows: np.ndarray) -> Tokens:
        """Shapes: rows (B,) -> ids (B, L) and mask (B, L), as `TokenTable.batch`."""
        told = self.tokenizer.encode([self[number] for number in rows])
        return TokenTable(told, self.tokenizer.pad_id).batch(range(len(told)))


class Encoded:
    """A frozen encoder behind pictures or captions: their features, computed each time anew."""

    def __init__(
        self, inputs: PictureStore | TokenTable | StreamedTexts, encoder: nn.Module
    ) -> None:
        self.inputs = inputs
        self.encoder = encoder

    def __len__(self) -> int:
        return len(self.inputs)

    @torch.no_grad()
    def batch(self, rows: np.ndarray) -> Tensor:
        """Shapes: rows (B,) -> features (B, D)."""
        return self._encode(self.inputs.batch(rows))

    @torch.no_grad()
    def batches(
        self, rows_of_batches: Iterable[np.ndarray], device: torch.device = CPU
    ) -> Iterator[Tensor]:
        for pictures in self.inputs.batches(rows_of_batches, device):
            yield self._encode(pictures)

    def _encode(self, inputs: Tensor | Tokens) -> Tensor:
        self.encoder.eval()  # training mode is put on before each epoch
        inputs = to_device(inputs, next(self.encoder.parameters()).device)
        return self.encoder(inputs) if isinstance(inputs, Tensor) else self.encoder(*inputs)


@dataclass(frozen=True)
class StreamedPairs:
    """What a training asks of its pairs while they pass by."""

    folder: Path
    split: str
    captions: StreamedTexts  # by number


class Plan(Sequence):
    """An epoch's batches, worked out when they are asked for: in memory they would be a list."""

    def __init__(self, first: int, steps: int, batch_size: int, turns: int) -> None:
        self.first = first  # row
        self.steps = steps
        self.batch_size = batch_size
        self.turns = turns

    def __len__(self) -> int:
        return self.steps

    def __getitem__(
        self, at: int | slice
    ) -> tuple[np.ndarray, np.ndarray] | list[tuple[np.ndarray, np.ndarray]]:
        """Rows of pictures (B,), and numbers of captions (C, B)."""
        if isinstance(at, slice):
            return [self[one] for one in range(self.steps)[at]]
        start = self.first + range(self.steps)[at] * self.batch_size
        rows = np.arange(start, start + self.batch_size)  # (B,)
        return rows, rows + TURN * np.arange(self.turns)[:, None]  # (B,), (C, B)


class StreamedSplit:
    """A training split that is never whole in memory; it stands where a `Split` stands.

    Every process of several reads all shards and decodes its own part of each batch: so a batch is
    the same however many they are.
    """

    def __init__(
        self, window: Window, transform: ImageTransform, tokenizer: CaptionTokenizer, split: str
    ) -> None:
        self.window = window
        self.images: StreamedPictures | Encoded = StreamedPictures(window, transform)
        self.texts: StreamedTexts | Encoded = StreamedTexts(window, tokenizer)
        self.pairs = StreamedPairs(window.folder, split, self.texts)

    def plan(self, profile: Profile, epoch: int) -> Plan:
        """An epoch's batches, as `Split.plan`: each picture once, an incomplete last batch dropped.

        Raises: ValueError when there are fewer pictures than the profile's batch_size.
        """
        size, pictures = profile.batch_size, self.window.pictures
        if size > pictures:
            raise ValueError(
                f"batch_size is {size}, but split {self.pairs.split!r} has {pictures} pictures: "
                "choose a batch_size of at most that."
            )
        self.window.holds = max(self.window.holds, BATCHES_AT_HAND * size)
        return Plan(epoch * pictures, pictures // size, size, profile.captions_per_step)


def prepare_streamed(
    profile: Profile, model: CLIP, tokenizer: CaptionTokenizer, folder: Path, split: str
) -> Split | StreamedSplit:
    """A split of a folder of shards: "train" streams, others are read whole, to be measured on.

    What frozen encoders say is not kept, for that would grow with the set: they run each time.
    """
    transform = model.image_encoder.transform(profile.image_size, profile.image_crop)
    if split == "train":
        streamed = StreamedSplit(Window(folder, split, profile.seed), transform, tokenizer, split)
        if profile.image_frozen:
            streamed.images = Encoded(streamed.images, model.image_encoder)
        if profile.text_frozen:
            streamed.texts = Encoded(streamed.texts, model.text_encoder)
        return streamed
    pairs, packed = read_whole(folder, split)
    images = PictureStore(packed, transform)
    texts = TokenTable(tokenizer.encode(pairs.captions), tokenizer.pad_id)
    return Split(
        pairs,
        Encoded(images, model.image_encoder) if profile.image_frozen else images,
        Encoded(texts, model.text_encoder) if profile.text_frozen else texts,
    )
