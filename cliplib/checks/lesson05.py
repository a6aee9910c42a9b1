"""Checks of lesson 05: recall, its chance level, a threshold, and answers that may be none."""

from __future__ import annotations

from math import comb

import numpy as np

from cliplib.checks import Yours, check
from cliplib.retrieval import image_to_text_ranks
from cliplib.threshold import find_threshold

OWNERS = np.array([0, 0, 1, 1, 2, 2])  # (M,) two captions of each of three pictures
WORKED = np.array(
    [  # (M, N): picture 0 finds an own caption first, picture 1 second, picture 2 third
        [0.9, 0.8, 0.6],
        [0.1, 0.0, 0.5],
        [0.3, 0.7, 0.1],
        [0.2, 0.1, 0.0],
        [0.4, 0.2, 0.45],
        [0.0, 0.3, 0.2],
    ]
)


def _scores(seed: int, captions: int, pictures: int) -> np.ndarray:
    return np.random.default_rng(seed).random((captions, pictures))  # (M, N)


def image_to_text_recall(yours: Yours) -> None:
    """Exercise 1: scores (M, N), owners (M,) and k in, the share of pictures found out."""
    check("05.1", yours, [_share, _constant, _any_of_its_own, _own_twins, _every_k, _as_library])


def _share(yours: Yours) -> str:
    found = float(yours(WORKED, OWNERS, 1))
    if float(yours(WORKED, OWNERS, 3)) > 1:
        return f"three pictures gave {found:.2f}. Is that a count, and recall a share?"
    if abs(found - 1 / 2) < 1e-6:
        return (
            f"the worked example gave {found:.2f} instead of 0.33. Does each picture (a column) "
            "search among the captions, or each caption among the pictures?"
        )
    if abs(found - 1 / 3) > 1e-6:
        return f"the worked example gave {found:.2f}. Is only picture 0's own caption its best?"
    return ""


def _constant(yours: Yours) -> str:
    found = float(yours(np.zeros((6, 3)), OWNERS, 1))
    if found != 0:
        return (
            f"equal scores for everything gave {found:.2f}. Does a caption of another picture that "
            "scores as high as the best own one come before it?"
        )
    return ""


def _any_of_its_own(yours: Yours) -> str:
    scores = np.where(OWNERS[:, None] == np.arange(3), 0.0, 0.5)
    scores[[0, 2, 4], [0, 1, 2]] = 1.0  # one caption of each picture is best, the other worst
    found = float(yours(scores, OWNERS, 1))
    if found != 1:
        return (
            f"one caption of each picture is the best of all, the other is the worst: {found:.2f}. "
            "Is one of a picture's own captions enough?"
        )
    return ""


def _own_twins(yours: Yours) -> str:
    scores = np.where(OWNERS[:, None] == np.arange(3), 1.0, 0.0)
    found = float(yours(scores, OWNERS, 1))
    if found != 1:
        return (
            f"both own captions are best with equal scores: {found:.2f}. Do a picture's own "
            "captions count against it?"
        )
    return ""


def _every_k(yours: Yours) -> str:
    found = [float(yours(WORKED, OWNERS, k)) for k in (2, 3)]
    if not np.allclose(found, [2 / 3, 1]):
        return f"k = 2 and 3 gave {found[0]:.2f} and {found[1]:.2f}. Does rank k itself count?"
    return ""


def _as_library(yours: Yours) -> str:
    owners = np.random.default_rng(1).permutation(np.repeat(np.arange(20), 5))  # (M,), any order
    scores = _scores(0, 100, 20)
    right = float((image_to_text_ranks(scores, owners) <= 10).mean())
    found = float(yours(scores, owners, 10))
    if abs(found - right) > 1e-6:
        return (
            f"100 captions in any order gave {found:.2f}, expected {right:.2f}. Do you read from "
            "caption_image which captions belong to a picture?"
        )
    return ""


def chance_recall(yours: Yours) -> None:
    """Exercise 2: M captions, m of them right, and k in; the probability out."""
    check("05.2", yours, [_worked_chance, _one_of_many, _five_of_many, _all_drawn, _exactly])


def _worked_chance(yours: Yours) -> str:
    found = float(yours(10, 2, 2))
    if found > 1:
        return f"2 of 10 in 2 guesses gave {found:.2f}. Is it a probability, a share of 1?"
    if abs(found - 0.4) < 1e-9:
        return f"2 of 10 in 2 guesses gave {found:.2f}. Was a draw counted twice that finds both?"
    if abs(found - 0.36) < 1e-9:
        return f"2 of 10 in 2 guesses gave {found:.2f}. Are the guesses different captions?"
    if abs(found - comb(8, 2) / comb(10, 2)) < 1e-9:
        return f"2 of 10 in 2 guesses gave {found:.2f}. Is that the chance to find none?"
    if abs(found - (1 - comb(8, 2) / comb(10, 2))) > 1e-9:
        return f"2 of 10 in 2 guesses gave {found:.2f}. Is it 1 − (8 / 10) · (7 / 9)?"
    return ""


def _one_of_many(yours: Yours) -> str:
    found = float(yours(1000, 1, 10))
    if abs(found - 0.01) > 1e-9:
        return f"1 of 1,000 in 10 guesses gave {found:.4f}. Is that 10 / 1,000?"
    return ""


def _five_of_many(yours: Yours) -> str:
    found, right = float(yours(5000, 5, 10)), 1 - comb(4995, 10) / comb(5000, 10)
    if abs(found - right) > 1e-9:
        return f"5 of 5,000 in 10 guesses gave {found:.5f}, expected {right:.5f}. Do all 5 count?"
    return ""


def _all_drawn(yours: Yours) -> str:
    found = float(yours(6, 2, 5))
    if abs(found - 1) > 1e-9:
        return f"2 of 6 in 5 guesses gave {found:.2f}. Can 5 guesses leave both out?"
    return ""


def _exactly(yours: Yours) -> str:
    for captions, own, k in ((12, 3, 4), (30, 5, 7)):
        found = float(yours(captions, own, k))
        right = 1 - comb(captions - own, k) / comb(captions, k)
        if abs(found - right) > 1e-9:
            return f"{own} of {captions} in {k} guesses gave {found:.4f}. Is each draw one fewer?"
    return ""


def threshold(yours: Yours) -> None:
    """Exercise 3: best scores of absent queries (Q,) and a false-alarm rate in, a cosine out."""
    check("05.3", yours, [_ten_by_hand, _no_alarm, _order, _ties, _never_more, _library_threshold])


TEN = np.array([0.31, 0.58, 0.44, 0.72, 0.39, 0.65, 0.50, 0.47, 0.61, 0.28])


def _ten_by_hand(yours: Yours) -> str:
    found = float(yours(TEN, 0.2))
    if abs(found - 0.61) < 1e-6:
        return ""
    alarms = int((found < TEN).sum())
    if alarms > 2:
        return (
            f"the ten scores gave {found:.2f}, and {alarms} of 10 lie above it. Are 2 of 10 "
            "allowed, the highest ones?"
        )
    return (
        f"the ten scores gave {found:.2f}; {alarms} of 10 lie above it. Is there a lower score "
        "above which at most 2 lie?"
    )


def _no_alarm(yours: Yours) -> str:
    found = float(yours(TEN, 0.0))
    if abs(found - 0.72) > 1e-6:
        return f"rate 0 gave {found:.2f}. Which score is the lowest that nothing lies above?"
    return ""


def _order(yours: Yours) -> str:
    found = float(yours(TEN[::-1].copy(), 0.2))
    if abs(found - 0.61) > 1e-6:
        return f"the same ten in another order gave {found:.2f}. Did you sort them?"
    return ""


def _ties(yours: Yours) -> str:
    tied = np.array([0.9, 0.8, 0.8, 0.8, 0.1])
    found = float(yours(tied, 0.4))
    if (tied > found).mean() > 0.4 or abs(found - 0.8) > 1e-6:
        return f"with three equal scores of 0.8, rate 0.4 gave {found:.2f}. May ties be split?"
    return ""


def _never_more(yours: Yours) -> str:
    for rate in (0.29, 0.05, 0.015):
        absent = np.random.default_rng(2).random(100)
        share = float((absent > float(yours(absent, rate))).mean())
        if share > rate + 1e-9:
            return (
                f"at rate {rate} the threshold lets {share:.3f} through. Is the number allowed "
                "rounded down?"
            )
    return ""


def _library_threshold(yours: Yours) -> str:
    absent = np.random.default_rng(3).normal(0.5, 0.1, 400)
    found, right = float(yours(absent, 0.05)), find_threshold(absent, 0.05)
    if abs(found - right) > 1e-6:
        return f"400 scores gave {found:.4f}, expected {right:.4f}. Is it one of the scores?"
    return ""


def matches(yours: Yours) -> None:
    """Exercise 4: scores (N,) of one query and a threshold in, a list of rows out, best first."""
    check("05.4", yours, [_a_list, _best_first, _nothing_matches, _only_above, _all_of_them])


FIVE = np.array([0.2, 0.7, 0.5, 0.9, 0.1])


def _rows(result: object) -> list[int]:
    return [int(row) for row in result]


def _a_list(yours: Yours) -> str:
    result = yours(FIVE, 0.4)
    if isinstance(result, str) or not hasattr(result, "__iter__"):
        return f"a {type(result).__name__} came back. Should it be a list of rows?"
    if any(float(row) != int(row) for row in result):
        return f"{list(result)} came back. Are those scores instead of rows?"
    return ""


def _best_first(yours: Yours) -> str:
    found = _rows(yours(FIVE, 0.4))
    if found == [3, 1, 2]:
        return ""
    if sorted(found) == [1, 2, 3]:
        return f"rows {found} came back for scores 0.2, 0.7, 0.5, 0.9, 0.1. Is the best one first?"
    return f"rows {found} came back, and 0.7, 0.5 and 0.9 are above 0.4. Which rows are they in?"


def _nothing_matches(yours: Yours) -> str:
    found = _rows(yours(FIVE, 0.95))
    if found:
        return f"nothing is above 0.95, and rows {found} came back. Is an empty list an answer?"
    return ""


def _only_above(yours: Yours) -> str:
    found = _rows(yours(FIVE, 0.5))
    if 2 in found:
        return "row 2 scores exactly 0.5, the threshold. Does an answer have to be above it?"
    return "" if found == [3, 1] else f"above 0.5 are rows 3 and 1, not {found}. Which got lost?"


def _all_of_them(yours: Yours) -> str:
    scores = _scores(4, 50, 1)[:, 0]
    found = _rows(yours(scores, 0.3))
    expected = [int(row) for row in np.argsort(-scores) if scores[row] > 0.3]
    if found != expected:
        return f"of 50 scores {len(expected)} are above 0.3; {len(found)} rows came back. Are all?"
    return ""
