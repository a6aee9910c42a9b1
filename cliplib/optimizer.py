"""AdamW or Muon with a rate for each part of the model, and how rates rise and fall."""

from __future__ import annotations

import math

import torch
from timm.models import group_parameters
from torch import Tensor, nn

from cliplib.config import Profile
from cliplib.model import CLIP

BETAS = (0.9, 0.98)  # Radford et al. 2021, appendix F
MUON_RATE = 20  # times AdamW's
MOMENTUM = 0.9
NEWTON_SCHULZ_STEPS = 3


def make_optimizer(model: CLIP, profile: Profile) -> torch.optim.AdamW:
    """A rate for each encoder and the heads; norms, biases and the scale never decay."""
    rates = {
        "image_encoder": 0.0 if profile.image_frozen else profile.image_lr,
        "text_encoder": 0.0 if profile.text_frozen else profile.text_lr,
    }
    staying = first_layers(model, profile.image_layers_frozen)
    by_muon = matrices(model) if profile.optimizer == "muon" else set()
    groups: dict[tuple[float, float, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        rate = 0.0 if name in staying else rates.get(name.split(".")[0], profile.head_lr)
        decay = profile.weight_decay if parameter.ndim >= 2 else 0.0
        parameter.requires_grad_(rate > 0)
        if rate > 0:
            groups.setdefault((rate, decay, name in by_muon), []).append(parameter)
    made = [
        {"params": p, "lr": rate * (MUON_RATE if muon else 1), "weight_decay": decay, "muon": muon}
        for (rate, decay, muon), p in groups.items()
    ]
    if by_muon:
        return Muon(made, betas=BETAS)
    return torch.optim.AdamW(made, betas=BETAS, fused=True)


def matrices(model: nn.Module) -> set[str]:
    """The names of the weights that multiply: not norms, biases, and rows of a table of words."""
    tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    return {n for n, p in model.named_parameters() if p.ndim >= 2 and id(p) not in tables}


class Muon(torch.optim.AdamW):
    """AdamW, but a matrix's step is its averaged gradient with singular values nearly alike.

    So rare directions learn as fast as frequent ones. A convolution is the matrix (out, the rest).
    PyTorch's and timm's compute in bfloat16, which is slow on a CPU without units for it.

    Source: Jordan et al. 2024, Muon (kellerjordan.github.io/posts/muon).
    """

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        for group in self.param_groups:
            for weight in group["params"] if group["muon"] else ():
                if weight.grad is not None:
                    self._move(weight, group["lr"], group["weight_decay"])
                    weight.grad = None  # so AdamW, which takes all that is left, passes it over
        super().step(closure)

    def _move(self, weight: nn.Parameter, rate: float, decay: float) -> None:
        state = self.state[weight]
        if not state:
            state["step"], state["average"] = torch.zeros(()), torch.zeros_like(weight)
        state["step"] += 1  # AdamW asks it of every weight
        average = state["average"].mul_(MOMENTUM).add_(weight.grad)
        step = orthogonalised(weight.grad.add(average, alpha=MOMENTUM).flatten(1))
        longer = max(1, step.shape[0] / step.shape[1]) ** 0.5
        weight.mul_(1 - rate * decay).sub_(step.reshape(weight.shape), alpha=rate * longer)


def orthogonalised(matrix: Tensor) -> Tensor:
    """A matrix of the same singular vectors whose singular values are nearly alike.

    Those above 0.3 of the largest come out between 0.65 and 1.25 (measured), smaller ones grow.
    By iterations of Newton and Schulz: matrix products, in place of a decomposition.

    Shapes: (out, in) in and out.
    """
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x = wide / (wide.norm() + 1e-7)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x if wide is matrix else x.T


def first_layers(model: CLIP, count: int) -> set[str]:
    """The names of the parameters of an image encoder's first layers, as timm divides it."""
    if not count:
        return set()
    network = model.image_encoder.network
    layer_of = group_parameters(network, network.group_matcher(coarse=True), reverse=True)
    return {f"image_encoder.network.{name}" for name, layer in layer_of.items() if layer < count}


def rate_factor(step: int, steps: int, warmup: float) -> float:
    """The share of the full rate at a step: rises linearly, then falls to 0 along half a cosine."""
    rising = round(warmup * steps)
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / (steps - rising)))
