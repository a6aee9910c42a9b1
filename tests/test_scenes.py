"""What is true of a scene: checked against plain loops written here, and by scenes made by hand."""

from __future__ import annotations

import itertools
from dataclasses import replace
from random import Random

import numpy as np
import pytest

from cliplib.picturebook import Page, plan_page
from cliplib.scenes import (
    COLOURS,
    GROUNDS,
    HELD_OUT,
    KINDS,
    RELATIONS,
    SIZES,
    SKIES,
    Box,
    HeldOut,
    Meaning,
    Phrase,
    Scene,
    SceneTable,
    Thing,
    describes,
    overlap,
    related,
    truth_matrix,
)

LOW = (0.40, 0.55, 0.60, 0.85)
HIGH = (0.40, 0.10, 0.60, 0.30)


@pytest.fixture(scope="module")
def pages() -> list[Page]:
    wanted = [("train", 70), ("val", 25), ("test", 25), ("unseen", 40)]
    return [plan_page(split, number) for split, size in wanted for number in range(size)]


def scene_of(*things: Thing, sky: str = "day", ground: str = "grass") -> Scene:
    return Scene(sky, ground, 0.5, things, decoration_seed=1)


def thing(kind: str, colour: str = "red", size: str = "medium", box: Box = LOW) -> Thing:
    return Thing(kind, colour, size, box)


def words_of(held: HeldOut) -> str:
    return f"{held.kind} {held.colour or held.ground or held.sky}"


# The second implementation: one scene, one meaning, nothing but Python's own loops.


def true_by_hand(meaning: Meaning, scene: Scene) -> bool:
    if meaning.sky not in ("", scene.sky) or meaning.ground not in ("", scene.ground):
        return False
    for phrase in meaning.phrases:
        alike = [one for one in scene.things if fits(phrase, one)]
        if phrase.count > 1 and len(alike) != phrase.count:
            return False
    for order in itertools.permutations(range(len(scene.things)), len(meaning.phrases)):
        chosen = [scene.things[row] for row in order]
        if not all(fits(phrase, one) for phrase, one in zip(meaning.phrases, chosen, strict=True)):
            continue
        if not meaning.relation or stands(
            meaning.relation, *chosen[:2], nearer=order[0] > order[1]
        ):
            return True
    return False


def fits(phrase: Phrase, one: Thing) -> bool:
    return (
        one.kind == phrase.kind
        and phrase.colour in ("", one.colour)
        and phrase.size in ("", one.size)
    )


def stands(relation: str, one: Thing, other: Thing, nearer: bool) -> bool:
    in_the_air = {"bird", "kite", "balloon", "butterfly"}
    one_left, one_top, one_right, one_bottom = one.box
    other_left, other_top, other_right, other_bottom = other.box
    rightwards = (other_left + other_right) / 2 - (one_left + one_right) / 2
    downwards = (other_top + other_bottom) / 2 - (one_top + one_bottom) / 2
    shared_width = min(one_right, other_right) - max(one_left, other_left)
    shared_height = min(one_bottom, other_bottom) - max(one_top, other_top)
    if relation in ("left of", "right of"):
        return (rightwards if relation == "left of" else -rightwards) >= 0.15
    if relation == "above":
        return one.kind in in_the_air and downwards >= 0.15 and abs(rightwards) <= 0.2
    if relation == "below":
        return other.kind in in_the_air and -downwards >= 0.15 and abs(rightwards) <= 0.2
    if relation == "beside":
        both = (one.kind in in_the_air) == (other.kind in in_the_air)
        return both and -0.02 <= -shared_width <= 0.2 and abs(downwards) <= 0.2
    hides = shared_width > 0 and shared_height > 0 and shared_width * shared_height > 0.002
    return hides and nearer == (relation == "in front of")


def random_meaning(rng: Random) -> Meaning:
    """Mostly short and vague, so that it is often true of some scene and false of others."""
    kinds = rng.choices(KINDS, k=rng.randint(0, 3))
    phrases = tuple(
        Phrase(
            kind,
            rng.choice(("", "", *COLOURS)),
            rng.choice(("", "", "", *SIZES)),
            rng.choice((1, 1, 1, 2, 3)),
        )
        for kind in kinds
    )
    relation = rng.choice(RELATIONS) if len(phrases) == 2 else ""
    return Meaning(phrases, relation, rng.choice(("", "", *SKIES)), rng.choice(("", "", *GROUNDS)))


def test_the_table_agrees_with_plain_loops(pages: list[Page]) -> None:
    rng = Random(7)
    scenes = [page.scene for page in pages]
    told = {meaning for page in pages for meaning in page.meanings}
    meanings = sorted(told, key=repr)[:400] + [random_meaning(rng) for _ in range(400)]
    table = SceneTable(scenes)
    found = np.stack([table.true_of(meaning) for meaning in meanings])
    expected = [[true_by_hand(meaning, scene) for scene in scenes] for meaning in meanings]
    assert found.dtype == bool and found.shape == (800, len(scenes))
    assert (found == np.array(expected)).all()
    assert 0 < found[400:].mean() < 0.2, "the random ones must be true of some scenes only"


def test_relations_agree_with_plain_loops(pages: list[Page]) -> None:
    held = dict.fromkeys(RELATIONS, 0)
    for things in (page.scene.things for page in pages):
        for a, b in itertools.permutations(range(len(things)), 2):
            for relation in RELATIONS:
                found = related(relation, things, a, b)
                assert found == stands(relation, things[a], things[b], nearer=a > b), relation
                held[relation] += found
    assert min(held.values()) > 5, f"too few cases to tell: {held}"


def test_every_caption_is_true_of_its_own_picture(pages: list[Page]) -> None:
    for page in pages:
        assert len(page.meanings) == 5
        for meaning in page.meanings:
            assert describes(meaning, page.scene), (page.image, meaning)


def test_the_matrix_holds_what_describes_says(pages: list[Page]) -> None:
    scenes = [page.scene for page in pages[::4]]
    meanings = [meaning for page in pages[::8] for meaning in page.meanings[:2]]
    truth = truth_matrix(meanings, scenes)
    assert truth.shape == (len(meanings), len(scenes)) and truth.dtype == bool
    for row, meaning in enumerate(meanings):
        for column, scene in enumerate(scenes):
            assert truth[row, column] == describes(meaning, scene)
    assert 0 < truth.mean() < 1


@pytest.mark.parametrize("there", [1, 2, 3])
def test_counted_phrases_are_exact(there: int) -> None:
    scene = scene_of(*[thing("boat")] * there, thing("cat"))
    assert describes(Meaning((Phrase("boat", "red"),)), scene), "a red boat: at least one"
    for count in (2, 3):
        assert describes(Meaning((Phrase("boat", "red", count=count),)), scene) == (count == there)
        assert describes(Meaning((Phrase("boat", count=count),)), scene) == (count == there)


def test_counting_looks_at_all_that_the_phrase_says() -> None:
    scene = scene_of(thing("boat"), thing("boat", "blue"), thing("boat", size="big"))
    assert describes(Meaning((Phrase("boat", "red", count=2),)), scene)
    assert not describes(Meaning((Phrase("boat", count=2),)), scene), "there are three boats"
    assert describes(Meaning((Phrase("boat", count=3),)), scene)
    assert describes(Meaning((Phrase("boat", "red", count=2), Phrase("boat", "blue"))), scene)
    assert not describes(Meaning((Phrase("boat", "red", "big", count=2),)), scene)


def test_two_phrases_need_two_things() -> None:
    one = scene_of(thing("cat", size="small"))
    two = scene_of(thing("cat", size="small"), thing("cat", "blue"))
    small_and_red = Meaning((Phrase("cat", size="small"), Phrase("cat", "red")))
    any_and_any = Meaning((Phrase("cat"), Phrase("cat")))
    any_and_red = Meaning((Phrase("cat"), Phrase("cat", "red")))
    assert not describes(any_and_any, one) and describes(any_and_any, two)
    assert not describes(small_and_red, one) and not describes(small_and_red, two)
    assert describes(any_and_red, two), "the blue one is any, the red one is red"
    assert not describes(Meaning((Phrase("cat"),) * 3), two)


def test_sky_ground_and_nothing_else() -> None:
    scene = scene_of(thing("cat"), sky="night", ground="snow")
    assert describes(Meaning((), sky="night", ground="snow"), scene)
    assert describes(Meaning((), sky="night"), scene_of(sky="night")), "a scene may be empty"
    assert not describes(Meaning((Phrase("cat"),)), scene_of())
    assert not describes(Meaning((Phrase("cat"),), sky="day"), scene)
    assert not describes(Meaning((Phrase("cat"),), ground="sea"), scene)
    assert not describes(Meaning((Phrase("cat", size="big"),)), scene)


BY_HAND = [
    ("left of", thing("cat", box=(0.1, 0.6, 0.3, 0.8)), thing("house", box=(0.6, 0.5, 0.9, 0.8))),
    ("right of", thing("cat", box=(0.6, 0.6, 0.8, 0.8)), thing("house", box=(0.1, 0.5, 0.4, 0.8))),
    ("above", thing("bird", box=HIGH), thing("house", box=LOW)),
    ("below", thing("boat", box=LOW), thing("kite", box=HIGH)),
    ("behind", thing("tree", box=(0.4, 0.4, 0.7, 0.8)), thing("car", box=(0.5, 0.7, 0.9, 0.9))),
    ("beside", thing("cat", box=(0.1, 0.6, 0.3, 0.8)), thing("tent", box=(0.4, 0.5, 0.7, 0.8))),
]


@pytest.mark.parametrize(("relation", "first", "second"), BY_HAND, ids=[r for r, _, _ in BY_HAND])
def test_a_scene_for_each_relation(relation: str, first: Thing, second: Thing) -> None:
    phrases = Phrase(first.kind), Phrase(second.kind)
    assert describes(Meaning(phrases, relation), scene_of(first, second))
    turned = describes(Meaning(phrases[::-1], relation), scene_of(first, second))
    assert turned == (relation == "beside"), "only beside holds both ways"


def test_the_nearer_thing_is_in_front() -> None:
    tree, car = (one for one in BY_HAND[4][1:])
    words = Meaning((Phrase("car"), Phrase("tree")), "in front of")
    assert describes(words, scene_of(tree, car))
    assert not describes(words, scene_of(car, tree)), "things stand from back to front"
    apart = replace(car, box=(0.71, 0.7, 0.95, 0.9))
    assert not describes(words, scene_of(tree, apart)), "it hides nothing"


@pytest.mark.parametrize(
    ("relation", "first", "second"),
    [
        ("left of", thing("cat", box=(0.40, 0.6, 0.60, 0.8)), thing("cat", box=LOW)),
        ("left of", thing("cat", box=(0.27, 0.6, 0.47, 0.8)), thing("cat", box=LOW)),
        ("above", thing("house", box=HIGH), thing("cat", box=LOW)),
        ("above", thing("bird", box=(0.0, 0.1, 0.2, 0.3)), thing("cat", box=LOW)),
        ("above", thing("bird", box=(0.4, 0.5, 0.6, 0.7)), thing("cat", box=LOW)),
        ("below", thing("cat", box=LOW), thing("house", box=HIGH)),
        ("beside", thing("bird", box=(0.1, 0.5, 0.35, 0.8)), thing("cat", box=LOW)),
        ("beside", thing("cat", box=(0.01, 0.6, 0.15, 0.8)), thing("cat", box=LOW)),
        ("beside", thing("cat", box=(0.3, 0.6, 0.5, 0.8)), thing("cat", box=LOW)),
        ("beside", thing("boat", box=(0.1, 0.2, 0.35, 0.4)), thing("cat", box=LOW)),
    ],
)
def test_a_relation_that_nearly_holds(relation: str, first: Thing, second: Thing) -> None:
    assert not related(relation, (first, second), 0, 1)


def test_a_relation_is_between_the_things_that_are_named() -> None:
    red = thing("cat", "red", box=(0.05, 0.6, 0.2, 0.8))
    blue = thing("cat", "blue", box=(0.8, 0.6, 0.95, 0.8))
    scene = scene_of(thing("tree", box=LOW), red, blue)
    tree = Phrase("tree")
    assert describes(Meaning((Phrase("cat", "red"), tree), "left of"), scene)
    assert not describes(Meaning((Phrase("cat", "blue"), tree), "left of"), scene)
    assert describes(Meaning((Phrase("cat"), tree), "left of"), scene), "one of them is"
    assert describes(Meaning((Phrase("cat"), tree), "right of"), scene), "the other one"


def test_relations_and_their_opposites(pages: list[Page]) -> None:
    opposites = [("left of", "right of"), ("above", "below"), ("in front of", "behind")]
    for things in (page.scene.things for page in pages):
        for a, b in itertools.permutations(range(len(things)), 2):
            for one, other in opposites:
                assert not (related(one, things, a, b) and related(other, things, a, b))
                assert related(one, things, a, b) == related(other, things, b, a)
            assert related("beside", things, a, b) == related("beside", things, b, a)


def test_an_unknown_relation_is_named() -> None:
    with pytest.raises(ValueError, match=r"'inside'.*left of.*beside"):
        related("inside", (thing("cat"), thing("tent")), 0, 1)


def test_overlap_is_the_shared_area() -> None:
    box = (0.2, 0.2, 0.6, 0.6)
    assert overlap(box, box) == pytest.approx(0.16)
    assert overlap(box, (0.5, 0.4, 0.9, 0.9)) == pytest.approx(0.1 * 0.2)
    assert overlap(box, (0.7, 0.7, 0.9, 0.9)) == 0, "two negative sides are no area"
    assert overlap(box, (0.6, 0.2, 0.9, 0.6)) == 0


@pytest.mark.parametrize("held", HELD_OUT, ids=words_of)
def test_a_held_out_combination_is_found_in_scenes(held: HeldOut) -> None:
    colour = held.colour or "yellow"
    sky, ground = held.sky or "rain", held.ground or "road"
    whole = scene_of(thing("fish"), thing(held.kind, colour), sky=sky, ground=ground)
    assert held.in_scene(whole)
    assert not held.in_scene(replace(whole, things=whole.things[:1]))
    if held.colour:
        beside = (thing("fish", held.colour), thing(held.kind, "yellow"))
        assert not held.in_scene(replace(whole, things=beside)), "the colour is another thing's"
    if held.ground:
        assert not held.in_scene(replace(whole, ground="road"))
    if held.sky:
        assert not held.in_scene(replace(whole, sky="rain"))


@pytest.mark.parametrize("held", HELD_OUT, ids=words_of)
def test_a_held_out_combination_is_found_in_words(held: HeldOut) -> None:
    named = Phrase(held.kind, held.colour or "yellow")
    whole = Meaning((Phrase("fish"), named), sky=held.sky or "rain", ground=held.ground or "road")
    assert held.in_meaning(whole) and held.in_meaning(held.meaning())
    assert not held.in_meaning(replace(whole, phrases=(Phrase("fish"),)))
    if held.colour:
        swapped = (Phrase("fish", held.colour), Phrase(held.kind))
        assert not held.in_meaning(replace(whole, phrases=swapped))
    if held.ground:
        assert not held.in_meaning(replace(whole, ground=""))
    if held.sky:
        assert not held.in_meaning(replace(whole, sky=""))


def test_the_held_out_combinations_name_what_exists() -> None:
    assert len({(held.kind, held.colour, held.ground, held.sky) for held in HELD_OUT}) == len(
        HELD_OUT
    )
    for held in HELD_OUT:
        assert held.kind in KINDS and held.colour in ("", *COLOURS)
        assert held.ground in ("", *GROUNDS) and held.sky in ("", *SKIES)
        assert sum(map(bool, (held.colour, held.ground, held.sky))) == 1
