"""Varied pictures: parts of the right size, mirrored or not, the same for the same seed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cliplib.augment import MOST_STRETCHED, vary

SIDE = 48


def ramps(count: int) -> Tensor:
    """Pictures whose first two channels say where each pixel stood: x and y, from -1 to 1."""
    at = (torch.arange(SIDE) + 0.5) / SIDE * 2 - 1
    x, y = at.expand(SIDE, SIDE), at[:, None].expand(SIDE, SIDE)
    return torch.stack([x, y, torch.zeros(SIDE, SIDE)]).expand(count, 3, SIDE, SIDE)


def parts(least_area: float, count: int = 400) -> tuple[Tensor, Tensor, Tensor]:
    """Width and height of each part as shares of a side (width negative when mirrored); (B,)."""
    torch.manual_seed(0)
    varied = vary(ramps(count), least_area)
    inner = slice(SIDE // 4, 3 * SIDE // 4)  # away from borders, where nothing is repeated
    steps = 2 / SIDE
    width = varied[:, 0, SIDE // 2, inner].diff(dim=1).mean(1) / steps
    height = varied[:, 1, inner, SIDE // 2].diff(dim=1).mean(1) / steps
    return width, height, varied


@pytest.mark.parametrize("least_area", [0.3, 0.7])
def test_parts_keep_their_share_and_use_the_whole_range(least_area: float) -> None:
    width, height, varied = parts(least_area)
    area = width.abs() * height
    assert area.min() > 0.85 * least_area and area.max() < 1.01  # clamped sides lose a little
    assert area.min() < least_area + 0.05 and area.max() > 0.9
    stretch = width.abs() / height
    assert stretch.max() < MOST_STRETCHED + 0.01 and stretch.min() > 1 / MOST_STRETCHED - 0.01
    assert stretch.max() > 1.2 and stretch.min() < 0.85
    assert varied.abs().max() <= 1, "nothing from outside the picture"


def test_parts_lie_everywhere_inside() -> None:
    width, height, varied = parts(0.4)
    middle = varied[:, :2, SIDE // 2 - 1 : SIDE // 2 + 1, SIDE // 2 - 1 : SIDE // 2 + 1].mean(
        (2, 3)
    )
    for offset, side in ((middle[:, 0], width.abs()), (middle[:, 1], height)):
        assert (offset.abs() <= 1 - side + 0.02).all()
        assert offset.max() > 0.2 and offset.min() < -0.2 and offset.mean().abs() < 0.05


def test_one_of_two_is_mirrored_and_none_stands_on_its_head() -> None:
    width, height, _ = parts(0.5)
    assert 0.4 < (width < 0).float().mean() < 0.6
    assert (height > 0).all()


def test_the_seed_decides_and_memory_is_channels_last() -> None:
    pictures = ramps(4).contiguous(memory_format=torch.channels_last)
    torch.manual_seed(3)
    once = vary(pictures, 0.5)
    torch.manual_seed(3)
    assert torch.equal(vary(pictures, 0.5), once)
    assert not torch.equal(vary(pictures, 0.5), once)
    assert once.is_contiguous(memory_format=torch.channels_last) and once.dtype == torch.float32


@pytest.mark.parametrize("least_area", [0.0, 1.1, -1])
def test_a_share_that_is_none(least_area: float) -> None:
    with pytest.raises(ValueError, match="least_area is a share above 0"):
        vary(ramps(1), least_area)
