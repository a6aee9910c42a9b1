"""Wrong answers to lesson 09's exercises, and what the lesson writes against cliplib's own."""

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from test_checks import expect_hint, taught_by, wrong_answers

from cliplib import measured
from cliplib.checkpoint import Run, load_run, shipped_checkpoint
from cliplib.checks import lesson09
from cliplib.finetune import interpolate
from cliplib.probe import few_shots
from cliplib.splits import draw_splits


@pytest.fixture(autouse=True)
def own_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPLIB_DATA", str(tmp_path))


def drawn(contents: list[str], share: float, seed: int) -> set[str]:
    different = sorted(set(contents))
    order = np.random.default_rng(seed).permutation(len(different))
    return {different[at] for at in order[: round(share * len(different))]}


def right_test(contents: list[str], share: float, seed: int) -> list[int]:
    chosen = drawn(contents, share, seed)
    return [row for row, content in enumerate(contents) if content in chosen]


def by_file(contents: list[str], share: float, seed: int) -> list[int]:
    order = np.random.default_rng(seed).permutation(len(contents))
    return order[: round(share * len(contents))].tolist()


def share_of_files(contents: list[str], share: float, seed: int) -> list[int]:
    """Twins stay together, but files are counted until there are enough."""
    order = np.random.default_rng(seed).permutation(sorted(set(contents)))
    rows: list[int] = []
    for content in order:
        if len(rows) < share * len(contents):
            rows += [row for row, c in enumerate(contents) if c == content]
    return rows


def first_ones(contents: list[str], share: float, seed: int) -> list[int]:
    """Whatever the seed."""
    return right_test(contents, share, 0)


def without_seed(contents: list[str], share: float, seed: int) -> list[int]:
    different = sorted(set(contents))
    order = torch.randperm(len(different))
    chosen = {different[at] for at in order[: round(share * len(different))]}
    return [row for row, content in enumerate(contents) if content in chosen]


def one_stretch(contents: list[str], share: float, seed: int) -> list[int]:
    different = list(dict.fromkeys(contents))
    count = round(share * len(different))
    start = np.random.default_rng(seed).integers(len(different) - count + 1)
    chosen = set(different[start : start + count])
    return [row for row, content in enumerate(contents) if content in chosen]


WRONG_TESTS = {
    "which files hold them": lambda c, s, n: sorted(drawn(c, s, n)),
    "where is it yes": lambda c, s, n: [content in drawn(c, s, n) for content in c],
    "at most": lambda c, s, n: [row + 1 for row in range(len(c))],
    "files, or different contents": by_file,
    "share of different contents": share_of_files,
    "made from the seed": without_seed,
    "shuffled by the seed": first_ones,
    "drawn from all of it": one_stretch,
}


def stretch(pictures: list[float], recall: list[float], wanted: float) -> tuple[int, float]:
    at = next(at for at, found in enumerate(recall) if found >= wanted)
    return at, (wanted - recall[at - 1]) / (recall[at] - recall[at - 1]) if at else 0.0


def straight(pictures: list[float], recall: list[float], wanted: float) -> float:
    at, share = stretch(pictures, recall, wanted)
    return pictures[at - 1] + share * (pictures[at] - pictures[at - 1]) if at else pictures[0]


def logarithm(pictures: list[float], recall: list[float], wanted: float) -> float:
    return math.log(measured.pairs_needed(pictures, recall, wanted)) if wanted == 0.35 else (
        measured.pairs_needed(pictures, recall, wanted)
    )  # fmt: skip


def last_crossing(pictures: list[float], recall: list[float], wanted: float) -> float:
    """From behind: where the curve is above for good."""
    if max(recall) < wanted:
        return math.inf
    below = [at for at, found in enumerate(recall) if found < wanted]
    cut = max(below[-1], 0) if below else 0
    return measured.pairs_needed(pictures[cut:], recall[cut:], wanted) if cut else (
        measured.pairs_needed(pictures, recall, wanted)
    )  # fmt: skip


WRONG_NEEDS = {
    "place in the list": lambda p, r, w: stretch(p, r, w)[0],
    "Which point": lambda p, r, w: max(p),
    "halfway": straight,
    "the next point": lambda p, r, w: p[stretch(p, r, w)[0]],
    "still a logarithm": logarithm,
    "Then inf": lambda p, r, w: p[-1] if w > max(r) else measured.pairs_needed(p, r, w),
    "fewer than 50": lambda p, r, w: math.inf if w < r[0] else measured.pairs_needed(p, r, w),
    "first point above": last_crossing,
}
States = dict[str, torch.Tensor]


def mixed(before: States, after: States, share: float) -> States:
    return {name: (1 - share) * old + share * after[name] for name, old in before.items()}


def right_between(before: States, after: States, share: float) -> States:
    nearer = after if share >= 0.5 else before
    weights = mixed(before, after, share)
    return {k: weights[k] if v.is_floating_point() else nearer[k] for k, v in before.items()}


def in_place(before: States, after: States, share: float) -> States:
    for name, weights in before.items():
        if weights.is_floating_point():
            weights += share * (after[name] - weights)
        elif share >= 0.5:
            before[name] = after[name]
    return before


WRONG_MIXES = {
    "under its name": lambda b, a, s: list(mixed(b, a, s).values()),
    "Is each there": lambda b, a, s: {k: v for k, v in mixed(b, a, s).items() if k != "n"},
    "share 0 the model before": lambda b, a, s: mixed(a, b, s),
    "the share count": lambda b, a, s: right_between(b, a, 0.5),
    "both weights sum to": lambda b, a, s: {k: b[k] + s * a[k] for k in b},
    "every tensor move": lambda b, a, s: right_between(b, a, s) | {"b": b["b"]},
    "of the nearer end": mixed,
    "Which end": lambda b, a, s: right_between(b, a, s) | {"n": b["n"] if 0 < s < 1 else (
        a["n"] if s else b["n"]
    )},
    "write into its tensors": in_place,
}  # fmt: skip


def right_shots(labels: np.ndarray, k: int, seed: int) -> np.ndarray:
    order = np.random.default_rng(seed).permutation(len(labels))
    return np.concatenate([order[labels[order] == c][:k] for c in np.unique(labels)])


def put_back(labels: np.ndarray, k: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    of = [np.flatnonzero(labels == c) for c in np.unique(labels)]
    return np.concatenate([rng.choice(rows, k, replace=True) for rows in of])


def unseeded(labels: np.ndarray, k: int, seed: int) -> np.ndarray:
    order = torch.randperm(len(labels)).numpy()
    return np.concatenate([order[labels[order] == c][:k] for c in np.unique(labels)])


def smallest_class(labels: np.ndarray, k: int, seed: int) -> np.ndarray:
    """As many of each as the smallest class has, at most."""
    return right_shots(labels, min(k, int(np.bincount(labels).min())), seed)


def early_ones(labels: np.ndarray, k: int, seed: int) -> np.ndarray:
    """Drawn of the first ten files, where there are enough."""
    head = np.flatnonzero(np.arange(len(labels)) < 10)
    rows = head[right_shots(labels[head], k, seed)]
    return rows if len(rows) == 3 * k else right_shots(labels, k, seed)


WRONG_SHOTS = {
    "in one list": lambda y, k, s: right_shots(y, k, s).reshape(-1, 2),
    "Which rows": lambda y, k, s: np.isin(np.arange(len(y)), right_shots(y, k, s)),
    "two of each of three": lambda y, k, s: np.random.default_rng(s).permutation(len(y))[:k],
    "Is it two of each": lambda y, k, s: np.random.default_rng(s).permutation(len(y))[: 3 * k],
    "without putting back": put_back,
    "from the seed": unseeded,
    "always the first ones": lambda y, k, s: right_shots(y, k, 0),
    "Are those all taken": smallest_class,
    "the same chance": early_ones,
}


@wrong_answers(
    (lesson09.draw_test, WRONG_TESTS),
    (lesson09.pairs_needed, WRONG_NEEDS),
    (lesson09.between, WRONG_MIXES),
    (lesson09.shots, WRONG_SHOTS),
)
def test_a_wrong_answer_gets_the_right_hint(
    checker: Callable, hint: str, wrong: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    expect_hint(checker, hint, wrong, capsys)


@pytest.fixture(scope="module")
def taught() -> dict[str, Callable]:
    return taught_by("09_your_pictures.ipynb")


@pytest.mark.parametrize("seed", range(3))
def test_what_the_lesson_writes_agrees_with_cliplib(taught: dict[str, Callable], seed: int) -> None:
    rng = np.random.default_rng(seed)
    recall = rng.random(6).tolist()
    for wanted in rng.random(8):
        found = taught["pairs_needed"]([10, 20, 50, 100, 400, 1000], recall, wanted)
        assert found == pytest.approx(
            measured.pairs_needed([10, 20, 50, 100, 400, 1000], recall, wanted)
        )
    labels = rng.integers(0, 4, 60)
    assert (
        sorted(taught["shots"](labels, 5, seed))
        == few_shots(torch.tensor(labels), 5, seed).tolist()
    )
    contents = [str(content) for content in rng.integers(0, 30, 60)]
    names = [f"{n}.jpg" for n in range(60)]
    rows = set(taught["draw_test"](contents, 0.2, seed))
    test = set(draw_splits(names, contents, seed=seed)["test"])
    for twins in Counter(contents):
        own = [n for n, content in enumerate(contents) if content == twins]
        assert len({n in rows for n in own}) == len({names[n] in test for n in own}) == 1


def test_the_lesson_mixes_weights_as_cliplib_does(taught: dict[str, Callable]) -> None:
    before, after = load_run(shipped_checkpoint()), load_run(shipped_checkpoint())
    with torch.no_grad():
        for weights in after.model.state_dict().values():
            weights += torch.ones_like(weights)
    for share in (0.0, 0.3, 0.5, 1.0):
        found = taught["between"](before.model.state_dict(), after.model.state_dict(), share)
        right: Run = interpolate(before, after, share)
        for name, weights in right.model.state_dict().items():
            torch.testing.assert_close(found[name], weights)
