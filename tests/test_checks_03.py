"""Wrong answers to lesson 03's exercises, each with the hint that it must get."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from test_checks import expect_hint, wrong_answers
from torch import Tensor

from cliplib.checks import lesson03


@pytest.fixture(autouse=True)
def own_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPLIB_DATA", str(tmp_path))


def right_cosines(a: Tensor, b: Tensor) -> Tensor:
    return F.normalize(a, dim=1) @ F.normalize(b, dim=1).T


def cross(logits: Tensor) -> Tensor:
    return F.cross_entropy(logits, torch.arange(len(logits)))


def symmetric(logits: Tensor) -> Tensor:
    return (cross(logits) + cross(logits.T)) / 2


def soft_targets(a: Tensor, b: Tensor, scale: Tensor) -> Tensor:
    a, b = F.normalize(a, dim=1), F.normalize(b, dim=1)
    logits = scale * a @ b.T
    targets = (scale * (a @ a.T + b @ b.T) / 2).softmax(dim=1)
    return (F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets.T)) / 2


WRONG_COSINES = {
    "divide each row": lambda a, b: a @ b.T,
    "divide each row, of pictures": lambda a, b: F.normalize(a, dim=1) @ b.T,
    "row belong to a picture": lambda a, b: right_cosines(a, b).T,
    "not part of a cosine": lambda a, b: 5 * right_cosines(a, b),
    "has to be transposed": lambda a, b: F.normalize(a, dim=1).T @ F.normalize(b, dim=1),
}
WRONG_LOSSES = {
    "average both directions": lambda a, b, s: cross(s * right_cosines(a, b)),
    "normalise both sides": lambda a, b, s: symmetric(s * a @ b.T),
    "divide by it": lambda a, b, s: symmetric(right_cosines(a, b) / s),
    "made from similarities": soft_targets,
    "mean over the rows": lambda a, b, s: symmetric(s * right_cosines(a, b)) * len(a),
}
WRONG_FLOORS = {
    "the loss a mean": lambda c: sum(math.log(c.count(x)) for x in c),
    "once for each": lambda c: sum(math.log(c.count(x)) for x in set(c)) / len(c),
    "log to base 2": lambda c: sum(math.log2(c.count(x)) for x in c) / len(c),
    "stands alone": lambda c: math.log(len(c)),
}
WRONG_GRADIENTS = {
    "probabilities of the columns": lambda s: (s.softmax(1) - torch.eye(len(s))) / len(s),
    "must fall below 0": lambda s: (torch.eye(len(s)) - (s.softmax(1) + s.softmax(0)) / 2) / len(s),
    "divide by": lambda s: (s.softmax(1) + s.softmax(0)) / 2 - torch.eye(len(s)),
}


@wrong_answers(
    (lesson03.cosine_matrix, WRONG_COSINES),
    (lesson03.clip_loss, WRONG_LOSSES),
    (lesson03.equal_caption_floor, WRONG_FLOORS),
    (lesson03.logit_gradient, WRONG_GRADIENTS),
)
def test_a_wrong_answer_gets_the_right_hint(
    checker: Callable, hint: str, wrong: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    expect_hint(checker, hint, wrong, capsys)
