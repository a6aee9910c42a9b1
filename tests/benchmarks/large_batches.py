"""The loss in blocks and gradient caching, beside their plain forms: time as ratios, and memory.

    python tests/benchmarks/large_batches.py

Each form is measured in turns, the best of its rounds counts; memory is a process's own peak.
A quiet machine gives ratios that can be compared; a few minutes on two cores.
"""

from __future__ import annotations

import platform
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

sys.path.insert(0, str(Path(__file__).parents[2]))

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm.auto import tqdm

from cliplib import train
from cliplib.blockwise import contrastive_loss_in_blocks, sigmoid_loss
from cliplib.config import QUICK
from cliplib.memory import peak_memory

WIDTH = 512  # E
CPU = torch.device("cpu")
ROUNDS = 5
BIAS = torch.tensor(-10.0)
Name = TypeVar("Name", int, str)


def one_product(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    """The best plain form: one matrix, used both ways."""
    logits = (scale * images) @ texts.T  # (B, B)
    own = logits.diagonal().mean()
    return (logits.logsumexp(0).mean() + logits.logsumexp(1).mean()) / 2 - own


def two_products(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    """As open_clip's loss on one device: a matrix for each direction."""
    own = torch.arange(len(images))
    by_image, by_text = scale * images @ texts.T, scale * texts @ images.T  # (B, B)
    return (F.cross_entropy(by_image, own) + F.cross_entropy(by_text, own)) / 2


def plain_sigmoid(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    logits = scale * images @ texts.T + BIAS  # (B, B)
    signs = 2 * torch.eye(len(images)) - 1
    return -F.logsigmoid(signs * logits).sum() / len(images)


def sigmoid_in_blocks(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    return sigmoid_loss(images, texts, scale, BIAS)


FORMS = {
    "one product": one_product,
    "two products": two_products,
    "in blocks": contrastive_loss_in_blocks,
    "sigmoid, plain": plain_sigmoid,
    "sigmoid, in blocks": sigmoid_in_blocks,
}


def batch(pairs: int) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    images = F.normalize(torch.randn(pairs, WIDTH), dim=1)
    texts = F.normalize(images + 0.5 * F.normalize(torch.randn(pairs, WIDTH), dim=1), dim=1)
    return images.requires_grad_(), texts.requires_grad_(), torch.tensor(14.3, requires_grad=True)


def seconds(form: Callable[..., Tensor], given: tuple[Tensor, ...]) -> float:
    started = time.perf_counter()
    form(*given).backward()
    return time.perf_counter() - started


def in_turns(forms: dict[Name, Callable[[], object]], rounds: int) -> dict[Name, float]:
    """The seconds of each form's best round."""
    best = dict.fromkeys(forms, float("inf"))
    for _ in range(rounds):
        for name, form in forms.items():
            started = time.perf_counter()
            form()
            best[name] = min(best[name], time.perf_counter() - started)
    return best


def compare_times(pairs: int) -> None:
    given = batch(pairs)
    best = in_turns({name: lambda f=f: seconds(f, given) for name, f in FORMS.items()}, ROUNDS)
    for name, found in best.items():
        plain = best["sigmoid, plain" if "sigmoid" in name else "one product"]
        print(f"B = {pairs:6,}  {name:20} {found:6.2f} s  {found / plain:5.2f} of plain")


def print_memory(name: str, pairs: int) -> None:
    """In a fresh process: what forward and backward take beside embeddings and their gradients."""
    given = batch(pairs)
    seconds(FORMS[name], batch(64))
    before = peak_memory(CPU)
    seconds(FORMS[name], given)
    gradients = 2 * 4 * pairs * WIDTH
    extra = (peak_memory(CPU) - before - gradients) / 1e6
    print(f"B = {pairs:6,}  {name:20} {extra:8,.0f} MB beside gradients")


def step_seconds(chunk_sizes: tuple[int, ...], pairs: int = 512) -> dict[int, float]:
    """Of the quick profile, a batch of so many pairs: each chunk size's best epoch, in turns."""
    trainers, rounds = {}, 3
    for size in chunk_sizes:
        profile = replace(QUICK, batch_size=pairs, chunk_size=size, epochs=1 + rounds)
        trainers[size] = train.begin(profile, progress=False)[0]
        trainers[size].run_epoch(tqdm(disable=True))  # decodes the pictures
    best = in_turns({s: lambda t=t: t.run_epoch(tqdm(disable=True)) for s, t in trainers.items()},
                    rounds)  # fmt: skip
    return {size: best[size] / trainer.steps_an_epoch for size, trainer in trainers.items()}


def main() -> None:
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {platform.machine()}")
    for pairs in (4096, 8192, 16384, 32768):
        if pairs <= 8192:
            compare_times(pairs)
        else:
            found = min(seconds(contrastive_loss_in_blocks, batch(pairs)) for _ in range(2))
            print(f"B = {pairs:6,}  {'in blocks':20} {found:6.2f} s")
    for name, pairs in (("one product", 8192), ("in blocks", 8192), ("in blocks", 32768)):
        subprocess.run([sys.executable, __file__, name, str(pairs)], check=True)
    whole, *cached = step_seconds((0, 128, 64)).values()
    for chunk, found in zip((128, 64), cached, strict=True):
        print(f"a step of 512 pairs, quick: {whole:.2f} s; in chunks of {chunk}: {found:.2f} s, "
              f"{found / whole:.2f} of it")  # fmt: skip


if __name__ == "__main__":
    torch.set_flush_denormal(True)
    if len(sys.argv) == 3:
        print_memory(sys.argv[1], int(sys.argv[2]))
    else:
        main()
