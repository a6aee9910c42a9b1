"""Captions: true, tidy and as different as people would write them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from random import Random

import pytest

from cliplib import captions
from cliplib.captions import grouped_phrases, in_words, true_meaning
from cliplib.picturebook import Page, compose, plan_page
from cliplib.scenes import (
    COLOURS,
    FLYING,
    GROUNDS,
    KINDS,
    RELATIONS,
    SIZES,
    SKIES,
    Meaning,
    Phrase,
    Thing,
    describes,
)


@pytest.fixture(scope="module")
def pages() -> list[Page]:
    return [plan_page("train", number) for number in range(400)]


def told(pages: list[Page]) -> Iterator[tuple[str, Meaning]]:
    for page in pages:
        yield from zip(page.captions, page.meanings, strict=True)


def one_of(words: list[str]) -> str:
    longest_first = sorted(words, key=len, reverse=True)
    return "(?:" + "|".join(map(re.escape, longest_first)) + ")"


def noun_phrase(phrase: Phrase) -> str:
    """A pattern for exactly these words and no adjective more."""
    counts = ["a", "an"] if phrase.count == 1 else list(captions.COUNT_WORDS[phrase.count])
    parts = [one_of(counts)]
    if phrase.size:
        parts.append(one_of(list(captions.SIZE_WORDS[phrase.size])))
    if phrase.colour:
        parts.append(one_of(list(captions.COLOUR_WORDS.get(phrase.colour, (phrase.colour,)))))
    forms = captions.NOUNS[phrase.kind]
    parts.append(one_of([form[0 if phrase.count == 1 else 1] for form in forms]))
    return r"\b" + " ".join(parts) + r"\b"


def sky_words(sky: str) -> list[str]:
    return [words.lower() for words in captions.SKY_WORDS[sky]]


def place_words(ground: str) -> list[str]:
    prepositions = {preposition for places in captions.PLACES.values() for preposition, _ in places}
    places = [place for _, place in captions.PLACES[ground]]
    return [f"{word} {place}" for word in (*prepositions, "over") for place in places]


def contains_one_of(sentence: str, words: list[str]) -> bool:
    return re.search(r"\b" + one_of(words) + r"\b", sentence.lower()) is not None


def test_there_are_words_for_everything() -> None:
    assert set(captions.NOUNS) == set(captions.DOING) == set(KINDS)
    assert set(captions.SKY_WORDS) == set(SKIES)
    assert set(captions.PLACES) == set(GROUNDS)
    assert set(captions.RELATION_WORDS) == set(RELATIONS)
    assert set(captions.COLOUR_WORDS) <= set(COLOURS)
    assert set(captions.SIZE_WORDS) < set(SIZES), "nobody calls a thing medium"
    every = [form for forms in captions.NOUNS.values() for pair in forms for form in pair]
    assert not set(every) & set(COLOURS)


def test_no_word_stands_for_two_skies_grounds_or_kinds() -> None:
    for table in (captions.SKY_WORDS, captions.NOUNS, captions.PLACES):
        words = [word for entry in table.values() for word in {*entry}]
        assert len(words) == len(set(words))


def test_sentences_are_tidy(pages: list[Page]) -> None:
    for caption, _ in told(pages):
        assert re.fullmatch(r"[A-Z][A-Za-z, ]+[a-z]\.?", caption), caption
        assert "  " not in caption and " ," not in caption and ",," not in caption, caption


def test_a_and_an_are_right(pages: list[Page]) -> None:
    seen: Counter[str] = Counter()
    for caption, _ in told(pages):
        for article, word in re.findall(r"\b(an?) ([a-z]+)", caption, re.IGNORECASE):
            assert (article.lower() == "an") == (word[0] in "aeiou"), caption
            seen[article.lower()] += 1
    assert min(seen["a"], seen["an"]) > 100


def test_a_caption_says_its_phrases_and_no_adjective_more(pages: list[Page]) -> None:
    for caption, meaning in told(pages):
        for phrase in meaning.phrases:
            assert re.search(noun_phrase(phrase), caption, re.IGNORECASE), (caption, phrase)


def test_a_caption_names_no_other_thing(pages: list[Page]) -> None:
    for caption, meaning in told(pages):
        named = {phrase.kind for phrase in meaning.phrases}
        bare = caption.lower()
        for kind in named:
            forms = [form for pair in captions.NOUNS[kind] for form in pair]
            bare = re.sub(r"\b" + one_of(forms) + r"\b", "", bare)
        others = [f for k in KINDS if k not in named for pair in captions.NOUNS[k] for f in pair]
        assert not contains_one_of(bare, others), (caption, meaning)


def test_a_caption_tells_the_sky_only_when_it_means_it(pages: list[Page]) -> None:
    for caption, meaning in told(pages):
        for sky in SKIES:
            assert contains_one_of(caption, sky_words(sky)) == (sky == meaning.sky), caption


def test_a_caption_tells_the_ground_only_when_it_means_it(pages: list[Page]) -> None:
    for caption, meaning in told(pages):
        for ground in GROUNDS:
            says = contains_one_of(caption, place_words(ground))
            assert says == (ground == meaning.ground), caption


def test_a_caption_tells_the_relation_in_the_right_order(pages: list[Page]) -> None:
    seen: Counter[str] = Counter()
    for caption, meaning in told(pages):
        for relation, words in captions.RELATION_WORDS.items():
            first, second = (*map(noun_phrase, meaning.phrases[:2]), "", "")[:2]
            between = rf"{first} {one_of(list(words))} {second}"
            if relation == meaning.relation:
                assert re.search(between, caption, re.IGNORECASE), caption
                seen[relation] += 1
        if meaning.relation not in ("left of", "right of"):
            assert not re.search(r"\b(left|right)\b", caption), caption
    assert set(seen) == set(RELATIONS)


def test_flying_things_are_over_a_place_not_on_it(pages: list[Page]) -> None:
    for caption, meaning in told(pages):
        if meaning.ground and all(phrase.kind in FLYING for phrase in meaning.phrases):
            places = [place for _, place in captions.PLACES[meaning.ground]]
            assert contains_one_of(caption, [f"over {place}" for place in places]), caption


def test_the_same_random_numbers_give_the_same_words(pages: list[Page]) -> None:
    for seed, page in enumerate(pages[:50]):
        for meaning in page.meanings:
            assert in_words(meaning, Random(seed)) == in_words(meaning, Random(seed))
        assert true_meaning(page.scene, Random(seed)) == true_meaning(page.scene, Random(seed))


def test_five_captions_of_a_page_differ(pages: list[Page]) -> None:
    assert sum(len(set(page.captions)) == 5 for page in pages) > 0.95 * len(pages)
    assert sum(len(set(page.meanings)) >= 3 for page in pages) > 0.6 * len(pages)


def test_few_words_but_many_sentences(pages: list[Page]) -> None:
    sentences = [caption for caption, _ in told(pages)]
    words = {word for caption in sentences for word in re.findall("[a-z]+", caption.lower())}
    assert 120 < len(words) < 300
    assert len(set(sentences)) > 0.95 * len(sentences)


def test_one_meaning_is_said_in_many_ways() -> None:
    meaning = Meaning((Phrase("cat", "red"),), sky="night", ground="grass")
    sentences = {in_words(meaning, Random(seed)) for seed in range(1000)}
    assert len(sentences) > 300
    alone = {in_words(Meaning((Phrase("car", "red"),)), Random(seed)) for seed in range(300)}
    frames = {re.sub("a red car", "…", sentence.lower().rstrip(".")) for sentence in alone}
    assert len(frames) >= 6, frames
    assert not any("car" in frame or "red" in frame for frame in frames)


def test_details_are_left_out_as_people_do(pages: list[Page]) -> None:
    meanings = [meaning for _, meaning in told(pages)]
    phrases = [phrase for meaning in meanings for phrase in meaning.phrases]

    def share(of: list[bool]) -> float:
        return sum(of) / len(of)

    several = [page for page in pages if len({(t.kind, t.colour) for t in page.scene.things}) > 1]
    of_several = [meaning for page in several for meaning in page.meanings]
    assert 0.1 < share([len(meaning.phrases) == 1 for meaning in of_several]) < 0.6
    assert 0.5 < share([meaning.sky != "" for meaning in meanings]) < 0.9
    assert 0.4 < share([meaning.ground != "" for meaning in meanings]) < 0.9
    assert 0.03 < share([meaning.relation != "" for meaning in meanings]) < 0.3
    assert 0.05 < share([phrase.colour == "" for phrase in phrases]) < 0.3
    assert 0.05 < share([phrase.size != "" for phrase in phrases]) < 0.5
    assert 0.02 < share([phrase.count > 1 for phrase in phrases]) < 0.4


def test_meanings_are_true_even_of_scenes_full_of_likes() -> None:
    scenes = [
        compose("red boat", "red boat", "red boat"),
        compose("red boat", "red boat", "blue boat"),
        compose("small red cat", "big red cat", "red car"),
        compose("bird", "blue bird", "tree", "tree", sky="night"),
    ]
    for scene in scenes:
        meanings = {true_meaning(scene, Random(seed)) for seed in range(200)}
        assert len(meanings) > 4
        for meaning in meanings:
            assert describes(meaning, scene), meaning


def test_alike_things_are_counted() -> None:
    box = (0.1, 0.6, 0.3, 0.8)
    red, blue = Thing("boat", "red", "big", box), Thing("boat", "blue", "small", box)

    def found(*things: Thing) -> set[frozenset[Phrase]]:
        return {frozenset(grouped_phrases(things, Random(seed))) for seed in range(300)}

    assert found(red, red, red) == {
        frozenset([Phrase("boat", "red", count=3)]),
        frozenset([Phrase("boat", count=3)]),
    }
    two_and_one = found(red, red, blue)
    assert frozenset([Phrase("boat", count=3)]) in two_and_one
    assert frozenset([Phrase("boat", "red", count=2), Phrase("boat", "blue")]) in two_and_one
    two_and_one.discard(frozenset([Phrase("boat", count=3)]))
    assert all(phrase.colour for phrases in two_and_one for phrase in phrases), (
        "with boats of two colours, a boat without one could be either"
    )
