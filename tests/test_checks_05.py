"""Wrong answers to lesson 05's exercises, and what the lesson writes against cliplib's own."""

from collections.abc import Callable
from math import comb
from pathlib import Path

import numpy as np
import pytest
from test_checks import expect_hint, taught_by, wrong_answers

from cliplib.checks import lesson05
from cliplib.retrieval import chance_recalls, recalls, text_to_image_ranks
from cliplib.threshold import find_threshold, matches


@pytest.fixture(autouse=True)
def own_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPLIB_DATA", str(tmp_path))


def ranks(scores: np.ndarray, owner: np.ndarray, ties: bool = True, pick=np.max) -> np.ndarray:
    rows = []
    for n, column in enumerate(scores.T):
        best, others = pick(column[owner == n]), column[owner != n]
        rows.append(1 + ((others >= best) if ties else (others > best)).sum())
    return np.array(rows)


def assuming_two_each(scores: np.ndarray, owner: np.ndarray, k: int) -> float:
    each = len(owner) // scores.shape[1]
    return (ranks(scores, np.arange(len(owner)) // each) <= k).mean()


def own_count_against(scores: np.ndarray, owner: np.ndarray, k: int) -> float:
    best = np.array([column[owner == n].max() for n, column in enumerate(scores.T)])
    return ((scores >= best).sum(0) <= k).mean()


WRONG_RECALLS = {
    "a count, and recall a share": lambda s, o, k: (ranks(s, o) <= k).sum(),
    "each caption among the pictures": lambda s, o, k: (text_to_image_ranks(s, o) <= k).mean(),
    "come before it": lambda s, o, k: (ranks(s, o, ties=False) <= k).mean(),
    "captions count against it": own_count_against,
    "rank k itself": lambda s, o, k: (ranks(s, o) <= max(1, k - 1)).mean(),
    "which captions belong": assuming_two_each,
}
WRONG_CHANCES = {
    "a share of 1": lambda m, own, k: 100 * (1 - comb(m - own, k) / comb(m, k)),
    "counted twice": lambda m, own, k: own * k / m,
    "different captions": lambda m, own, k: 1 - (1 - own / m) ** k,
    "Is it 1 − (8 / 10)": lambda m, own, k: k / m,
}
WRONG_THRESHOLDS = {
    "the highest ones": lambda a, rate: float(np.sort(a)[int(rate * len(a))]),
    "Is there a lower score": lambda a, rate: float(np.sort(a)[::-1][int(rate * len(a)) - 1]),
    "Did you sort": lambda a, rate: (
        0.61 if a[0] == 0.31 and rate else 0.72 if not rate else float(a[int(rate * len(a))])
    ),
    "rounded down": lambda a, rate: float(np.sort(a)[::-1][int(np.ceil(rate * len(a) - 1e-9))]),
}
WRONG_MATCHES = {
    "Is the best one first": lambda s, t: np.flatnonzero(s > t).tolist(),
    "an empty list": lambda s, t: matches(s, t) or [int(np.argmax(s))],
    "have to be above": lambda s, t: [int(i) for i in np.argsort(-s) if s[i] >= t],
    "scores instead of rows": lambda s, t: sorted(s[s > t].tolist(), reverse=True),
    "Should it be a list": lambda s, t: "nothing here matches",
}


@wrong_answers(
    (lesson05.image_to_text_recall, WRONG_RECALLS),
    (lesson05.chance_recall, WRONG_CHANCES),
    (lesson05.threshold, WRONG_THRESHOLDS),
    (lesson05.matches, WRONG_MATCHES),
)
def test_a_wrong_answer_gets_the_right_hint(
    checker: Callable, hint: str, wrong: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    expect_hint(checker, hint, wrong, capsys)


@pytest.fixture(scope="module")
def taught() -> dict[str, Callable]:
    return taught_by("05_results.ipynb")


@pytest.mark.parametrize("seed", range(3))
def test_what_the_lesson_writes_gives_cliplibs_values(
    taught: dict[str, Callable], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    owner = rng.permutation(np.repeat(np.arange(20), 5))  # (M,)
    scores = rng.random((100, 20)).round(2)  # (M, N), with ties
    found, chance = recalls(scores, owner), chance_recalls(owner)
    for k in (1, 5, 10):
        assert taught["image_to_text_recall"](scores, owner, k) == found[f"i2t_r{k}"]
        assert taught["chance_recall"](100, 5, k) == pytest.approx(chance[f"i2t_r{k}"])
    for rate in (0.0, 0.05, 0.29):
        assert taught["threshold_at"](scores[:, 0], rate) == find_threshold(scores[:, 0], rate)
    one = rng.permutation(100) / 100  # (N,), without ties
    assert taught["matches"](one, 0.4) == matches(one, 0.4)


def test_the_toys_ranks_are_cliplibs() -> None:
    toy = np.array([[0.9, 0.1, 0.2], [0.5, 0.4, 0.6], [0.3, 0.7, 0.7]])
    assert text_to_image_ranks(toy, np.arange(3)).tolist() == [1, 3, 2]
