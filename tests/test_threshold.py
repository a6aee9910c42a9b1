"""Thresholds: counted by hand, against brute force, and their figures."""

from collections.abc import Iterator

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import binary_calibration_error

from cliplib import plots_scores
from cliplib.threshold import (
    answered,
    best_absent,
    calibration_error,
    find_threshold,
    matches,
    reliability,
    share_words,
)

TEN = np.array([0.31, 0.58, 0.44, 0.72, 0.39, 0.65, 0.50, 0.47, 0.61, 0.28])


@pytest.fixture(autouse=True)
def figures_are_closed() -> Iterator[None]:
    yield
    plt.close("all")


@pytest.mark.parametrize(("rate", "expected"), [(0.0, 0.72), (0.1, 0.65), (0.2, 0.61), (0.9, 0.28)])
def test_threshold_by_hand(rate: float, expected: float) -> None:
    assert find_threshold(TEN, rate) == expected


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("rate", [0.0, 0.015, 0.05, 0.29, 0.5])
def test_threshold_is_the_lowest_that_keeps_the_rate(seed: int, rate: float) -> None:
    absent = np.random.default_rng(seed).random(100).round(2)  # with ties
    threshold = find_threshold(absent, rate)
    assert answered(absent, threshold) <= rate + 1e-12
    lower = absent[absent < threshold]
    assert all((absent > score).mean() > rate for score in lower)


def test_ties_with_the_threshold_are_refused() -> None:
    tied = np.array([0.9, 0.8, 0.8, 0.8, 0.1])
    assert find_threshold(tied, 0.4) == 0.8
    assert answered(tied, 0.8) == 0.2


@pytest.mark.parametrize("rate", [-0.1, 1.0, 10.0])
def test_a_rate_that_is_no_share_raises(rate: float) -> None:
    with pytest.raises(ValueError, match="false_alarm_rate"):
        find_threshold(TEN, rate)


@pytest.mark.parametrize("absent", [[], [0.2, np.nan], [0.2, -np.inf]])
def test_scores_without_a_number_raise(absent: list[float]) -> None:
    with pytest.raises(ValueError, match="absent"):
        find_threshold(np.array(absent), 0.1)


def test_best_absent_hides_every_picture_that_fits() -> None:
    scores = np.array([[0.9, 0.8, 0.1], [0.2, 0.3, 0.4]])
    fits = np.array([[True, True, False], [False, False, True]])
    assert best_absent(scores, fits).tolist() == [0.1, 0.3]


def test_best_absent_says_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="shape"):
        best_absent(np.zeros((2, 3)), np.zeros((3, 2), bool))
    with pytest.raises(ValueError, match="Query 1 fits every picture"):
        best_absent(np.zeros((2, 2)), np.array([[True, False], [True, True]]))


def test_a_caption_shares_its_words_but_not_the_common_ones() -> None:
    captions = ["A red boat.", "the boat at night", "a cat", "a dog on the grass", "grass, a lawn"]
    shared = share_words(captions, np.array([0, 0, 1, 2, 3]))
    expected = [
        [True, False, False, False],  # "a" stands with every picture
        [True, False, True, False],  # "the" with two of four
        [False, True, False, False],
        [True, False, True, True],
        [False, False, True, True],
    ]
    assert shared.tolist() == expected


def test_capital_letters_make_no_other_word() -> None:
    captions = ["Boats at night", "two boats", "a cat", "a house", "snow"]
    assert share_words(captions, np.arange(5))[0].tolist() == [True, True, False, False, False]


def test_a_gallery_of_one_picture_shares_it() -> None:
    assert share_words(["a boat", "a red boat"], np.array([0, 0])).tolist() == [[True], [True]]


def test_matches_are_above_and_best_first() -> None:
    scores = np.array([0.2, 0.7, 0.5, 0.9, 0.1])
    assert matches(scores, 0.5) == [3, 1]
    assert matches(scores, 0.95) == []
    assert matches(scores, -1.0) == [3, 1, 2, 0, 4]


@pytest.mark.parametrize("seed", range(3))
def test_calibration_error_agrees_with_torchmetrics(seed: int) -> None:
    rng = np.random.default_rng(seed)
    claimed = 0.5 + 0.5 * rng.random(500)  # torchmetrics turns claims below a half around
    right = rng.random(500) < claimed**2
    expected = binary_calibration_error(torch.tensor(claimed), torch.tensor(right).int(), n_bins=10)
    assert calibration_error(claimed, right) == pytest.approx(float(expected), abs=1e-4)
    assert reliability(claimed, right)[2].sum() == 500


def test_calibration_error_by_hand() -> None:
    claimed = np.array([0.95, 0.95, 0.15, 1.0])
    right = np.array([True, False, False, True])
    # step 9: claims 2.9 / 3, right 2 / 3; step 1: claims 0.15, right 0
    expected = (3 * (2.9 / 3 - 2 / 3) + 0.15) / 4
    assert calibration_error(claimed, right) == pytest.approx(expected)
    assert len(reliability(claimed, right)[0]) == 2  # empty steps are left out


@pytest.mark.parametrize("claimed", [[1.2], [-0.1], [0.5, 0.5], [np.nan]])
def test_claims_that_are_no_probabilities_raise(claimed: list[float]) -> None:
    with pytest.raises(ValueError, match="probability"):
        reliability(np.array(claimed), np.array([True]))


def test_distributions_say_what_is_above_the_threshold() -> None:
    groups = {"true": np.array([0.6, 0.8, 0.9, 0.4]), "false": np.array([0.1, 0.7, 0.0, 0.2])}
    sentence = plots_scores.score_distributions(groups, 0.5)
    assert "75.0% of true, 25.0% of false" in sentence
    assert "true: half lie above 0.70" in sentence
    assert "threshold" not in plots_scores.score_distributions(groups).lower()


def test_reliability_curve_reads_its_gaps() -> None:
    claimed, right = np.full(10, 0.9), np.arange(10) < 5
    sentence = plots_scores.reliability_curve({"softmax": (claimed, right)})
    assert sentence == "softmax: claims 90% on average, is right in 50%; mean gap 40 points."
    axes = plt.gca()
    assert axes.get_xlabel() == "claimed probability"
    assert axes.get_ylabel() == "share that was right"


def test_recall_by_gallery_names_both_ends() -> None:
    sentence = plots_scores.recall_by_gallery([10, 100], {"model": [0.9, 0.4]}, 32)
    assert sentence == "model: 90.0% among 10, 40.0% among 100."
    with pytest.raises(ValueError, match="2 values"):
        plots_scores.recall_by_gallery([10, 100], {"model": [0.9]}, 32)


@pytest.mark.parametrize("count", [0, 4])
def test_groups_that_cannot_be_told_apart_raise(count: int) -> None:
    with pytest.raises(ValueError, match="named groups"):
        plots_scores.score_distributions({str(i): np.array([0.1, 0.2]) for i in range(count)})
