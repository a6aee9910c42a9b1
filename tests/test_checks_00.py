"""Wrong answers to lesson 00's exercises, and its solution against cliplib's own."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from test_checks import expect_hint, namespace_of, solutions, wrong_answers

from cliplib.checks import lesson00
from cliplib.retrieval import text_to_image_ranks


@pytest.fixture(autouse=True)
def own_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPLIB_DATA", str(tmp_path))


def starts_at_zero(scores: np.ndarray) -> int:
    best, at = 0.0, 0
    for i, score in enumerate(scores):
        if score > best:
            best, at = score, i
    return at


def beside(matrix: np.ndarray, instead: float) -> np.ndarray:
    return np.where(np.eye(len(matrix), dtype=bool), instead, matrix)


def masks_in_place(matrix: np.ndarray) -> int:
    own = matrix.diagonal().copy()
    np.fill_diagonal(matrix, -np.inf)
    return int((own > matrix.max(1)).sum())


WRONG_MATCHES = {
    "the highest score instead of where": lambda s: s.max(),
    "count from 0": lambda s: s.argmax() + 1,
    "where the lowest": lambda s: s.argmin(),
    "the first and last too": lambda s: 1 + s[1:].argmax(),
    "lie below 0": starts_at_zero,
    "far from 0": lambda s: len(s) - 1 - np.abs(s)[::-1].argmax() if s.max() > 0 else s.argmax(),
    "any number of them": lambda s: s[:10].argmax(),
}
WRONG_COUNTS = {
    "0.8 stands twice": lambda m: (m.diagonal() >= m.max(1)).sum(),
    "a share": lambda m: (m.diagonal() > beside(m, -9).max(1)).mean(),
    "Are rows 0 and 1 won": lambda m: len(m) - 2 * (m.diagonal() > beside(m, -9).max(1)).sum(),
    "against its equals": lambda m: (
        (m.diagonal() > beside(m, -9).max(1)).sum() + (m.min() == m.max())
    ),
    "within a row": lambda m: (m.diagonal() > beside(m, -9).max(0)).sum(),
    "below 0 be the largest": lambda m: (m.diagonal() > beside(m, 0).max(1)).sum(),
    "was changed. Do you": masks_in_place,
    "met by its row": lambda m: (m.diagonal()[:9] > beside(m, -9).max(1)[:9]).sum(),
}


@wrong_answers(
    (lesson00.best_match, WRONG_MATCHES),
    (lesson00.rows_won, WRONG_COUNTS),
)
def test_a_wrong_answer_gets_the_right_hint(
    checker: Callable, hint: str, wrong: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    expect_hint(checker, hint, wrong, capsys)


@pytest.mark.parametrize("seed", range(3))
def test_rows_won_are_the_ranks_that_are_one(seed: int) -> None:
    names = namespace_of("00_start_here.ipynb")
    for solution in solutions("00_start_here.ipynb"):
        exec(solution, names)
    matrix = np.random.default_rng(seed).random((20, 20)).round(1) + 0.4 * np.eye(20)  # with ties
    ranks = text_to_image_ranks(matrix, np.arange(20))  # (20,) of each row
    assert names["rows_won"](matrix) == (ranks == 1).sum()
