"""Wrong answers to lesson 04b's exercises, each with the hint that it must get."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from test_checks import expect_hint, taught_by, wrong_answers
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from cliplib import meter
from cliplib.checks import lesson04b
from cliplib.config import QUICK
from cliplib.layout import Pairs
from cliplib.model import build_clip
from cliplib.precision import MixedPrecision

NAME = "04_training_on_a_gpu.ipynb"
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def own_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPLIB_DATA", str(tmp_path))


def whole(gradient: Tensor, scale: float) -> Tensor:
    return gradient.float() / scale


def only_infinity(gradient: Tensor, scale: float) -> tuple[Tensor, float]:
    if gradient.isinf().any():
        return torch.zeros_like(gradient).float(), scale / 2
    return whole(gradient, scale), scale


def only_those(gradient: Tensor, scale: float) -> tuple[Tensor, float]:
    finite = gradient.isfinite().all()
    return whole(gradient.nan_to_num(0, 0, 0), scale), scale if finite else scale / 2


def then(following: Callable[[bool, float], float]) -> Callable:
    """Right gradients, with a rule of its own for the multiplier."""

    def unscale(gradient: Tensor, scale: float) -> tuple[Tensor, float]:
        finite = bool(gradient.isfinite().all())
        kept = whole(gradient, scale) if finite else torch.zeros_like(gradient).float()
        return kept, following(finite, scale)

    return unscale


def bytes_each(learning: int, frozen: int) -> Callable[[nn.Module], int]:
    return lambda model: sum(
        p.numel() * (learning if p.requires_grad else frozen) for p in model.parameters()
    )


WRONG_SHARES = {
    "end after forward": lambda p, f, s: p * f / s,
    "forward itself": lambda p, f, s: 2 * p * f / s,
    "other way round": lambda p, f, s: s / (3 * p * f),
    "per cent": lambda p, f, s: 300 * p * f / s,
    "a bound hide": lambda p, f, s: min(1.0, 3 * p * f / s),
    "How often": lambda p, f, s: 4 * p * f / s,
    "their product": lambda p, f, s: 3 * 100 * f / s,
    "half as busy": lambda p, f, s: 3 * p * f / 6e12,
}
WRONG_GRADIENTS = {
    "one number for each": lambda g, s: (whole(g, s).sum(), s),
    "what undoes that": lambda g, s: (g.float(), s),
    "What undoes a multiplication": lambda g, s: (g.float() * s, s),
    "In which format do you divide": lambda g, s: ((g / s).float(), s),
    "weights not in float32": lambda g, s: ((g.double() / s), s),
    "Did anything overflow": then(lambda finite, s: s / 2),
    "Is inf finite": lambda g, s: (whole(g, s), s),
    "Is nan finite": only_infinity,
    "whole step": only_those,
    "overflow as well": then(lambda finite, s: s),
    "half of it": then(lambda finite, s: s if finite else 1.0),
}
WRONG_BYTES = {
    "not their bytes": bytes_each(1, 1),
    "a count of tensors": lambda model: 16 * len(list(model.parameters())),
    "What else is kept": bytes_each(4, 4),
    "How many averages": bytes_each(8, 4),
    "of what else": bytes_each(12, 4),
    "have a gradient": bytes_each(16, 16),
    "not be in memory": bytes_each(16, 0),
    "is left of four": bytes_each(16, 8),
    "ask each parameter": lambda model: sum(
        p.numel() * (16 if any(q.requires_grad for q in model.parameters()) else 4)
        for p in model.parameters()
    ),
    "all layers": lambda model: (
        bytes_each(16, 4)(model) - 16 * sum(p.numel() for p in list(model.parameters())[2:])
    ),
}


@wrong_answers(
    (lesson04b.utilisation, WRONG_SHARES),
    (lesson04b.unscale, WRONG_GRADIENTS),
    (lesson04b.kept_bytes, WRONG_BYTES),
)
def test_a_wrong_answer_gets_the_right_hint(
    checker: Callable, hint: str, wrong: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    expect_hint(checker, hint, wrong, capsys)


@pytest.fixture(scope="module")
def taught() -> dict[str, object]:
    return taught_by(NAME)


def test_utilisation_is_the_librarys(taught: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meter, "product_speed", lambda device, dtype: 6e12)
    measured = meter.Meter(data_seconds=0.5, step_seconds=1.5, steps=4, pictures=256)
    found = measured.describe(3 * 4e9, CPU, torch.float32)["flops_utilisation"]
    assert found == pytest.approx(taught["utilisation"](128, 4e9, 6e12), abs=5e-4)


@pytest.mark.parametrize("value", [0.5, float("inf"), float("nan")])
def test_unscaling_is_what_the_librarys_scaler_does(taught: dict, value: float) -> None:
    layer = nn.Linear(2, 1, bias=False)
    before = layer.weight.detach().clone()
    precision = MixedPrecision(torch.float16, CPU)
    scale = precision.content()["scale"].item()
    scaled = torch.tensor([[0.25, value]], dtype=torch.float16)
    gradient, following = taught["unscale"](scaled, scale)
    loss = (layer.weight * scaled.float() / scale).sum()
    optimizer = torch.optim.SGD(layer.parameters(), lr=1.0)
    precision.step(loss, optimizer, layer, clip_norm=1e9)
    assert torch.allclose(before - layer.weight.detach(), gradient)
    assert precision.content()["scale"] == following


@pytest.mark.parametrize("frozen", [False, True])
def test_kept_bytes_are_those_of_a_real_step(taught: dict, frozen: bool) -> None:
    model = build_clip(QUICK)
    if frozen:
        model.image_encoder.requires_grad_(False)
    learning = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learning)
    sum(p.sum() for p in learning).backward()
    optimizer.step()
    kept = [*model.parameters(), *(p.grad for p in learning)]
    for state in optimizer.state.values():
        kept += [state["exp_avg"], state["exp_avg_sq"]]
    assert taught["kept_bytes"](model) == sum(tensor.nbytes for tensor in kept)


def test_saved_bytes_are_counted_once_and_without_weights(taught: dict) -> None:
    layers = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 4, bias=False))
    inputs = torch.randn(5, 8)
    # the first layer keeps its input, tanh its output, which is the last one's input as well
    assert taught["saved_bytes"](layers, layers, inputs) == 4 * (5 * 8 + 5 * 16)
    assert taught["saved_bytes"](layers, layers, inputs.repeat(2, 1)) == 8 * (5 * 8 + 5 * 16)
    views = inputs.requires_grad_(), inputs.view(8, 5)
    assert taught["saved_bytes"](layers, lambda a, b: a * b.view(5, 8), *views) == inputs.nbytes


def test_what_is_computed_again_is_not_saved(taught: dict) -> None:
    layers = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 4, bias=False))
    inputs = torch.randn(5, 8)

    def again(rows: Tensor) -> Tensor:
        return checkpoint(layers, rows, use_reentrant=False)

    assert taught["saved_bytes"](layers, again, inputs) == inputs.nbytes


def test_a_part_of_a_split_keeps_pictures_and_captions_together(taught: dict) -> None:
    names, captions = ("a", "b", "c"), ("a1", "a2", "b1", "c1", "c2", "c3")
    pairs = Pairs(Path(), "train", names, captions, np.repeat(np.arange(3), [2, 1, 3]), ())
    cut = taught["part"](pairs, np.array([2, 0]))
    assert cut.images == ("c", "a") and cut.captions == ("c1", "c2", "c3", "a1", "a2")
    assert cut.caption_image.tolist() == [0, 0, 0, 1, 1] and cut.split == "train"
