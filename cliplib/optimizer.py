"""AdamW with a rate for each part of the model, and how rates rise and fall."""

from __future__ import annotations

import math

import torch
from timm.models import group_parameters
from torch import nn

from cliplib.config import Profile
from cliplib.model import CLIP

BETAS = (0.9, 0.98)  # Radford et al. 2021, appendix F


def make_optimizer(model: CLIP, profile: Profile) -> torch.optim.AdamW:
    """AdamW with a rate for each encoder and the heads; norms, biases and the scale never decay."""
    rates = {
        "image_encoder": 0.0 if profile.image_frozen else profile.image_lr,
        "text_encoder": 0.0 if profile.text_frozen else profile.text_lr,
    }
    staying = first_layers(model, profile.image_layers_frozen)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        rate = 0.0 if name in staying else rates.get(name.split(".")[0], profile.head_lr)
        decay = profile.weight_decay if parameter.ndim >= 2 else 0.0
        parameter.requires_grad_(rate > 0)
        if rate > 0:
            groups.setdefault((rate, decay), []).append(parameter)
    return torch.optim.AdamW(
        [{"params": p, "lr": rate, "weight_decay": decay} for (rate, decay), p in groups.items()],
        betas=BETAS,
        fused=True,
    )


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
