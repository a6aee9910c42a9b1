"""Checks of lesson 00: the best caption of a row, and how often the diagonal wins."""

from __future__ import annotations

import numpy as np

from cliplib.checks import Yours, check

WORKED = np.array([0.1, 0.7, 0.3])  # (K,)
TOY = np.array([[0.9, 0.7, 0.1], [0.3, 0.6, 0.5], [0.8, 0.1, 0.8]])  # (N, N), row 2 is a tie


def best_match(yours: Yours) -> None:
    """Exercise 1: scores (K,) in, the position of the highest out."""
    check("00.1", yours, [_a_position, _first_and_last, _below_zero, _far_from_zero, _as_numpy])


def _a_position(yours: Yours) -> str:
    found = float(yours(WORKED.copy()))
    if abs(found - 0.7) < 1e-6:
        return "0.1, 0.7, 0.3 gave 0.7. Is that the highest score instead of where it stands?"
    if found == 2:
        return "0.1, 0.7, 0.3 gave 2. Do you count from 0, as Python does?"
    if found == 0:
        return "0.1, 0.7, 0.3 gave 0. Is that where the lowest score stands?"
    return "" if found == 1 else f"0.1, 0.7, 0.3 gave {found:g}. Where does 0.7 stand?"


def _first_and_last(yours: Yours) -> str:
    for scores, right in (([0.8, 0.2, 0.5], 0), ([0.1, 0.2, 0.3, 0.4], 3)):
        found = float(yours(np.array(scores)))
        if found != right:
            told = ", ".join(map(str, scores))
            return f"{told} gave {found:g}. Do you look at every score, the first and last too?"
    return ""


def _below_zero(yours: Yours) -> str:
    found = float(yours(np.array([-0.4, -0.3, -0.1, -0.2])))
    if found != 2:
        return f"-0.4, -0.3, -0.1, -0.2 gave {found:g}. Can the highest score lie below 0?"
    return ""


def _far_from_zero(yours: Yours) -> str:
    found = float(yours(np.array([0.3, -0.9, 0.5])))
    if found != 2:
        return f"0.3, -0.9, 0.5 gave {found:g}. Is -0.9 a good fit, because it is far from 0?"
    return ""


def _as_numpy(yours: Yours) -> str:
    scores = np.random.default_rng(0).uniform(-1, 1, 50)  # (K,)
    found, right = float(yours(scores)), int(scores.argmax())
    if found != right:
        return f"50 scores gave {found:g}, expected {right}. Does it work for any number of them?"
    return ""


def rows_won(yours: Yours) -> None:
    """Exercise 2: a matrix (N, N) in, the number of rows that its diagonal wins out."""
    check("00.2", yours, [_toy, _ties, _rows_not_columns, _negative, _left_alone, _any_size])


def _toy(yours: Yours) -> str:
    found = float(yours(TOY.copy()))
    if found == 3:
        return "the worked matrix gave 3. Does row 2, where 0.8 stands twice, win?"
    if abs(found - 2 / 3) < 1e-6:
        return f"the worked matrix gave {found:.2f}. Is that a share, and a count asked for?"
    return "" if found == 2 else f"the worked matrix gave {found:g}. Are rows 0 and 1 won?"


def _ties(yours: Yours) -> str:
    found = float(yours(np.ones((4, 4))))
    if found:
        return f"a matrix of equal scores gave {found:g}. Does the diagonal win against its equals?"
    return ""


def _rows_not_columns(yours: Yours) -> str:
    matrix = np.array([[0.5, 0.9, 0.1], [0.2, 0.6, 0.1], [0.3, 0.8, 0.7]])
    found = float(yours(matrix))
    if found == 2:
        return "a matrix with 1 row and 2 columns won gave 2. Do you compare within a row?"
    return "" if found == 1 else f"a matrix with 1 row won gave {found:g}. Do you count each row?"


def _negative(yours: Yours) -> str:
    matrix = np.full((3, 3), -0.8) + 0.5 * np.eye(3)  # -0.3 on the diagonal
    found = float(yours(matrix))
    if found != 3:
        return (
            f"-0.3 on the diagonal and -0.8 beside it gave {found:g} of 3. Can a score below 0 be "
            "the largest of its row?"
        )
    return ""


def _left_alone(yours: Yours) -> str:
    matrix = TOY.copy()
    yours(matrix)
    if not np.array_equal(matrix, TOY):
        return "the matrix that went in was changed. Do you write into it instead of into a copy?"
    return ""


def _any_size(yours: Yours) -> str:
    matrix = np.random.default_rng(1).random((30, 30)) + 0.8 * np.eye(30)
    right = int(((matrix >= matrix.diagonal()[:, None]).sum(1) == 1).sum())
    found = float(yours(matrix))
    if found != right:
        return f"30 rows gave {found:g}, expected {right}. Is each diagonal entry met by its row?"
    return ""
