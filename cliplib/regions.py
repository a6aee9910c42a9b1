"""Which part of a picture answers to a sentence, and whether that is where the thing is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from cliplib.features import PICTURES_AT_ONCE, at_once
from cliplib.model import CLIP
from cliplib.scenes import Box


def place_shares(features: Tensor, projection: Tensor, words: Tensor) -> Tensor:
    """What each place of a feature map gives to the cosine; the mean over places is the cosine.

    Exact where pooling is a mean and the projection is linear: then each place is projected alone,
    compared with the words, and divided by the length of the pooled and projected vector.
    Shapes: features (D, h, w), projection (E, D), words (E,) a unit vector; (h, w) out.
    Source: Zhou et al. 2016, Learning Deep Features for Discriminative Localization, section 2
    (arXiv 1512.04150), who do it with a classifier's weights.
    """
    projected = torch.einsum("ed,dhw->ehw", projection, features)  # (E, h, w)
    length = projected.mean(dim=(1, 2)).norm()
    return torch.einsum("e,ehw->hw", words, projected) / length


def word_map(
    model: CLIP, pictures: Tensor, words: Tensor, cells: int = 8, steps: int = 16
) -> Tensor:
    """What each cell of a picture gives to its cosine, counted from a grey picture on.

    On the way from grey (an encoder's mean colour) to the picture, a pixel's slope times its way
    is what it adds. All cells together give the picture's cosine less the grey one's, the more
    exactly the more steps, with ours and with a web-trained encoder. Where slopes grow without
    bound (laptop's root of features, near 0) the sum misses: there take `covered_map`.
    Shapes: pictures (B, 3, H, W) normalised, words (B, E); (B, cells, cells) out.
    Raises: ValueError when the cells do not divide a picture, or words and pictures differ in B.
    Source: Sundararajan et al. 2017, Axiomatic Attribution for Deep Networks, section 3
    (arXiv 1703.01365).
    """
    _check(pictures, words, cells)
    model.eval()
    device = model.log_logit_scale.device
    at_a_time = at_once(PICTURES_AT_ONCE, device)
    maps = []
    for start in range(0, len(pictures), at_a_time):
        part = pictures[start : start + at_a_time].to(device)  # (b, 3, H, W)
        target = words[start : start + at_a_time].clone().to(device)  # (b, E)
        slopes = torch.zeros_like(part)
        for step in range(steps):
            on_the_way = (part * ((step + 0.5) / steps)).requires_grad_()
            cosines = (model.encode_image(on_the_way) * target).sum(dim=1)  # (b,)
            slopes += torch.autograd.grad(cosines.sum(), on_the_way)[0]
        maps.append(cell_sums((part * slopes / steps).sum(dim=1), cells).cpu())
    return torch.cat(maps)  # (B, cells, cells)


def cell_sums(values: Tensor, cells: int) -> Tensor:
    """The sum over each of cells × cells squares. Shapes: (B, H, W) in, (B, cells, cells) out."""
    count, height, width = values.shape
    parts = values.reshape(count, cells, height // cells, cells, width // cells)
    return parts.sum(dim=(2, 4))


@torch.inference_mode()
def covered_map(model: CLIP, pictures: Tensor, words: Tensor, cells: int = 8) -> Tensor:
    """How far a picture's cosine falls when a grey square, two cells wide, lies over each cell.

    Shapes: pictures (B, 3, H, W) normalised, words (B, E); (B, cells, cells) out.
    Raises: ValueError as `word_map`.
    Source: Zeiler and Fergus 2014, Visualizing and Understanding Convolutional Networks,
    section 4.2 (arXiv 1311.2901).
    """
    _check(pictures, words, cells)
    model.eval()
    device = model.log_logit_scale.device
    side = pictures.shape[2] // cells  # pixels of a cell
    many = at_once(PICTURES_AT_ONCE, device)

    def cosines(shown: Tensor) -> Tensor:
        parts = [model.encode_image(part.to(device)).cpu() for part in shown.split(many)]
        return (torch.cat(parts) * words.cpu()).sum(dim=1)  # (B,)

    maps = torch.empty(len(pictures), cells, cells)
    whole = cosines(pictures)
    for row in range(cells):
        for column in range(cells):
            covered = pictures.clone()
            down = slice(max(0, round((row - 0.5) * side)), round((row + 1.5) * side))
            across = slice(max(0, round((column - 0.5) * side)), round((column + 1.5) * side))
            covered[:, :, down, across] = 0  # an encoder's mean colour
            maps[:, row, column] = whole - cosines(covered)
    return maps


def _check(pictures: Tensor, words: Tensor, cells: int) -> None:
    height, width = pictures.shape[2:]
    if cells < 1 or height % cells or width % cells:
        raise ValueError(
            f"cells is {cells}, but a picture of {height} × {width} pixels cannot be cut into so "
            "many equal rows and columns; take a number that divides both."
        )
    if len(pictures) != len(words):
        raise ValueError(
            f"There are {len(pictures)} pictures and {len(words)} rows of words; each picture has "
            "words of its own. The same words for all? words.expand(len(pictures), -1)."
        )


# ---- is it where the thing is?


def hits(maps: Tensor, boxes: Sequence[Box]) -> np.ndarray:
    """Whether the middle of each map's largest cell lies in the box of the thing that is asked for.

    Shapes: maps (Q, h, w), a box for each; (Q,) bool out.
    Raises: ValueError when maps and boxes differ in number.
    Source: Zhang et al. 2016, Top-down Neural Attention by Excitation Backprop, section 4.1, the
    pointing game (arXiv 1608.00507).
    """
    inside = _middles_inside(boxes, maps.shape[1], maps.shape[2])  # (Q, h, w)
    if len(maps) != len(boxes):
        raise ValueError(f"There are {len(maps)} maps and {len(boxes)} boxes; each map needs one.")
    largest = maps.flatten(1).argmax(dim=1).numpy()  # (Q,)
    return inside.reshape(len(maps), -1)[np.arange(len(maps)), largest]


def chance_hits(boxes: Sequence[Box], cells: int) -> float:
    """The share of hits of someone who points at any cell, each as likely as the other."""
    return float(_middles_inside(boxes, cells, cells).mean())


def _middles_inside(boxes: Sequence[Box], height: int, width: int) -> np.ndarray:
    """Which cells' middles lie in each box: (Q, height, width) bool."""
    left, top, right, bottom = np.array(boxes).reshape(-1, 4).T[:, :, None]  # (Q, 1) each
    y = (np.arange(height) + 0.5) / height
    x = (np.arange(width) + 0.5) / width
    down, across = (top <= y) & (y <= bottom), (left <= x) & (x <= right)  # (Q, h), (Q, w)
    return down[:, :, None] & across[:, None, :]
