"""The symmetric contrastive loss, and the floor that equal captions set."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cliplib.blockwise import BLOCK, contrastive_loss_in_blocks


def similarity_logits(
    image_embeddings: Tensor, text_embeddings: Tensor, logit_scale: Tensor
) -> Tensor:
    """Cosine similarities times the logit scale; row i belongs to picture i, column j to caption j.

    Shapes: two (B, E) matrices of unit rows and a scalar in, (B, B) out.
    """
    return logit_scale * image_embeddings @ text_embeddings.T  # (B, B)


def contrastive_loss(
    image_embeddings: Tensor, text_embeddings: Tensor, logit_scale: Tensor
) -> Tensor:
    """Symmetric cross-entropy: each picture picks its caption among B, each caption its picture.

    A batch of more than 2,048 is computed in blocks: the same value in less memory and time.
    Shapes: two (B, E) matrices of unit rows and the scale (not its logarithm); a scalar in nats.
    Raises: ValueError when the matrices do not match or hold fewer than two pairs.
    Source: Radford et al. 2021, Learning Transferable Visual Models From Natural Language
    Supervision, section 2.3 and figure 3 (arXiv 2103.00020).
    """
    if image_embeddings.shape != text_embeddings.shape or image_embeddings.ndim != 2:
        raise ValueError(
            "contrastive_loss needs two matrices of one shape (B, E), row i of both from pair i; "
            f"got {tuple(image_embeddings.shape)} and {tuple(text_embeddings.shape)}."
        )
    pairs = len(image_embeddings)
    if pairs < 2:
        raise ValueError(
            "contrastive_loss needs at least two pairs: among one, the right answer is certain and "
            "the loss is always 0."
        )
    if pairs > BLOCK:
        return contrastive_loss_in_blocks(image_embeddings, text_embeddings, logit_scale)
    logits = similarity_logits(image_embeddings, text_embeddings, logit_scale)  # (B, B)
    targets = torch.arange(pairs, device=logits.device)  # (B,)
    return (F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets)) / 2


def loss_floor(captions: Sequence[object]) -> float:
    """The least loss that any model can reach on a batch in which some captions are equal, in nats.

    Equal captions get equal embeddings, so a picture can do no better than to share its
    probability among the n captions equal to its own: (1/B) Σ n log n over the groups.
    """
    groups = Counter(captions).values()
    return sum(n * math.log(n) for n in groups) / len(captions)


def reader_loss(truth: np.ndarray) -> float:
    """What a batch costs someone who knows which pictures each caption describes and no more: a
    guess among n true ones costs log n. In nats; a reference, no bound: a model that guesses what
    a caption would rather have named can pass it.

    Shapes: truth (B, B) bool, a row a caption, its own picture in the same column.
    Raises: ValueError when it is not square or a caption does not describe its own picture.
    """
    if truth.ndim != 2 or truth.shape[0] != truth.shape[1] or not truth.diagonal().all():
        raise ValueError(
            "truth is a (B, B) matrix in which each caption describes its own picture."
        )
    return float((np.log(truth.sum(1)).mean() + np.log(truth.sum(0)).mean()) / 2)
