"""recall@k, its chance level and its ceiling against implementations that are not ours."""

from itertools import combinations

import numpy as np
import pytest
import torch
from torchmetrics.functional.retrieval import retrieval_hit_rate

from cliplib.retrieval import (
    RECALL_AT,
    ceiling_recalls,
    chance_recalls,
    first_answer_true,
    image_to_text_ranks,
    measure,
    recalls,
    text_to_image_ranks,
)

UNEVEN = np.repeat(np.arange(30), [1, 2, 3, 4, 5] * 6)  # (90,) captions of 30 pictures

# Three pictures, four captions; the last two belong to picture 2.
HAND_WORKED = np.array(
    [
        [0.9, 0.1, 0.2],  # own 0.9: rank 1
        [0.5, 0.4, 0.6],  # own 0.4: rank 3
        [0.3, 0.7, 0.5],  # own 0.5: rank 2
        [0.8, 0.0, 0.1],  # own 0.1: rank 2
    ]
)
HAND_OWNERS = np.array([0, 1, 2, 2])


def random_scores(seed: int, owners: np.ndarray) -> np.ndarray:
    """Scores without ties, in which a caption's own picture is somewhat better than by chance."""
    rng = np.random.default_rng(seed)
    scores = rng.permutation(len(owners) * (owners.max() + 1)).reshape(len(owners), -1)
    scores = scores / scores.size  # (M, N)
    scores[np.arange(len(owners)), owners] += 0.3 + 1e-7
    return scores


def hit_rate(scores: np.ndarray, own: np.ndarray, k: int) -> float:
    """torchmetrics, query by query: the share whose best k hold one of the query's own."""
    found = [
        retrieval_hit_rate(torch.tensor(row), torch.tensor(mine), top_k=k)
        for row, mine in zip(scores, own, strict=True)
    ]
    return float(np.mean(found))


@pytest.mark.parametrize("seed", range(3))
def test_recalls_agree_with_torchmetrics(seed: int) -> None:
    scores = random_scores(seed, UNEVEN)
    own = UNEVEN[:, None] == np.arange(30)  # (M, N)
    found = recalls(scores, UNEVEN)
    for k in RECALL_AT:
        assert found[f"t2i_r{k}"] == pytest.approx(hit_rate(scores, own, k))
        assert found[f"i2t_r{k}"] == pytest.approx(hit_rate(scores.T, own.T, k))
    assert 0.1 < found["t2i_r1"] < found["t2i_r10"] < 1  # not decided by all or nothing


def test_captions_may_stand_in_any_order() -> None:
    scores = random_scores(0, UNEVEN)
    order = np.random.default_rng(1).permutation(len(UNEVEN))
    assert recalls(scores[order], UNEVEN[order]) == recalls(scores, UNEVEN)


def test_ranks_worked_by_hand() -> None:
    assert text_to_image_ranks(HAND_WORKED, HAND_OWNERS).tolist() == [1, 3, 2, 2]
    # picture 0: own 0.9 is best. 1: own 0.4, below 0.7. 2: best own 0.5, below 0.6.
    assert image_to_text_ranks(HAND_WORKED, HAND_OWNERS).tolist() == [1, 2, 2]


def test_recalls_worked_by_hand() -> None:
    found = recalls(HAND_WORKED, HAND_OWNERS)
    assert found["t2i_r1"] == 0.25
    assert found["i2t_r1"] == pytest.approx(1 / 3)
    assert found["t2i_r5"] == found["i2t_r5"] == 1
    assert (found["gallery_images"], found["gallery_captions"]) == (3, 4)


def test_median_rank_of_an_even_number_of_queries_lies_between_the_middle_two() -> None:
    found = recalls(HAND_WORKED, HAND_OWNERS)
    assert (found["t2i_median_rank"], found["i2t_median_rank"]) == (2, 2)
    best = recalls(np.eye(4), np.arange(4))
    assert (best["t2i_median_rank"], best["i2t_median_rank"]) == (1, 1)
    half = np.eye(4)
    half[2:] = [[1, 0, 0.5, 0.2], [1, 0.3, 0.5, 0.1]]  # ranks of the captions: 1, 1, 2, 4
    assert recalls(half, np.arange(4))["t2i_median_rank"] == 1.5


def test_constant_vectors_find_nothing() -> None:
    found = recalls(np.zeros((90, 30)), UNEVEN)
    assert [found[f"{way}_r{k}"] for way in ("t2i", "i2t") for k in RECALL_AT] == [0] * 6


def test_one_tie_with_the_wrong_answer_costs_the_first_place() -> None:
    scores = np.eye(20)
    scores[0, 1] = 1.0  # caption 0 fits picture 1 as well as its own
    found = recalls(scores, np.arange(20))
    assert (found["t2i_r1"], found["i2t_r1"]) == (0.95, 0.95)


def test_equal_captions_of_one_picture_do_not_count_against_it() -> None:
    scores = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    assert recalls(scores, np.array([0, 0, 1]))["i2t_r1"] == 1


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_scores_that_are_not_numbers_raise(bad: float) -> None:
    scores = HAND_WORKED.copy()
    scores[1, 0] = bad
    with pytest.raises(ValueError, match="not finite"):
        recalls(scores, HAND_OWNERS)


@pytest.mark.parametrize("owners", [[0, 1, 2], [0, 1, 1, 1], [0, 1, 2, 3]])
def test_owners_that_do_not_fit_raise(owners: list[int]) -> None:
    with pytest.raises(ValueError, match="caption_image"):
        recalls(HAND_WORKED, np.array(owners))


def test_chance_agrees_with_guessing() -> None:
    rng = np.random.default_rng(0)
    guessed = [recalls(rng.random((90, 30)), UNEVEN) for _ in range(400)]
    for name, expected in chance_recalls(UNEVEN).items():
        assert np.mean([found[name] for found in guessed]) == pytest.approx(expected, abs=0.012)


def test_chance_in_a_gallery_smaller_than_k_is_certainty() -> None:
    assert chance_recalls(HAND_OWNERS) == {
        "t2i_r1": pytest.approx(1 / 3),
        "t2i_r5": 1.0,
        "t2i_r10": 1.0,
        "i2t_r1": pytest.approx((0.25 + 0.25 + 0.5) / 3),
        "i2t_r5": 1.0,
        "i2t_r10": 1.0,
    }


TRUTH = np.random.default_rng(3).random((60, 20)) < 0.25  # (M, N): about 15 true captions each
THREE_EACH = np.repeat(np.arange(20), 3)
TRUTH[np.arange(60), THREE_EACH] = True


def test_ceiling_agrees_with_a_reader_who_guesses_among_the_true() -> None:
    rng = np.random.default_rng(4)
    read = [recalls(TRUTH + 0.5 * rng.random(TRUTH.shape), THREE_EACH) for _ in range(600)]
    for name, expected in ceiling_recalls(TRUTH, THREE_EACH).items():
        assert np.mean([found[name] for found in read]) == pytest.approx(expected, abs=0.012)


def test_ceiling_agrees_with_enumeration() -> None:
    ceiling = ceiling_recalls(TRUTH, THREE_EACH)
    true_pictures = [row.sum() for row in TRUTH]
    for k in RECALL_AT:
        by_hand = sum(min(1, k / n) for n in true_pictures) / len(true_pictures)
        assert ceiling[f"t2i_r{k}"] == pytest.approx(by_hand)
    for k in (1, 5):
        found = [share_of_draws_with_own(int(n), 3, k) for n in TRUTH.sum(0)]
        assert ceiling[f"i2t_r{k}"] == pytest.approx(np.mean(found))


def share_of_draws_with_own(true: int, own: int, k: int) -> float:
    draws = list(combinations(range(true), min(k, true)))  # the first `own` of them are its own
    return sum(min(draw) < own for draw in draws) / len(draws)


def test_ceiling_of_captions_true_of_one_picture_alone_is_one() -> None:
    own_only = THREE_EACH[:, None] == np.arange(20)
    assert set(ceiling_recalls(own_only, THREE_EACH).values()) == {1.0}


def test_first_answer_true_counts_any_true_picture_and_ties_against() -> None:
    truth = np.array([[1, 1, 0], [1, 1, 0], [1, 1, 0], [1, 1, 0]], bool)
    scores = np.array(
        [
            [0.1, 0.9, 0.5],  # the best is true, though not the first
            [0.1, 0.2, 0.5],  # the best is false
            [0.5, 0.2, 0.5],  # a tie between true and false
            [0.5, 0.5, 0.1],  # a tie between two that are true
        ]
    )
    assert first_answer_true(scores, truth) == 0.5


def test_measure_adds_what_only_a_known_truth_allows() -> None:
    rng = np.random.default_rng(5)
    images = torch.tensor(rng.normal(size=(20, 8)), dtype=torch.float32)
    texts = images[torch.tensor(THREE_EACH)] + 2 * torch.tensor(
        rng.normal(size=(60, 8)), dtype=torch.float32
    )
    plain = measure(images, texts, THREE_EACH)
    full = measure(images, texts, THREE_EACH, TRUTH)
    assert plain == recalls((texts @ images.T).numpy(), THREE_EACH)
    assert full.items() >= plain.items()
    ceiling = ceiling_recalls(TRUTH, THREE_EACH)
    assert full["t2i_r5_ceiling"] == ceiling["t2i_r5"] < 1
    assert full["t2i_r5_of_ceiling"] == plain["t2i_r5"] / ceiling["t2i_r5"]
    assert full["first_answer_true"] == first_answer_true((texts @ images.T).numpy(), TRUTH)
