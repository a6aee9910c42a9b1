"""Muon: which weights it moves, how, and that the rest learns by AdamW."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from cliplib.config import QUICK
from cliplib.model import CLIP
from cliplib.optimizer import BETAS, Muon, make_optimizer, matrices, orthogonalised
from cliplib.precision import MixedPrecision
from cliplib.train import build_clip

TINY = replace(QUICK, image_size=32, text_width=64, embed_dim=32, optimizer="muon")


@pytest.fixture(scope="module")
def model() -> CLIP:
    torch.manual_seed(0)
    return build_clip(TINY)


@pytest.fixture
def layers() -> nn.Sequential:
    """Every kind of weight: a table, a convolution, a wide and a tall matrix, norms, biases."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Embedding(7, 6), nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(9, 4), nn.Linear(4, 9)
    ).to(memory_format=torch.channels_last)


def fill_gradients(layers: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for weight in layers.parameters():
        weight.grad = torch.randn(weight.shape, generator=generator)


def moved_by_muon(layers: nn.Module, rate: float = 0.1, decay: float = 0.0) -> Muon:
    names = matrices(layers)
    named = dict(layers.named_parameters())
    groups = [
        {"params": [named[n] for n in named if (n in names) == muon], "lr": rate,
         "weight_decay": decay, "muon": muon}
        for muon in (True, False)
    ]  # fmt: skip
    return Muon(groups, betas=BETAS)


def near_one(matrix: Tensor) -> Tensor:
    """The same singular vectors with all singular values 1: what the iterations approach."""
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    return u @ v


def test_matrices_are_what_multiplies(layers: nn.Module, model: CLIP) -> None:
    assert matrices(layers) == {"1.weight", "3.weight", "4.weight"}
    found = matrices(model)
    assert {"image_projection.weight", "text_projection.weight"} <= found
    assert "image_encoder.network.conv1.0.weight" in found
    assert not [name for name in found if "embeddings" in name or "bias" in name or "bn" in name]
    assert "log_logit_scale" not in found


@pytest.mark.parametrize("shape", [(8, 27), (27, 8), (16, 16)])
def test_orthogonalised_keeps_singular_vectors_and_brings_values_together(
    shape: tuple[int, int],
) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0)).double()
    u, values, v = torch.linalg.svd(matrix, full_matrices=False)
    turned = u.T @ orthogonalised(1000 * matrix) @ v.T  # diagonal where the vectors are kept
    after = turned.diagonal()
    assert (turned - after.diag()).abs().max() < 1e-10
    large = values > 0.3 * values[0]
    assert after[large].min() > 0.65 and after.max() < 1.25, after
    assert after[large].min() / after.max() > values[large].min() / values[0]


def test_zero_gradients_move_nothing(layers: nn.Module) -> None:
    before = copy.deepcopy(layers.state_dict())
    optimizer = moved_by_muon(layers)
    for weight in layers.parameters():
        weight.grad = torch.zeros_like(weight)
    optimizer.step()
    assert all(torch.equal(before[name], now) for name, now in layers.state_dict().items())


def test_first_step_of_a_matrix(layers: nn.Module) -> None:
    """Length and direction of a step, for a wide matrix, a tall one and a convolution."""
    before = copy.deepcopy(layers)
    optimizer = moved_by_muon(layers, rate=0.1, decay=0.5)
    fill_gradients(layers, 0)
    gradients = {name: weight.grad.clone() for name, weight in layers.named_parameters()}
    optimizer.step()
    for name, length in (("1.weight", 1.0), ("3.weight", 1.0), ("4.weight", 1.5)):
        then, now = before.get_parameter(name), layers.get_parameter(name)
        step = (0.95 * then - now).detach().flatten(1) / 0.1 / length
        assert torch.allclose(step, orthogonalised(gradients[name].flatten(1)), atol=1e-4), name
        cosine = torch.cosine_similarity(
            step.flatten(), near_one(gradients[name].flatten(1)).flatten(), dim=0
        )
        assert cosine > 0.9, name


def test_gradients_are_averaged(layers: nn.Module) -> None:
    optimizer = moved_by_muon(layers)
    past = torch.zeros(4, 9)
    for seed in range(3):
        fill_gradients(layers, seed)
        gradient = layers[3].weight.grad.clone()
        before = layers[3].weight.detach().clone()
        optimizer.step()
        past = 0.9 * past + gradient
        step = orthogonalised(gradient + 0.9 * past)
        assert torch.allclose(before - layers[3].weight, 0.1 * step, atol=1e-6)


def test_all_else_learns_as_by_adamw(layers: nn.Module) -> None:
    other = copy.deepcopy(layers)
    optimizer = moved_by_muon(layers, decay=0.1)
    adamw = torch.optim.AdamW(other.parameters(), lr=0.1, betas=BETAS, weight_decay=0.1)
    for seed in range(3):
        fill_gradients(layers, seed)
        fill_gradients(other, seed)
        optimizer.step()
        adamw.step()
    names = matrices(layers)
    for name, weight in layers.named_parameters():
        assert torch.equal(weight, other.get_parameter(name)) == (name not in names), name


def test_a_step_that_overflows_in_half_precision_is_left_out(model: CLIP) -> None:
    model = copy.deepcopy(model)
    precision = MixedPrecision(torch.float16, torch.device("cpu"))
    optimizer = make_optimizer(model, TINY)
    before = copy.deepcopy(model.state_dict())
    loss = sum(weight.square().sum() for weight in model.parameters())
    precision.step(loss * torch.inf, optimizer, model, 1.0)
    assert all(torch.equal(before[name], now) for name, now in model.state_dict().items())
    optimizer.zero_grad()
    precision.step(sum(w.square().sum() for w in model.parameters()), optimizer, model, 1.0)
    name = "text_projection.weight"
    assert not torch.equal(before[name], model.state_dict()[name])


def test_rates_of_matrices_are_twenty_times_as_large(model: CLIP) -> None:
    profile = replace(TINY, image_lr=1e-3, text_lr=2e-3, head_lr=3e-3)
    optimizer = make_optimizer(model, profile)
    rate = {id(p): g["lr"] for g in optimizer.param_groups for p in g["params"]}
    names = matrices(model)
    parts = {"image_encoder": 1e-3, "text_encoder": 2e-3}
    for name, weight in model.named_parameters():
        expected = parts.get(name.split(".")[0], 3e-3) * (20 if name in names else 1)
        assert rate[id(weight)] == pytest.approx(expected), name


def test_adamw_stays_what_it_was(model: CLIP) -> None:
    optimizer = make_optimizer(model, replace(TINY, optimizer="adamw"))
    assert type(optimizer) is torch.optim.AdamW
    assert not any(group["muon"] for group in optimizer.param_groups)
