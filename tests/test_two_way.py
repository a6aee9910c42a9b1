"""False captions that are certainly false, choices of two, hard negatives, the best scale."""

from __future__ import annotations

import re
from random import Random

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from cliplib import two_way
from cliplib.hard_negatives import DENIALS, denials, deny, loss_with_negatives
from cliplib.loss import contrastive_loss
from cliplib.model import unit
from cliplib.picturebook import compose, plan_page
from cliplib.scenes import KINDS, Meaning, Phrase, Scene, describes
from cliplib.threshold import best_scale, softmax
from cliplib.two_way import choices, right_of_two, say, swap_words

CAT_AND_HOUSE = compose("red cat", "orange house")
CHANGES = (
    two_way.other_side,
    two_way.swapped_colours,
    two_way.absent_colour,
    two_way.absent_kind,
    two_way.other_count,
    two_way.counted_kind,
)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [plan_page("val", number).scene for number in range(150)]


@pytest.mark.parametrize(
    ("caption", "one", "other", "swapped"),
    [
        ("a red cat and an orange house", "red", "orange", "an orange cat and a red house"),
        ("an orange cat and a red house", "red", "orange", "a red cat and an orange house"),
        ("a cat to the left of a house", "left", "right", "a cat to the right of a house"),
        ("a red cat covered by a blue tent", "blue", "red", "a blue cat covered by a red tent"),
        ("a red", "red", "blue", "a blue"),
    ],
)
def test_two_words_change_places(caption: str, one: str, other: str, swapped: str) -> None:
    assert swap_words(caption, one, other) == swapped
    assert swap_words(swapped, one, other) == caption


def test_a_caption_without_either_word_is_no_false_caption() -> None:
    with pytest.raises(ValueError, match="Neither 'left' nor 'right' is a word of 'a cat'"):
        swap_words("a cat", "left", "right")


def test_what_a_meaning_says() -> None:
    orange = Phrase("house", "orange")
    assert say(Meaning((Phrase("cat", "red"), orange))) == "a red cat and an orange house"
    beside = Meaning((orange, Phrase("cat")), "left of")
    assert say(beside) == "an orange house to the left of a cat"
    assert say(Meaning((Phrase("butterfly", count=3),))) == "three butterflies"


def words_of(choice: two_way.Choice) -> tuple[list[str], list[str]]:
    """Both captions as sorted words, articles alike."""
    return tuple(
        sorted("a" if word == "an" else word for word in caption.split())
        for caption in (choice.true, choice.false)
    )


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_the_first_is_true_and_the_second_is_false(
    change: two_way.PairOf, scenes: list[Scene]
) -> None:
    random = Random(3)
    pairs = [pair for pair in (change(scene, random) for scene in scenes) if pair]
    found = choices(scenes, change, seed=3)
    assert 10 < len(found) <= len(pairs)
    said = {(say(true), say(false)) for true, false in pairs}
    assert {(choice.true, choice.false) for choice in found} <= said
    meanings = {say(meaning): meaning for pair in pairs for meaning in pair}
    for choice in found:
        assert describes(meanings[choice.true], scenes[choice.row])
        assert not describes(meanings[choice.false], scenes[choice.row])


def test_swaps_keep_the_words_and_controls_do_not(scenes: list[Scene]) -> None:
    for choice in choices(scenes, two_way.other_side):
        assert choice.false == swap_words(choice.true, "left", "right")
    for choice in choices(scenes, two_way.swapped_colours):
        true, false = words_of(choice)
        assert true == false and choice.true != choice.false
    for change in (two_way.absent_colour, two_way.absent_kind):
        for choice in choices(scenes, change):
            true, false = words_of(choice)
            assert true != false and len(true) == len(false)


def test_counts_change_alone(scenes: list[Scene]) -> None:
    for choice in choices(scenes, two_way.other_count):
        assert {choice.true.split()[0], choice.false.split()[0]} == {"two", "three"}
        assert choice.true.split()[1:] == choice.false.split()[1:]
    for choice in choices(scenes, two_way.counted_kind):
        assert choice.true.split()[0] == choice.false.split()[0]
        assert choice.true != choice.false


def test_what_would_be_true_all_the_same_is_left_out() -> None:
    both = compose("red cat", "blue house", "red house")  # "a blue cat and a red house": false
    assert not choices([compose("red cat", "red house")], two_way.swapped_colours)
    assert not choices([compose("red cat", "blue cat")], two_way.swapped_colours)
    assert not choices([compose("red cat")], two_way.other_side)
    for choice in choices([both] * 20, two_way.swapped_colours):
        assert "cat" in choice.true and "blue cat" in choice.false
    twice = compose("red cat", "blue house", "blue cat")
    for choice in choices([twice] * 20, two_way.swapped_colours):
        assert choice.false in ("a blue house and a blue cat", "a red house and a blue cat",
                                "a blue cat and a red house")  # fmt: skip


def test_a_change_that_changes_nothing_is_left_out() -> None:
    same = Meaning((Phrase("cat", "red"),))
    other = Meaning((Phrase("cat", "blue"),))
    assert not choices([CAT_AND_HOUSE], lambda scene, random: (same, same))
    assert not choices([CAT_AND_HOUSE], lambda scene, random: (other, same))
    assert len(choices([CAT_AND_HOUSE], lambda scene, random: (same, other))) == 1


def test_controls_name_what_is_not_there_at_once(scenes: list[Scene]) -> None:
    """None has to be left out because by chance it is true."""
    for change in (two_way.absent_colour, two_way.absent_kind, two_way.counted_kind):
        random = Random(0)
        askable = sum(change(scene, random) is not None for scene in scenes)
        assert len(choices(scenes, change)) == askable


def test_the_same_seed_makes_the_same_choices(scenes: list[Scene]) -> None:
    assert choices(scenes, two_way.other_side) == choices(scenes, two_way.other_side)
    assert choices(scenes, two_way.other_side) != choices(scenes, two_way.other_side, seed=1)


def test_right_of_two_counts_ties_half() -> None:
    true, false = np.array([0.9, 0.4, 0.5, 0.7]), np.array([0.3, 0.4, 0.6, 0.1])
    assert right_of_two(true, false) == 0.625
    assert right_of_two(false, true) == 0.375
    for wrong in (false[:3], np.array([]), false[:, None]):
        with pytest.raises(ValueError, match="one cosine each for every choice"):
            right_of_two(true[: len(wrong)] if wrong.ndim > 1 or not len(wrong) else true, wrong)


def test_a_denial_names_what_is_not_there_and_its_negative_what_is() -> None:
    random, seen = Random(0), set()
    for _ in range(60):
        true, false = denials("A red house.", ["house"], ["tree", "umbrella"], random)
        assert true.startswith("A red house") and not re.search(r"\bno house|out a house", true)
        assert re.search(r"(no|without a) house$", false)
        assert len(true.split()) == len(false.split()) and "." not in true + false
        seen.add(re.sub("tree|umbrella|house", "…", true.replace(" an ", " a ")))
    assert len(seen) == len(DENIALS)
    assert deny("A cat", "umbrella", DENIALS[1]) == "A cat without an umbrella"
    assert denials("A cat", [], ["tree"], random)[1] == ""
    with pytest.raises(ValueError, match="absent is empty"):
        denials("A cat", list(KINDS), [], random)


def rows(seed: int, count: int) -> torch.Tensor:
    return unit(torch.randn(count, 6, generator=torch.Generator().manual_seed(seed)).double())


def test_the_loss_with_negatives_by_hand() -> None:
    images, texts = torch.eye(2).double(), torch.eye(2).double()
    negative = torch.tensor([[0.6, 0.8]]).double()
    found = loss_with_negatives(images, texts, negative, torch.tensor(2.0))
    e = np.exp
    pictures = -np.log(e(2) / (e(2) + 1 + e(1.2))) - np.log(e(2) / (e(2) + 1 + e(1.6)))
    captions = -2 * np.log(e(2) / (e(2) + 1))
    assert found.item() == pytest.approx((pictures / 2 + captions / 2) / 2)


def test_without_negatives_it_is_the_loss_of_before_and_with_them_larger() -> None:
    images, texts, scale = rows(0, 5), rows(1, 5), torch.tensor(7.0)
    before = contrastive_loss(images, texts, scale)
    torch.testing.assert_close(loss_with_negatives(images, texts, rows(2, 0), scale), before)
    assert loss_with_negatives(images, texts, rows(2, 3), scale) > before


@pytest.mark.parametrize(
    ("texts", "negatives"), [(rows(1, 4), rows(2, 3)), (rows(1, 5), rows(2, 3)[:, :4])]
)
def test_shapes_that_do_not_fit_are_told(texts: torch.Tensor, negatives: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="loss_with_negatives needs images and texts"):
        loss_with_negatives(rows(0, 5), texts, negatives, torch.tensor(7.0))


def test_the_best_scale_has_the_least_surprise() -> None:
    rng = np.random.default_rng(0)
    scales = np.geomspace(0.5, 200, 60)
    cosines = rng.uniform(-0.3, 0.9, (400, 7))
    drawn = softmax(12 * cosines).cumsum(axis=1) > rng.random((400, 1))
    labels = drawn.argmax(axis=1)  # true answers as often as scale 12 claims
    found = best_scale(cosines, labels, scales)
    assert 9 < found < 16
    means = [-log_softmax(s * cosines, axis=1)[np.arange(400), labels].mean() for s in scales]
    assert found == scales[int(np.argmin(means))]
    assert best_scale(cosines + 3, labels, scales) == pytest.approx(found)


def test_a_large_scale_overflows_nothing() -> None:
    cosines, labels = np.array([[1.0, -1.0], [0.2, 0.4]]), np.array([0, 0])
    assert best_scale(cosines, labels, [1.0, 1e5]) == 1.0
    assert best_scale(cosines, np.array([0, 1]), [1.0, 1e5]) == 1e5
    assert np.allclose(softmax(1e5 * cosines), [[1, 0], [0, 1]])


@pytest.mark.parametrize(
    ("cosines", "labels", "scales"),
    [(np.zeros(3), np.zeros(3, int), [1.0]), (np.zeros((3, 2)), np.zeros(2, int), [1.0]),
     (np.zeros((3, 2)), np.zeros(3, int), [])],
)  # fmt: skip
def test_what_has_no_best_scale_is_told(
    cosines: np.ndarray, labels: np.ndarray, scales: list[float]
) -> None:
    with pytest.raises(ValueError, match="best_scale needs cosines"):
        best_scale(cosines, labels, scales)
