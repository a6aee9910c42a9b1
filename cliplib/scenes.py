"""What a drawn picture can hold, what a caption can claim, and what is true of what."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white")
SKIES = ("day", "sunset", "night", "rain", "snowfall", "rainbow")
GROUNDS = ("grass", "sand", "snow", "sea", "road")
SIZES = {"small": 0.78, "medium": 1.0, "big": 1.25}

# Width and height of a medium thing in the foreground, as shares of the picture's side.
FLYING = {
    "bird": (0.36, 0.26),
    "kite": (0.29, 0.38),
    "balloon": (0.24, 0.36),
    "butterfly": (0.32, 0.29),
}
SWIMMING = {"boat": (0.42, 0.39), "fish": (0.37, 0.25)}
STANDING = {
    "house": (0.39, 0.38),
    "tree": (0.33, 0.45),
    "car": (0.45, 0.25),
    "flower": (0.25, 0.38),
    "cat": (0.31, 0.33),
    "umbrella": (0.40, 0.39),
    "tent": (0.44, 0.34),
    "mushroom": (0.32, 0.34),
    "ball": (0.26, 0.26),
    "lighthouse": (0.21, 0.52),
}
EXTENT = {**FLYING, **SWIMMING, **STANDING}
KINDS = tuple(EXTENT)

RELATIONS = ("left of", "right of", "above", "below", "in front of", "behind", "beside")

Box = tuple[
    float, float, float, float
]  # left, top, right, bottom; shares of the side, from the top left


@dataclass(frozen=True)
class Thing:
    """One thing in a picture: what it is and where it stands."""

    kind: str
    colour: str
    size: str
    box: Box

    @property
    def flies(self) -> bool:
        return self.kind in FLYING

    @property
    def centre(self) -> tuple[float, float]:
        left, top, right, bottom = self.box
        return (left + right) / 2, (top + bottom) / 2


@dataclass(frozen=True)
class Scene:
    """The facts of one picture. `things` go from back to front; a `sign` bears a painted word."""

    sky: str
    ground: str
    horizon: float
    things: tuple[Thing, ...]
    decoration_seed: int
    sign: str = ""


@dataclass(frozen=True)
class Phrase:
    """What a caption says of one thing, or of `count` alike things; "" leaves it open."""

    kind: str
    colour: str = ""
    size: str = ""
    count: int = 1


@dataclass(frozen=True)
class Meaning:
    """What a caption claims. `relation` holds between its first phrase and its second."""

    phrases: tuple[Phrase, ...]
    relation: str = ""
    sky: str = ""
    ground: str = ""


@dataclass(frozen=True)
class HeldOut:
    """A combination kept out of training: a kind with a colour, a ground or a sky."""

    kind: str
    colour: str = ""
    ground: str = ""
    sky: str = ""

    def in_scene(self, scene: Scene) -> bool:
        return describes(self.meaning(), scene)

    def meaning(self) -> Meaning:
        return Meaning((Phrase(self.kind, self.colour),), sky=self.sky, ground=self.ground)

    def in_meaning(self, meaning: Meaning) -> bool:
        """Whether the words name the whole combination."""
        named = any(p.kind == self.kind and self.colour in ("", p.colour) for p in meaning.phrases)
        return named and self.ground in ("", meaning.ground) and self.sky in ("", meaning.sky)


HELD_OUT = (
    HeldOut("car", colour="purple"),
    HeldOut("cat", colour="green"),
    HeldOut("tree", colour="blue"),
    HeldOut("umbrella", colour="orange"),
    HeldOut("boat", ground="snow"),
    HeldOut("tent", ground="sea"),
    HeldOut("kite", sky="night"),
    HeldOut("butterfly", sky="snowfall"),
)


def overlap(first: Box, second: Box) -> float:
    """The area that two boxes share, as a share of the picture."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    return max(width, 0.0) * max(height, 0.0)


def related(relation: str, things: Sequence[Thing], a: int, b: int) -> bool:
    """Whether thing `a` stands in that relation to thing `b`; later things stand nearer to us.

    Raises: ValueError for an unknown relation.
    """
    first, second = things[a], things[b]
    (ax, ay), (bx, by) = first.centre, second.centre
    gap_x = max(first.box[0], second.box[0]) - min(first.box[2], second.box[2])
    level = first.flies == second.flies
    if relation == "left of":
        return bx - ax >= 0.15
    if relation == "right of":
        return ax - bx >= 0.15
    if relation == "above":
        return first.flies and by - ay >= 0.15 and abs(ax - bx) <= 0.2
    if relation == "below":
        return second.flies and ay - by >= 0.15 and abs(ax - bx) <= 0.2
    if relation == "in front of":
        return a > b and overlap(first.box, second.box) > 0.002
    if relation == "behind":
        return a < b and overlap(first.box, second.box) > 0.002
    if relation == "beside":
        return level and -0.02 <= gap_x <= 0.2 and abs(ay - by) <= 0.2
    raise ValueError(f"Unknown relation {relation!r}; expected one of {', '.join(RELATIONS)}.")


class SceneTable:
    """The facts of N scenes as arrays, so that a caption is checked against all of them at once."""

    def __init__(self, scenes: Sequence[Scene]) -> None:
        self.sky = np.array([scene.sky for scene in scenes])  # (N,)
        self.ground = np.array([scene.ground for scene in scenes])  # (N,)
        width = max(len(scene.things) for scene in scenes)
        self.facts = {  # (N, things); "" where a scene has fewer
            field: np.array(
                [
                    [getattr(t, field) for t in s.things] + [""] * (width - len(s.things))
                    for s in scenes
                ]
            )
            for field in ("kind", "colour", "size")
        }
        self.relations = {  # (N, things, things)
            relation: np.array([_relation_matrix(relation, s.things, width) for s in scenes])
            for relation in RELATIONS
        }

    def true_of(self, meaning: Meaning) -> np.ndarray:
        """Which scenes a caption with this meaning truly describes: bool, (N,).

        A phrase for one thing needs at least one such thing, and two phrases need two different
        things; a counted phrase ("two red boats") needs exactly so many.
        """
        true = np.ones(len(self.sky), bool)
        if meaning.sky:
            true &= self.sky == meaning.sky
        if meaning.ground:
            true &= self.ground == meaning.ground
        matches = [self._matches(phrase) for phrase in meaning.phrases]  # each (N, things)
        for phrase, match in zip(meaning.phrases, matches, strict=True):
            if phrase.count > 1:
                true &= match.sum(1) == phrase.count
        rows = np.flatnonzero(true)
        true[rows] = self._assignable(meaning.relation, [match[rows] for match in matches], rows)
        return true

    def _matches(self, phrase: Phrase) -> np.ndarray:
        match = self.facts["kind"] == phrase.kind
        for field, wanted in (("colour", phrase.colour), ("size", phrase.size)):
            if wanted:
                match = match & (self.facts[field] == wanted)
        return match

    def _assignable(self, relation: str, matches: list[np.ndarray], rows: np.ndarray) -> np.ndarray:
        width = self.facts["kind"].shape[1]
        found = np.zeros(len(rows), bool)
        for chosen in itertools.permutations(range(width), len(matches)):
            holds = np.ones(len(rows), bool)
            for match, thing in zip(matches, chosen, strict=True):
                holds &= match[:, thing]
            if relation:
                holds &= self.relations[relation][rows, chosen[0], chosen[1]]
            found |= holds
        return found


def _relation_matrix(relation: str, things: Sequence[Thing], width: int) -> list[list[bool]]:
    inside = range(len(things))
    return [
        [
            a in inside and b in inside and a != b and related(relation, things, a, b)
            for b in range(width)
        ]
        for a in range(width)
    ]


def describes(meaning: Meaning, scene: Scene) -> bool:
    """Whether a caption with this meaning is true of this scene (see `SceneTable.true_of`)."""
    return bool(SceneTable([scene]).true_of(meaning)[0])


def truth_matrix(meanings: Sequence[Meaning], scenes: Sequence[Scene]) -> np.ndarray:
    """For every caption the set of all scenes that it truly describes: bool, (M, N)."""
    table = SceneTable(scenes)
    rows = {meaning: table.true_of(meaning) for meaning in set(meanings)}
    return np.stack([rows[meaning] for meaning in meanings])


def labels_of(scenes: Sequence[Scene], question: str) -> np.ndarray:
    """Each scene's class: "weather" (its place in SKIES), "ground" (in GROUNDS), or a kind of thing
    (1 when such a thing is in it, else 0).

    Shapes: N scenes in, (N,) out.
    Raises: ValueError for another question.
    """
    if question == "weather":
        return np.array([SKIES.index(scene.sky) for scene in scenes])
    if question == "ground":
        return np.array([GROUNDS.index(scene.ground) for scene in scenes])
    if question in KINDS:
        return np.array([int(question in {t.kind for t in scene.things}) for scene in scenes])
    known = ", ".join(("weather", "ground", *KINDS))
    raise ValueError(f"question is one of {known}; not {question!r}.")
