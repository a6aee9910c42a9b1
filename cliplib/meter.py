"""Where the time of a training goes, how much memory it takes, and how busy the device is."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from cliplib.memory import peak_memory
from cliplib.model import CLIP, Tokens

Item = TypeVar("Item")

BACKWARD = 2  # times the cost of forward: one product for the inputs' gradients, one for weights'
PRODUCT = {"cpu": 2048, "cuda": 8192}  # rows and columns of the matrices that measure a device


@dataclass
class Meter:
    """Seconds of training, apart: waiting for pictures, and the steps themselves."""

    data_seconds: float = 0.0
    step_seconds: float = 0.0
    steps: int = 0
    pictures: int = 0

    def waiting(self, items: Iterable[Item]) -> Iterator[Item]:
        """The items; what it takes until each is there is time for data, the rest is the step's."""
        source = iter(items)
        while True:
            started = time.perf_counter()
            item = next(source, None)
            arrived = time.perf_counter()
            if item is None:
                return
            self.data_seconds += arrived - started
            yield item
            self.step_seconds += time.perf_counter() - arrived

    @property
    def pictures_per_second(self) -> float:
        seconds = self.data_seconds + self.step_seconds
        return self.pictures / seconds if seconds else 0.0

    def describe(
        self, flops_a_picture: float, device: torch.device, dtype: torch.dtype
    ) -> dict[str, float | str]:
        """The figures of a run for metrics.json; memory in GB, seconds a step, shares of 1."""
        steps = max(self.steps, 1)
        speed = product_speed(device, dtype)
        found: dict[str, float | str] = {
            "precision": str(dtype).removeprefix("torch."),
            "pictures_per_second": round(self.pictures_per_second, 1),
            "data_seconds_a_step": round(self.data_seconds / steps, 4),
            "step_seconds": round(self.step_seconds / steps, 4),
            "gflop_a_picture": round(flops_a_picture / 1e9, 3),
            "device_tflops": round(speed / 1e12, 3),
            "flops_utilisation": round(self.pictures_per_second * flops_a_picture / speed, 3),
        }
        memory = peak_memory(device)
        return found if memory is None else found | {"peak_memory_gb": round(memory / 1e9, 2)}


def training_flops(model: CLIP, images: Tensor, tokens: Tokens | Tensor) -> float:
    """Floating-point operations of a training step: forward, and twice that for backward.

    The model's own: what gradient checkpointing computes twice is counted once. For encoders that
    give kept features it is the projections' alone; encoders that run but don't learn count as if
    they did.
    Source: Chowdhery et al. 2022, PaLM, appendix B (arXiv 2204.02311).
    """
    attention = sdpa_kernel(SDPBackend.MATH)  # the counter does not know all of its fast forms
    learning = [p for p in model.parameters() if p.requires_grad]
    model.requires_grad_(False)  # else the counter looks for gradients that no_grad doesn't make
    try:
        with torch.no_grad(), attention, FlopCounterMode(display=False) as counter:
            model.encode_image(images)
            model.encode_text(tokens)
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)
    return float((1 + BACKWARD) * counter.get_total_flops())


def product_speed(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second that a device reaches in large matrix products: what can be had at best.

    Measured, not taken from a data sheet, so that it holds for any device.
    """
    size = PRODUCT.get(device.type, 4096)
    one = torch.randn(size, size, device=device, dtype=dtype)
    seconds = []
    for _ in range(6):  # the first ones warm up
        started = time.perf_counter()
        (one @ one)[0, 0].item()  # waits until it is there
        seconds.append(time.perf_counter() - started)
    return 2 * size**3 / float(np.median(seconds[2:]))


def in_words(seconds: float) -> str:
    """A duration as one says it: "40 seconds", "2.5 minutes", "25 minutes", "3.5 hours"."""
    if seconds < 90:
        return f"{max(10, 10 * round(seconds / 10))} seconds"
    if seconds < 600:
        return f"{round(seconds / 30) / 2:g} minutes"
    if seconds < 5400:
        return f"{round(seconds / 60)} minutes"
    return f"{round(seconds / 1800) / 2:g} hours"
