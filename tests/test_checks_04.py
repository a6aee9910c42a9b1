"""Wrong answers to lesson 04's exercises, each with the hint that it must get."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from test_checks import expect_hint, taught_by, wrong_answers
from torch import Tensor, nn

from cliplib.checks import lesson04
from cliplib.config import QUICK
from cliplib.model import LARGEST_LOGIT_SCALE, build_clip
from cliplib.optimizer import make_optimizer, rate_factor

NAME = "04_training.ipynb"


@pytest.fixture(autouse=True)
def own_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPLIB_DATA", str(tmp_path))


def names_where(kept: Callable[[str, Tensor], bool]) -> Callable[[nn.Module], list[str]]:
    return lambda model: [name for name, p in model.named_parameters() if kept(name, p)]


def cosine_from_the_start(step: int, steps: int, warmup: float) -> float:
    rising = round(warmup * steps)
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * step / steps))


def straight_down(step: int, steps: int, warmup: float) -> float:
    rising = round(warmup * steps)
    return (step + 1) / rising if step < rising else 1 - (step - rising) / (steps - rising)


def from_zero(step: int, steps: int, warmup: float) -> float:
    rising = round(warmup * steps)
    return step / rising if step < rising else rate_factor(step, steps, warmup)


def whole_cosine(step: int, steps: int, warmup: float) -> float:
    rising = round(warmup * steps)
    if step < rising:
        return (step + 1) / rising
    return math.cos(math.pi * (step - rising) / (steps - rising))


def blocks(scores: np.ndarray, size: int) -> list[np.ndarray]:
    return [scores[i : i + size, i : i + size] for i in range(0, len(scores), size)]


def found(block: np.ndarray) -> np.ndarray:
    return (block >= block.diagonal()[:, None]).sum(1) == 1


def right_shares(scores: np.ndarray, size: int) -> tuple[float, float]:
    return float(np.concatenate([*map(found, blocks(scores, size))]).mean()), found(scores).mean()


def first_batch_only(scores: np.ndarray, size: int) -> tuple[float, float]:
    return float(found(scores[:size, :size]).mean()), float(found(scores).mean())


def without_the_first(scores: np.ndarray, size: int) -> tuple[float, float]:
    shares = [found(block).mean() for block in blocks(scores, size)]
    return float(np.mean(shares[1:] or shares)), float(found(scores).mean())


def by_argmax(scores: np.ndarray, size: int) -> tuple[float, float]:
    def picks(block: np.ndarray) -> np.ndarray:
        return block.argmax(1) == np.arange(len(block))

    return float(np.concatenate([*map(picks, blocks(scores, size))]).mean()), picks(scores).mean()


WRONG_SCALES = {
    "100 or log 100": lambda s: s.clamp(max=100.0),
    "Is that the scale": lambda s: s.exp().clamp(max=100.0),
    "natural logarithm": lambda s: s.clamp(max=4.0),
    "a lower bound": lambda s: s.clamp(min=0.0, max=math.log(100)),
    "allowed value change": lambda s: torch.full_like(s, math.log(100)),
}
WRONG_RATES = {
    "wasted": from_zero,
    "straight line": straight_down,
    "begin where": cosine_from_the_start,
    "moved up": whole_cosine,
    "Does the rate rise": lambda step, steps, warmup: 0.5 * (1 + math.cos(math.pi * step / steps)),
}
WRONG_DECAYS = {
    "single number": names_where(lambda name, p: True),
    "Does its name tell": names_where(lambda name, p: name.endswith("weight")),
    "pull towards 0": names_where(
        lambda name, p: p.ndim > 0 and not ("norm" in name and name.endswith("weight"))
    ),
    "two dimensions or more": names_where(lambda name, p: p.ndim == 2),
    "collect the names": lambda model: [p for p in model.parameters() if p.ndim > 1],
}
WRONG_SHARES = {
    "each caption, a row": lambda s, b: right_shares(s.T, b),
    "comes first": lambda s, b: right_shares(s, b)[::-1],
    "argmax": by_argmax,
    "every batch": without_the_first,
    "own columns only": first_batch_only,
    "counts": lambda s, b: tuple(len(s) * share for share in right_shares(s, b)),
    "not be equal": lambda s, b: (0.75, right_shares(s, b)[1]),
}


@wrong_answers(
    (lesson04.clamp_log_scale, WRONG_SCALES),
    (lesson04.rate_share, WRONG_RATES),
    (lesson04.decaying, WRONG_DECAYS),
    (lesson04.batch_and_gallery, WRONG_SHARES),
)
def test_a_wrong_answer_gets_the_right_hint(
    checker: Callable, hint: str, wrong: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    expect_hint(checker, hint, wrong, capsys)


@pytest.fixture(scope="module")
def taught() -> dict[str, object]:
    return taught_by(NAME)


@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.25])
def test_the_schedule_is_the_librarys(taught: dict, warmup: float) -> None:
    for step in range(40):
        expected = rate_factor(step, 40, warmup)
        assert taught["rate_share"](step, 40, warmup) == pytest.approx(expected)


def test_what_decays_is_the_librarys_choice(taught: dict) -> None:
    model = build_clip(QUICK)
    groups = make_optimizer(model, QUICK).param_groups
    decaying = {id(p) for group in groups if group["weight_decay"] for p in group["params"]}
    expected = [name for name, p in model.named_parameters() if id(p) in decaying]
    assert taught["decaying"](model) == expected


def test_the_scales_bound_is_the_librarys(taught: dict) -> None:
    found = taught["clamp_log_scale"](torch.tensor(9.0)).exp()
    assert found.item() == pytest.approx(LARGEST_LOGIT_SCALE)
