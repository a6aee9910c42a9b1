"""Wrong answers to lesson 06's exercises, and what the lesson writes against cliplib's own."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_checks import expect_hint, taught_by, wrong_answers

from cliplib import zeroshot
from cliplib.checks import lesson06


@pytest.fixture(autouse=True)
def own_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPLIB_DATA", str(tmp_path))


def pairs(scores: np.ndarray, there: np.ndarray, tie: float) -> np.ndarray:
    gap = scores[there][:, None] - scores[~there]
    return (gap > 0) + tie * (gap == 0)


def grown(labels: np.ndarray, answers: np.ndarray, size: int) -> np.ndarray:
    counts = np.zeros((size, size), int)
    np.add.at(counts, (labels, answers), 1)
    return counts


def added_once(labels: np.ndarray, answers: np.ndarray, classes: int) -> np.ndarray:
    counts = np.zeros((classes, classes), int)
    counts[labels, answers] += 1
    return counts


WRONG_FILLS = {
    "one flat list": lambda c, t: [[u.replace("{}", n) for u in t] for n in c],
    "Does every class meet": lambda c, t: [u.replace("{}", n) for n, u in zip(c, t, strict=False)],
    "in the template's place": lambda c, t: [u + n for n in c for u in t],
    "before the next": lambda c, t: [u.replace("{}", n) for u in t for n in c],
    "names no class": lambda c, t: [u.replace("{}", "it") for n in c for u in t],
}
WRONG_ENSEMBLES = {
    "over the templates": lambda e: F.normalize(e.mean(dim=0), dim=-1),
    "What length": lambda e: e.mean(dim=1),
    "Are both in it": lambda e: e[:, 0],
    "the last dimension": lambda e: F.normalize(e.mean(dim=1), dim=0) * (
        0.5**0.5 if len(e) == 1 else 1
    ),
    "Did you take a mean": lambda e: F.normalize(e.sum(dim=1) ** 3, dim=1),
    "averaged alone": lambda e: F.normalize(
        e.mean(dim=1) + (0.1 * e.mean(dim=(0, 1)) if len(e) > 3 else 0), dim=1
    ),
}  # fmt: skip
WRONG_COUNTS = {
    "a row for each class": lambda t, s, k: np.bincount(s[t == s], minlength=k),
    "exchanged": lambda t, s, k: zeroshot.confusion_matrix(s, t, k),
    "Where does a wrong one go": lambda t, s, k: np.diag(np.bincount(t[t == s], minlength=k)),
    "Are they counts": lambda t, s, k: zeroshot.confusion_matrix(t, s, k) / len(t),
    "Does each picture add 1": added_once,
    "size come from K": lambda t, s, k: grown(t, s, max(t.max(), s.max()) + 1),
}
WRONG_AREAS = {
    "has to score higher": lambda s, t: pairs(-s, t, 0.5).mean(),
    "equal scores worth": lambda s, t: pairs(s, t, 1).mean(),
    "a count": lambda s, t: pairs(s, t, 0.5).sum(),
    "only the order": lambda s, t: 0.625 if s.max() == 0.9 else (
        0.5 if not s.any() else float((s[t] > 0.25).mean())
    ),
    "every pair in it": lambda s, t: pairs(s[:6], t[:6], 0.5).mean(),
}  # fmt: skip


@wrong_answers(
    (lesson06.fill, WRONG_FILLS),
    (lesson06.ensemble, WRONG_ENSEMBLES),
    (lesson06.confusion, WRONG_COUNTS),
    (lesson06.area, WRONG_AREAS),
)
def test_a_wrong_answer_gets_the_right_hint(
    checker: Callable, hint: str, wrong: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    expect_hint(checker, hint, wrong, capsys)


@pytest.fixture(scope="module")
def taught() -> dict[str, Callable]:
    return taught_by("06_zero_shot.ipynb")


@pytest.mark.parametrize("seed", range(3))
def test_what_the_lesson_writes_gives_cliplibs_values(
    taught: dict[str, Callable], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    classes, templates = ["a boat", "an owl"], ["{}", "look, {}!", "{} at night"]
    assert taught["fill"](classes, templates) == zeroshot.prompts(classes, templates)
    embeddings = F.normalize(torch.tensor(rng.normal(size=(5, 4, 8))).float(), dim=-1)  # (K, T, E)
    torch.testing.assert_close(taught["ensemble"](embeddings), zeroshot.ensemble(embeddings))
    labels, answers = rng.integers(0, 5, (2, 100))
    counts = zeroshot.confusion_matrix(labels, answers, 5)
    assert np.array_equal(taught["confusion"](labels, answers, 5), counts)
    scores, there = rng.random(100).round(1), rng.random(100) < 0.3
    area = zeroshot.area_under_curve(scores, there)
    assert taught["area"](scores, there) == pytest.approx(area)
