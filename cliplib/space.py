"""The shared space: the gap between pictures and words, a map of it, queries made of several."""

from __future__ import annotations

import torch
from torch import Tensor

from cliplib.model import unit


def modality_gap(images: Tensor, texts: Tensor) -> Tensor:
    """From the middle of the texts to the middle of the images; its length is the modality gap.

    Shapes: (N, E) and (M, E) unit rows in, (E,) out.
    Raises: ValueError when the two do not lie in one space.
    Source: Liang et al. 2022, Mind the Gap (arXiv 2203.02053).
    """
    if images.ndim != 2 or texts.ndim != 2 or images.shape[1] != texts.shape[1]:
        raise ValueError(
            f"images have shape {tuple(images.shape)} and texts {tuple(texts.shape)}; expected "
            "(N, E) and (M, E) with one E. Are both from one model?"
        )
    return images.mean(dim=0) - texts.mean(dim=0)


def moved_together(
    images: Tensor, texts: Tensor, gap: Tensor, share: float
) -> tuple[Tensor, Tensor]:
    """Both kinds moved along the gap, each half of that share of it, and brought to length 1.

    Shapes: (N, E), (M, E) and (E,) in, (N, E) and (M, E) out.
    """
    return unit(images - share / 2 * gap), unit(texts + share / 2 * gap)


def principal_map(rows: Tensor, directions: int = 2) -> tuple[Tensor, Tensor]:
    """Rows along the directions in which they vary most, and the share of their variance in each.

    A principal component analysis. A direction's sign is arbitrary: here its largest entry is
    positive, so that two computers draw the same map.
    Shapes: (N, E) in, (N, directions) and (directions,) out.
    """
    centred = rows - rows.mean(dim=0)
    _, sizes, axes = torch.linalg.svd(centred, full_matrices=False)  # axes (E, E), a row each
    axes = axes[:directions]
    largest = axes.gather(1, axes.abs().argmax(dim=1, keepdim=True))  # (directions, 1)
    shares = sizes.square() / sizes.square().sum()
    return centred @ (axes * largest.sign()).T, shares[:directions]


def composed(picture: Tensor, plus: Tensor, minus: Tensor, weight: float) -> Tensor:
    """A query: the picture, more like some words and less like others, at length 1.

    Zeros for `plus` or `minus` leave that part out.
    Shapes: unit vectors (E,) or rows of them (Q, E) in, the same out.
    Raises: ValueError for a weight that is not above 0.
    """
    if not weight > 0:
        raise ValueError(f"weight says how strongly the words count: above 0, not {weight}.")
    return unit(picture + weight * (plus - minus))
