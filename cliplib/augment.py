"""Pictures varied in training, so that an encoder does not learn them by heart."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

MOST_STRETCHED = 4 / 3  # the largest ratio of a part's width to its height, before it is stretched


def vary(pictures: Tensor, least_area: float) -> Tensor:
    """A random part of each picture, stretched to full size, and mirrored in one of two cases.

    least_area: the share of a picture's area that its part has at least. Random numbers are torch's
    own for the CPU, on every device. A mirrored picture makes "left" and "right" in captions wrong.
    Shapes: (B, 3, H, W) in and out, channels last in memory.
    Raises: ValueError when least_area is not a share above 0.
    Source: Szegedy et al. 2015, Going Deeper with Convolutions, section 6 (arXiv 1409.4842).
    """
    if not 0 < least_area <= 1:
        raise ValueError(f"least_area is a share above 0, at most 1, not {least_area}.")
    count = len(pictures)
    area = torch.empty(count).uniform_(least_area, 1)
    stretch = torch.empty(count).uniform_(-1, 1).mul(math.log(MOST_STRETCHED)).exp()
    width, height = (area * stretch).sqrt().clamp(max=1), (area / stretch).sqrt().clamp(max=1)
    right, down = ((1 - side) * torch.empty(count).uniform_(-1, 1) for side in (width, height))
    mirrored = torch.where(torch.rand(count) < 0.5, -1.0, 1.0)
    nothing = torch.zeros(count)
    rows = [mirrored * width, nothing, right], [nothing, height, down]
    turn = torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)  # (B, 2, 3)
    grid = F.affine_grid(turn.to(pictures), list(pictures.shape), align_corners=False)
    varied = F.grid_sample(pictures, grid, padding_mode="border", align_corners=False)
    return varied.contiguous(memory_format=torch.channels_last)  # (B, 3, H, W)
