"""What a training costs: time apart, operations counted, memory, durations in words."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from cliplib.config import QUICK
from cliplib.encoders import TextEncoder, text_encoder
from cliplib.meter import Meter, in_words, product_speed, training_flops
from cliplib.model import CLIP, build_clip

CPU = torch.device("cpu")


class Linear(nn.Linear):
    """An image encoder whose operations can be counted by hand."""

    @property
    def width(self) -> int:
        return self.out_features


def by_hand(pictures: int, pixels: int) -> tuple[CLIP, torch.Tensor]:
    encoder = nn.Sequential(nn.Flatten(), Linear(pixels, 8, bias=False))
    encoder.width = 8
    return CLIP(encoder, Linear(6, 6), embed_dim=4), torch.randn(pictures, 1, 1, pixels)


def test_waiting_and_working_are_told_apart() -> None:
    def slow() -> object:
        for item in range(3):
            time.sleep(0.03)
            yield item

    meter, seen = Meter(), []
    for item in meter.waiting(slow()):
        time.sleep(0.06)
        meter.pictures += 10
        seen.append(item)
    assert seen == [0, 1, 2]
    assert 0.09 <= meter.data_seconds < 0.15 <= 0.18 <= meter.step_seconds < 0.3
    assert meter.pictures_per_second == pytest.approx(
        30 / (meter.data_seconds + meter.step_seconds)
    )


def test_nothing_was_measured_before_the_first_step() -> None:
    assert Meter().pictures_per_second == 0
    assert Meter().describe(1e9, CPU, torch.float32)["step_seconds"] == 0


def test_operations_are_those_counted_by_hand() -> None:
    model, pictures = by_hand(pictures=5, pixels=10)
    features = torch.randn(5, 6)
    forward = 2 * 5 * (10 * 8 + 8 * 4 + 6 * 4)  # a multiplication and an addition each
    assert training_flops(model, pictures, features) == 3 * forward
    assert all(parameter.requires_grad for parameter in model.parameters())
    model.image_encoder.requires_grad_(False)
    training_flops(model, pictures, features)
    learning = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert learning and not any(name.startswith("image_encoder") for name in learning)


def test_longer_captions_and_larger_pictures_cost_more() -> None:
    model = build_clip(QUICK)

    def cost(size: int, tokens: int) -> float:
        ids = torch.ones(2, tokens, dtype=torch.int64)
        return training_flops(model, torch.zeros(2, 3, size, size), (ids, ids))

    assert cost(64, 20) > cost(64, 10) > cost(32, 10)
    heads = training_flops(model, torch.zeros(2, model.image_encoder.width), torch.zeros(2, 128))
    assert heads == 3 * 2 * 2 * 128 * (model.image_encoder.width + 128)


def test_attention_is_counted() -> None:
    encoder: TextEncoder = text_encoder(replace(QUICK, text_layers=1))
    model = CLIP(Linear(3, 3), encoder, embed_dim=128)

    def text(tokens: int) -> float:
        ids = torch.ones(1, tokens, dtype=torch.int64)
        nothing = training_flops(model, torch.zeros(1, 3), torch.zeros(1, 128))
        return training_flops(model, torch.zeros(1, 3), (ids, ids)) - nothing

    products = 2 * 128 * 128 * (4 + 2 * 4)  # of one token: four maps, and two to and from 4 widths
    scores = 2 * 2 * 128  # of a pair of tokens: their score, and its part of the mean
    for tokens in (8, 32):
        assert text(tokens) == pytest.approx(3 * (tokens * products + tokens**2 * scores), rel=0.02)


def test_the_speed_of_products_is_that_of_this_device() -> None:
    speed = product_speed(CPU, torch.float32)
    one = torch.randn(1024, 1024)
    started = time.perf_counter()
    for _ in range(4):
        one @ one
    plain = 4 * 2 * 1024**3 / (time.perf_counter() - started)
    assert 0.2 * plain < speed < 8 * plain


def test_figures_fit_together() -> None:
    meter = Meter(data_seconds=1, step_seconds=3, steps=8, pictures=400)
    found = meter.describe(5e6, CPU, torch.float32)
    assert (found["pictures_per_second"], found["precision"]) == (100, "float32")
    assert (found["data_seconds_a_step"], found["step_seconds"]) == (0.125, 0.375)
    assert found["gflop_a_picture"] == 0.005
    expected = 100 * 5e6 / (found["device_tflops"] * 1e12)
    assert found["flops_utilisation"] == pytest.approx(expected, abs=6e-4)


PEAKS = """
import numpy as np, torch
from cliplib.memory import peak_memory
before = peak_memory(torch.device("cpu"))
held = np.ones(50_000_000)  # 400 MB
print(before, peak_memory(torch.device("cpu")))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not say.")
def test_peak_memory_is_the_process_own() -> None:
    held = np.ones(250_000_000)  # 2 GB of the process that starts the other
    ran = subprocess.run([sys.executable, "-c", PEAKS], capture_output=True, text=True, check=True)
    before, after = map(int, ran.stdout.split())
    assert 0.3e9 < after - before < 0.5e9
    assert after < held.nbytes


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(31, "30 seconds"), (100, "1.5 minutes"), (1500, "25 minutes"), (9000, "2.5 hours")],
)
def test_durations(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
