"""Captions of drawn pictures: first a meaning that is true of the scene, then words for it."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from cliplib.scenes import FLYING, RELATIONS, SWIMMING, Meaning, Phrase, Scene, Thing, related

NOUNS = {  # kind: (singular, plural) as people call it; the first is the commonest
    "bird": (("bird", "birds"),),
    "kite": (("kite", "kites"),),
    "balloon": (("balloon", "balloons"),),
    "butterfly": (("butterfly", "butterflies"),),
    "boat": (("boat", "boats"), ("sailing boat", "sailing boats"), ("sailboat", "sailboats")),
    "fish": (("fish", "fish"),),
    "house": (("house", "houses"), ("cottage", "cottages"), ("home", "homes")),
    "tree": (("tree", "trees"),),
    "car": (("car", "cars"),),
    "flower": (("flower", "flowers"), ("blossom", "blossoms")),
    "cat": (("cat", "cats"), ("kitty", "kitties")),
    "umbrella": (("umbrella", "umbrellas"), ("parasol", "parasols")),
    "tent": (("tent", "tents"),),
    "mushroom": (("mushroom", "mushrooms"), ("toadstool", "toadstools")),
    "ball": (("ball", "balls"), ("beach ball", "beach balls")),
    "lighthouse": (("lighthouse", "lighthouses"),),
}
COLOUR_WORDS = {"purple": ("purple", "violet")}
SIZE_WORDS = {"small": ("small", "little", "tiny"), "big": ("big", "large", "huge")}
COUNT_WORDS = {2: ("two", "two", "a pair of"), 3: ("three",)}
DOING = {
    "bird": ("flying", "gliding"),
    "kite": ("flying", "dancing in the wind"),
    "balloon": ("floating", "drifting"),
    "butterfly": ("fluttering", "flying"),
    "boat": ("floating",),
    "fish": ("swimming", "splashing"),
    "house": ("standing",),
    "tree": ("growing", "standing"),
    "car": ("parked", "waiting"),
    "flower": ("blooming", "growing"),
    "cat": ("sitting", "resting"),
    "umbrella": ("standing",),
    "tent": ("pitched",),
    "mushroom": ("growing",),
    "ball": ("lying",),
    "lighthouse": ("standing", "shining"),
}
SKY_WORDS = {
    "day": (
        "on a sunny day",
        "in the sunshine",
        "under a clear blue sky",
        "on a bright day",
        "in bright daylight",
    ),
    "sunset": (
        "at sunset",
        "at dusk",
        "in the evening light",
        "as the sun goes down",
        "under an evening sky",
    ),
    "night": (
        "at night",
        "under the stars",
        "in the moonlight",
        "on a starry night",
        "beneath the moon",
        "in the dark",
    ),
    "rain": (
        "in the rain",
        "on a rainy day",
        "in a storm",
        "under dark clouds",
        "while it is raining",
    ),
    "snowfall": (
        "in falling snow",
        "while it is snowing",
        "under falling snowflakes",
        "in a snow shower",
    ),
    "rainbow": (
        "under a rainbow",
        "with a rainbow in the sky",
        "beneath a bright rainbow",
        "after the rain, under a rainbow",
    ),
}
PLACES = {  # ground: (preposition for what stands there, place)
    "grass": (("on", "the grass"), ("in", "a meadow"), ("in", "a grassy field"), ("on", "a lawn")),
    "sand": (("on", "the sand"), ("on", "the beach"), ("on", "a sandy beach"), ("in", "the dunes")),
    "snow": (
        ("in", "the snow"),
        ("on", "snowy ground"),
        ("in", "a snowy field"),
        ("on", "a blanket of snow"),
    ),
    "sea": (("in", "the sea"), ("in", "the ocean"), ("on", "the water"), ("among", "the waves")),
    "road": (("on", "the road"), ("on", "a street"), ("in", "the street"), ("by", "the roadside")),
}
RELATION_WORDS = {
    "left of": ("to the left of", "left of"),
    "right of": ("to the right of", "right of"),
    "above": ("above", "over"),
    "below": ("below", "underneath"),
    "in front of": ("in front of",),
    "behind": ("behind",),
    "beside": ("beside", "next to"),
}
FRAMES = (
    "{}",
    "{}",
    "{}",
    "there {is_are} {}",
    "a picture of {}",
    "look, {}",
    "I can see {}",
    "here {is_are} {}",
    "we see {}",
)
# How much a caption tells, and how often: which things, with a relation or not, sky, ground.
DETAILS = {
    "everything": 24,
    "things and sky": 16,
    "things and ground": 12,
    "relation": 14,
    "one thing, sky, ground": 16,
    "one thing and sky": 8,
    "one thing and ground": 6,
    "things": 4,
}
COLOUR_LEFT_OUT = 0.15  # of the things that are named


def true_meaning(scene: Scene, rng: Random) -> Meaning:
    """Draws something to say about a scene: always true of it, more or less detailed."""
    detail = rng.choices(list(DETAILS), list(DETAILS.values()))[0]
    if detail == "relation":
        meaning = _related_pair(scene, rng)
        if meaning is not None:
            return meaning
        detail = "everything"
    phrases = grouped_phrases(scene.things, rng)
    if detail.startswith("one thing"):
        phrases = [rng.choice(phrases)]
    return Meaning(
        tuple(phrases),
        sky=scene.sky if "sky" in detail or detail == "everything" else "",
        ground=scene.ground if "ground" in detail or detail == "everything" else "",
    )


def grouped_phrases(things: Sequence[Thing], rng: Random) -> list[Phrase]:
    """One phrase for each kind and colour, counted where several are alike; in random order."""
    alike: dict[tuple[str, str], list[Thing]] = {}
    for thing in things:
        alike.setdefault((thing.kind, thing.colour), []).append(thing)
    phrases = []
    for (kind, colour), group in alike.items():
        size = group[0].size if len(group) == 1 else ""
        mention_size = size in SIZE_WORDS and rng.random() < 0.3
        only_one = sum(thing.kind == kind for thing in things) == len(group)
        colour = "" if only_one and rng.random() < COLOUR_LEFT_OUT else colour
        phrases.append(Phrase(kind, colour, size if mention_size else "", len(group)))
    kinds = {phrase.kind for phrase in phrases}
    if len(phrases) > 1 and len(kinds) == 1 and rng.random() < 0.3:
        phrases = [Phrase(phrases[0].kind, count=len(things))]  # "two boats", one red and one blue
    rng.shuffle(phrases)
    return phrases


def _related_pair(scene: Scene, rng: Random) -> Meaning | None:
    single = [p for p in grouped_phrases(scene.things, rng) if p.count == 1 and p.colour]
    if len(single) < 2:
        return None
    first, second = single[:2]
    row = {(thing.kind, thing.colour): i for i, thing in enumerate(scene.things)}
    a, b = row[first.kind, first.colour], row[second.kind, second.colour]
    holding = [relation for relation in RELATIONS if related(relation, scene.things, a, b)]
    if not holding:
        return None
    return Meaning((first, second), rng.choice(holding), scene.sky if rng.random() < 0.4 else "")


def in_words(meaning: Meaning, rng: Random) -> str:
    """Says a meaning as a person might: order, verbs, synonyms and frame are drawn."""
    subject = _join([_name(phrase, rng) for phrase in meaning.phrases], meaning.relation, rng)
    place = _place(meaning, rng)
    if _can_say_what_it_does(meaning) and rng.random() < 0.5:
        subject += " " + rng.choice(DOING[meaning.phrases[0].kind])
    sky = rng.choice(SKY_WORDS[meaning.sky]) if meaning.sky else ""
    if sky and not sky.startswith("with") and rng.random() < 0.25:
        sentence = f"{sky}, {subject} {place}"
    else:
        is_are = "is" if meaning.phrases[0].count == 1 else "are"
        sentence = rng.choice(FRAMES).format(f"{subject} {place} {sky}", is_are=is_are)
    sentence = " ".join(sentence.split())
    return sentence[0].upper() + sentence[1:] + rng.choice(("", "."))


def _can_say_what_it_does(meaning: Meaning) -> bool:
    kind = meaning.phrases[0].kind
    at_home = (
        meaning.ground == "sea" if kind in SWIMMING else bool(meaning.ground or kind in FLYING)
    )
    return len(meaning.phrases) == 1 and at_home


def _name(phrase: Phrase, rng: Random) -> str:
    nouns = NOUNS[phrase.kind]
    singular, plural = nouns[0] if rng.random() < 0.6 else rng.choice(nouns)
    words = [rng.choice(SIZE_WORDS[phrase.size])] if phrase.size else []
    if phrase.colour:
        words.append(rng.choice(COLOUR_WORDS.get(phrase.colour, (phrase.colour,))))
    words.append(singular if phrase.count == 1 else plural)
    if phrase.count > 1:
        return " ".join([rng.choice(COUNT_WORDS[phrase.count]), *words])
    article = "an" if words[0][0] in "aeiou" else "a"
    return " ".join([article, *words])


def _join(names: list[str], relation: str, rng: Random) -> str:
    if relation:
        return f"{names[0]} {rng.choice(RELATION_WORDS[relation])} {names[1]}"
    if len(names) == 2:
        return rng.choice(("{} and {}", "{} and {}", "{} with {}")).format(*names)
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]


def _place(meaning: Meaning, rng: Random) -> str:
    if not meaning.ground:
        return ""
    preposition, place = rng.choice(PLACES[meaning.ground])
    all_fly = all(phrase.kind in FLYING for phrase in meaning.phrases)
    return f"{'over' if all_fly else preposition} {place}"
