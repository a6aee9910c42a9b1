"""Number formats: which one a device gets, what float32 keeps, what float16 needs."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from cliplib.config import QUICK
from cliplib.model import build_clip, unit
from cliplib.precision import MixedPrecision, pick_precision

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("in_hardware", "expected"), [(True, torch.bfloat16), (False, torch.float16)]
)
def test_auto_is_the_best_format_of_the_device(
    monkeypatch: pytest.MonkeyPatch, in_hardware: bool, expected: torch.dtype
) -> None:
    """A T4 emulates bfloat16, slowly: that does not count."""
    monkeypatch.setattr(
        torch.cuda,
        "is_bf16_supported",
        lambda including_emulation: including_emulation | in_hardware,
    )
    assert pick_precision("auto", CUDA) is expected
    assert pick_precision("auto", CPU) is torch.float32
    assert pick_precision("auto", torch.device("mps")) is torch.float32


def test_a_named_format_is_taken_everywhere() -> None:
    assert pick_precision("bfloat16", CPU) is torch.bfloat16
    assert pick_precision("float32", CUDA) is torch.float32
    with pytest.raises(ValueError, match="not 'Tensor'"):
        pick_precision("Tensor", CPU)


def gradients_after(
    dtype: torch.dtype, size: float, clip_norm: float = 1e9
) -> tuple[nn.Linear, torch.Tensor]:
    """A layer after one step of plain gradient descent on a loss of about this size."""
    torch.manual_seed(0)
    layer = nn.Linear(4, 3, bias=False)
    before = layer.weight.detach().clone()
    optimizer = torch.optim.SGD(layer.parameters(), lr=1.0)
    precision = MixedPrecision(dtype, CPU)
    with precision.autocast():
        out = layer(torch.ones(2, 4))
    precision.step(size * out.float().sum(), optimizer, layer, clip_norm)
    return layer, before - layer.weight.detach()


def test_float32_is_a_plain_step_to_the_last_bit() -> None:
    layer, moved = gradients_after(torch.float32, 0.25)
    assert torch.equal(moved, torch.full((3, 4), 0.5)) and layer.weight.dtype == torch.float32
    with MixedPrecision(torch.float32, CPU).autocast():
        assert layer(torch.ones(2, 4)).dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_computes_in_half_and_keeps_weights_whole(dtype: torch.dtype) -> None:
    layer, moved = gradients_after(dtype, 0.25)
    assert torch.allclose(moved, torch.full((3, 4), 0.5), atol=1e-2)
    assert layer.weight.dtype == torch.float32
    with MixedPrecision(dtype, CPU).autocast():
        assert layer(torch.ones(2, 4)).dtype == dtype


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_gradients_are_clipped_as_they_are_not_as_they_were_multiplied(dtype: torch.dtype) -> None:
    _, moved = gradients_after(dtype, 0.25, clip_norm=0.1)
    assert moved.norm().item() == pytest.approx(0.1, rel=1e-3)


def test_small_gradients_survive_in_float16() -> None:
    """3e-8 is half of the least number above 0 that float16 has."""
    _, moved = gradients_after(torch.float16, 1.5e-8)
    assert torch.allclose(moved, torch.full((3, 4), 3e-8), rtol=0.01)
    assert torch.tensor(1.5e-8).half() == 0


def test_a_step_that_overflows_is_left_out_and_the_multiplier_halved() -> None:
    layer = nn.Linear(4, 3)
    before = layer.weight.detach().clone()
    optimizer = torch.optim.SGD(layer.parameters(), lr=1.0)
    precision = MixedPrecision(torch.float16, CPU)
    scale = precision.content()["scale"]
    precision.step(layer(torch.ones(2, 4)).sum() * 3e38, optimizer, layer, clip_norm=1.0)
    assert torch.equal(layer.weight, before)
    assert precision.content()["scale"] == scale / 2


def test_the_multiplier_comes_back_from_a_checkpoint() -> None:
    used, anew = MixedPrecision(torch.float16, CPU), MixedPrecision(torch.float16, CPU)
    layer = nn.Linear(4, 3)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.0)
    for factor in (3e38, 1.0):  # one that overflows, one that does not
        optimizer.zero_grad()
        used.step(layer(torch.ones(2, 4)).sum() * factor, optimizer, layer, clip_norm=1.0)
    assert anew.content() != used.content()
    anew.restore(used.content())
    assert anew.content() == used.content()
    plain = MixedPrecision(torch.float32, CPU)
    plain.restore(used.content())  # such a run can go on in float32
    assert plain.content() == {}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_embeddings_have_length_one_in_float32_whatever_computed_them(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model = build_clip(replace(QUICK, image_size=32)).eval()
    pictures = torch.randn(4, 3, 32, 32)
    ids = torch.randint(5, 500, (4, 9))
    with MixedPrecision(dtype, CPU).autocast(), torch.no_grad():
        found = model.encode_image(pictures), model.encode_text((ids, torch.ones_like(ids)))
    for half in found:
        assert half.dtype == torch.float32
        assert (half.norm(dim=1) - 1).abs().max() < 1e-6
    with torch.no_grad():
        assert (model.encode_image(pictures) * found[0]).sum(1).min() > 0.999
    assert unit(torch.ones(1, 4, dtype=torch.float64)).dtype == torch.float64
