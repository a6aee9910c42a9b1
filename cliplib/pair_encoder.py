"""Pairs to embeddings while training: a batch at once, or chunk by chunk in a chunk's memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from cliplib.augment import vary
from cliplib.config import Profile
from cliplib.data import Pairs, TokenTable, epoch_batches
from cliplib.features import PICTURES_AT_ONCE, FeatureTable
from cliplib.model import CLIP
from cliplib.precision import MixedPrecision
from cliplib.processes import gather, own_part
from cliplib.retrieval import to_device
from cliplib.store import PictureStore


@dataclass(frozen=True)
class Split:
    """One split, ready for the model: its pairs and what the two encoders take."""

    pairs: Pairs
    images: PictureStore | FeatureTable
    texts: TokenTable | FeatureTable

    def plan(self, profile: Profile, epoch: int) -> Sequence[tuple[np.ndarray, np.ndarray]]:
        """An epoch's batches: rows of pictures (B,) and of their captions (C, B)."""
        p = profile
        return epoch_batches(self.pairs, p.batch_size, p.captions_per_step, p.seed, epoch)


class PairEncoder(nn.Module):
    """A training step from rows of a data set to embeddings, within a profile's chunk of memory.

    With `chunk_size` a batch goes through the encoders in chunks whose activations are not kept:
    when the gradients of all embeddings are known, each chunk is computed once more, with the same
    random numbers, and its own gradients are taken. So the loss sees the whole batch.
    Source: Gao et al. 2021, Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup
    (arXiv 2101.06983).
    """

    def __init__(
        self, profile: Profile, model: CLIP, train: Split, precision: MixedPrecision,
        device: torch.device,
    ) -> None:  # fmt: skip
        super().__init__()
        self.model = model
        self.profile = profile
        self.train_split = train
        self.precision = precision
        self.device = device

    def chunks(self, rows: np.ndarray) -> list[np.ndarray]:
        """A batch's rows as its pictures are asked for: all at once, or a chunk at a time.

        Where several processes train together, this one's part of them.
        """
        rows = own_part(rows)
        size = self.profile.chunk_size or len(rows)
        return [rows[start : start + size] for start in range(0, len(rows), size)]

    def forward(
        self, rows: np.ndarray, caption_rows: np.ndarray, pictures: Iterator[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """`pictures` gives those of each chunk in turn.

        Shapes: rows (B,), caption rows (C, B); image embeddings (B, E), text embeddings (C, B, E).
        """
        images, texts = self._own_embeddings(self.chunks(rows), own_part(caption_rows), pictures)
        return gather(images), gather(texts.transpose(0, 1)).transpose(0, 1)

    def _own_embeddings(
        self, chunks: list[np.ndarray], caption_rows: np.ndarray, pictures: Iterator[Tensor]
    ) -> tuple[Tensor, Tensor]:
        if len(chunks) == 1:
            return self._encode(chunks[0], caption_rows, [next(pictures)])
        found, start = [], 0
        for chunk in chunks:
            words = caption_rows[:, start : start + len(chunk)]
            found.append(
                checkpoint(
                    self._encode, chunk, words, [next(pictures)],
                    use_reentrant=False, context_fn=self._once_and_again,
                )
            )  # fmt: skip
            start += len(chunk)
        images, texts = zip(*found, strict=True)
        return torch.cat(images), torch.cat(texts, dim=1)

    def _encode(
        self, rows: np.ndarray, caption_rows: np.ndarray, ready: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """`ready` holds the pictures the first time, and gives them away: memory holds one chunk's.

        The second time they are asked for again.
        """
        images = ready.pop() if ready else self._pictures_again(rows)
        tokens = to_device(self.train_split.texts.batch(caption_rows.reshape(-1)), self.device)
        with self.precision.autocast():
            image_embeddings = self._encode_images(images)  # (B, E)
            all_texts = self.model.encode_text(tokens)  # (C * B, E)
        return image_embeddings, all_texts.view(len(caption_rows), *image_embeddings.shape)

    def _pictures_again(self, rows: np.ndarray) -> Tensor:
        return next(iter(self.train_split.images.batches([rows], self.device)))

    def _encode_images(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) pictures, varied when the profile says so, or (B, D) features, to (B, E)."""
        if images.ndim == 2:
            return self.model.encode_image(images)
        if self.profile.image_part < 1:
            images = vary(images, self.profile.image_part)
        # A CPU is faster when activations stay in its cache. Without statistics of the batch, parts
        # of it give the same rows.
        apart = self.device.type == "cpu" and self.profile.image_knows
        parts = images.split(PICTURES_AT_ONCE if apart else len(images))
        return torch.cat([self.model.encode_image(part) for part in parts])  # (B, E)

    def _once_and_again(self) -> tuple[AbstractContextManager, AbstractContextManager]:
        return nullcontext(), statistics_stay(self.model)


@contextmanager
def statistics_stay(model: nn.Module) -> Iterator[None]:
    """Within it, batch normalisations compute as before and learn nothing of what they see."""
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    before = [(norm.momentum, norm.num_batches_tracked.clone()) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(count)
