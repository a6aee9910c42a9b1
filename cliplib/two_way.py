"""A choice of two captions, one true of a picture and one false: what does a model tell apart?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from random import Random

import numpy as np

from cliplib.captions import COUNT_WORDS, NOUNS, RELATION_WORDS
from cliplib.scenes import COLOURS, KINDS, Meaning, Phrase, Scene, Thing, describes

SIDES = {"left of": "right of", "right of": "left of"}

Pair = tuple[Meaning, Meaning]  # what is true of a scene, and what is false of it
PairOf = Callable[[Scene, Random], Pair | None]  # None where a scene has nothing to change


@dataclass(frozen=True)
class Choice:
    """Two captions of picture `row`, of which the first is true."""

    row: int
    true: str
    false: str


def swap_words(caption: str, one: str, other: str) -> str:
    """The caption with two words in each other's place, and "a" or "an" as what follows needs it.

    Raises: ValueError when neither word is in it: then it would come back as it was.
    """
    words = caption.split()
    if one not in words and other not in words:
        raise ValueError(f"Neither {one!r} nor {other!r} is a word of {caption!r}.")
    turned = {one: other, other: one}
    return _with_articles([turned.get(word, word) for word in words])


def _with_articles(words: Sequence[str]) -> str:
    said = list(words)
    for i, (word, after) in enumerate(pairwise(words)):
        if word in ("a", "an"):
            said[i] = "an" if after[0] in "aeiou" else "a"
    return " ".join(said)


def say(meaning: Meaning) -> str:
    """A meaning in plain words, always the same ones: two meanings differ where their words do."""
    names = [_name(phrase) for phrase in meaning.phrases]
    between = RELATION_WORDS[meaning.relation][0] if meaning.relation else "and"
    return _with_articles(f" {between} ".join(names).split())


def _name(phrase: Phrase) -> str:
    singular, plural = NOUNS[phrase.kind][0]
    if phrase.count > 1:
        return f"{COUNT_WORDS[phrase.count][0]} {phrase.colour} {plural}"
    return f"a {phrase.colour} {singular}"


def choices(scenes: Sequence[Scene], pair_of: PairOf, seed: int = 0) -> list[Choice]:
    """A choice for each scene that `pair_of` finds something to say about; checked by the facts."""
    random, found = Random(seed), []
    for row, scene in enumerate(scenes):
        pair = pair_of(scene, random)
        if pair and describes(pair[0], scene) and not describes(pair[1], scene):
            found.append(Choice(row, say(pair[0]), say(pair[1])))
    return found


def other_side(scene: Scene, random: Random) -> Pair | None:
    """Left becomes right, or right becomes left."""
    two = _two_things(scene, random)
    if two is None:
        return None
    true = Meaning(two, random.choice(tuple(SIDES)))
    if not describes(true, scene):
        true = replace(true, relation=SIDES[true.relation])
    return true, replace(true, relation=SIDES[true.relation])


def swapped_colours(scene: Scene, random: Random) -> Pair | None:
    """Each of two things gets the other's colour: false when both kinds and colours differ."""
    two = _two_things(scene, random)
    if two is None:
        return None
    first, second = two
    swapped = (replace(first, colour=second.colour), replace(second, colour=first.colour))
    return Meaning(two), Meaning(swapped)


def absent_colour(scene: Scene, random: Random) -> Pair | None:
    """A control: the first of two things gets a colour that nothing in the picture has."""
    two = _two_things(scene, random)
    if two is None:
        return None
    colour = random.choice([c for c in COLOURS if c not in {t.colour for t in scene.things}])
    return Meaning(two), Meaning((replace(two[0], colour=colour), two[1]))


def absent_kind(scene: Scene, random: Random) -> Pair | None:
    """A control: the first of two things becomes one of a kind that is not in the picture."""
    two = _two_things(scene, random)
    if two is None:
        return None
    return Meaning(two), Meaning((replace(two[0], kind=_absent(scene, random)), two[1]))


def other_count(scene: Scene, random: Random) -> Pair | None:
    """Two become three, or three become two; needs a picture with things of one kind alone."""
    group = _alike(scene)
    if group is None:
        return None
    return Meaning((group,)), Meaning((replace(group, count=5 - group.count),))


def counted_kind(scene: Scene, random: Random) -> Pair | None:
    """A control: the number stays, the kind is one that is not in the picture."""
    group = _alike(scene)
    if group is None:
        return None
    return Meaning((group,)), Meaning((replace(group, kind=_absent(scene, random)),))


def _two_things(scene: Scene, random: Random) -> tuple[Phrase, Phrase] | None:
    """Two things that kind and colour name without doubt, in random order."""
    count = Counter((thing.kind, thing.colour) for thing in scene.things)
    alone = [thing for thing in scene.things if count[thing.kind, thing.colour] == 1]
    if len(alone) < 2:
        return None
    first, second = random.sample(alone, 2)
    return _phrase(first), _phrase(second)


def _phrase(thing: Thing) -> Phrase:
    return Phrase(thing.kind, thing.colour)


def _alike(scene: Scene) -> Phrase | None:
    kinds = {thing.kind for thing in scene.things}
    many = len(scene.things)
    return Phrase(kinds.pop(), count=many) if len(kinds) == 1 and many in (2, 3) else None


def _absent(scene: Scene, random: Random) -> str:
    return random.choice([k for k in KINDS if k not in {thing.kind for thing in scene.things}])


def right_of_two(true: np.ndarray, false: np.ndarray) -> float:
    """How often the true caption has the larger cosine; equal ones count half. A guess: 0.5.

    Shapes: true (Q,), false (Q,), the cosines of both captions with their picture.
    Raises: ValueError when the two differ in length, or are empty.
    """
    true, false = np.asarray(true), np.asarray(false)
    if true.shape != false.shape or true.ndim != 1 or not len(true):
        raise ValueError(
            "true and false hold one cosine each for every choice; they have shapes "
            f"{true.shape} and {false.shape}."
        )
    return float(((true > false) + 0.5 * (true == false)).mean())
