"""The search box and the composer, with the checkpoint that ships, on drawn pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from threading import Event, Thread

import ipywidgets
import pytest

from cliplib import widgets_search
from cliplib.captions import SKY_WORDS
from cliplib.checkpoint import Run, load_run, shipped_checkpoint
from cliplib.data import ensure, load_pairs
from cliplib.drawing import draw
from cliplib.picturebook import compose
from cliplib.search import (
    CaptionIndex,
    PictureIndex,
    build_caption_index,
    build_index,
    by_picture,
    by_words,
)
from cliplib.widgets_search import NOTHING, captions_to_judge, judge
from cliplib.zeroshot import classifier, classify


@pytest.fixture(scope="module")
def run() -> Run:
    return load_run(shipped_checkpoint())


@pytest.fixture(scope="module")
def indexes(run: Run) -> tuple[PictureIndex, CaptionIndex]:
    pairs = load_pairs(ensure("picturebook"), "test")
    captions = [pairs.captions[int(i)] for row in range(120) for i in pairs.captions_of(row)]
    return build_index(run, pairs.paths()[:120], False), build_caption_index(run, captions, False)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[ipywidgets.VBox]:
    boxes: list[ipywidgets.VBox] = []
    monkeypatch.setattr(widgets_search, "display", boxes.append)
    return boxes


def names(answers: ipywidgets.HBox) -> list[str]:
    return [column.children[1].tooltip for column in answers.children]


def test_typing_finds_other_pictures_and_a_click_neighbours_and_captions(
    run: Run, indexes: tuple[PictureIndex, CaptionIndex], shown: list[ipywidgets.VBox]
) -> None:
    pictures, captions = indexes
    widgets_search.search_box(run, pictures, captions, "a red boat", k=4)
    field, told, answers, fitting = shown[0].children
    expected = [a.item.name for a in by_words(run, pictures, "a red boat", 4)]
    assert names(answers) == expected and fitting.value == ""
    assert "data:image/png;base64," in answers.children[0].children[0].value
    field.value = "snow at night"
    words = [a.item.name for a in by_words(run, pictures, "snow at night", 4)]
    assert names(answers) == words != expected
    second = Path(next(p for p in pictures.paths if p.name == words[1]))
    answers.children[1].children[1].click()
    assert names(answers) == [a.item.name for a in by_picture(run, pictures, second, 4)]
    assert names(answers)[0] == second.name, "it finds itself first"
    assert f"Pictures like {second.name}" in told.value
    assert fitting.value.count("<li>") == 5
    field.value = "a tree"
    assert fitting.value == "", "captions of a picture that is no longer chosen must not stay"
    field.value = "  "
    assert not answers.children and not told.value


def test_the_box_says_when_nothing_matches(
    run: Run, indexes: tuple[PictureIndex, CaptionIndex], shown: list[ipywidgets.VBox],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(
        widgets_search, "nothing_matches", lambda run, answers: "Nothing here matches."
    )
    widgets_search.search_box(run, indexes[0])
    _, told, answers, _ = shown[0].children
    assert told.value == "Nothing here matches." and len(answers.children) == 6
    answers.children[0].children[1].click()
    assert "Pictures like" in told.value, "without captions to choose from it finds neighbours"


def test_captions_to_judge_are_told_apart_by_the_facts() -> None:
    scene = compose("purple car", "green tree", sky="night", ground="snow")
    captions = captions_to_judge(scene, seed=1)
    assert [true for _, true in captions] == [True] * 4 + [False] * 4
    assert len({caption for caption, _ in captions}) == 8
    assert captions == captions_to_judge(scene, seed=1) != captions_to_judge(scene, seed=2)
    with pytest.raises(ValueError, match="things"):
        captions_to_judge(compose())


def test_the_model_believes_true_captions_more_often(run: Run) -> None:
    first_true = 0
    for colour in ("red", "blue", "yellow", "white", "pink"):
        scene = compose(f"{colour} boat", sky="day", ground="sea")
        verdicts = judge(run, draw(scene, 160), captions_to_judge(scene))
        assert [v.cosine for v in verdicts] == sorted((v.cosine for v in verdicts), reverse=True)
        first_true += verdicts[0].true
    assert first_true >= 4


def test_another_choice_draws_another_scene_and_judges_anew(
    run: Run, shown: list[ipywidgets.VBox]
) -> None:
    widgets_search.compose_and_judge(run)
    one, two, three, place, own, below = shown[0].children
    picture, verdicts = below.children
    before = picture.value, verdicts.value
    assert verdicts.value.count("<tr>") == 9
    one.children[0].value = "boat"
    assert picture.value != before[0] and verdicts.value != before[1]
    own.value = "a <i>purple</i> boat"
    assert "Your words" in verdicts.value and "&lt;i&gt;purple" in verdicts.value
    one.children[0].value = two.children[0].value = three.children[0].value = NOTHING
    assert verdicts.value == "Choose at least one thing."
    empty = picture.value
    place.children[0].value = "night"
    assert picture.value != empty


def test_a_caption_counts_as_false_only_when_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a scene that differs in its sky alone, what leaves the sky out is still true."""
    monkeypatch.setattr(
        widgets_search, "_changed", lambda scene, random: replace(scene, sky="night")
    )
    captions = captions_to_judge(compose("red boat", sky="rainbow", ground="sea"), each=30)
    skies = [
        any(words in caption.lower() for words in SKY_WORDS["night"])
        for caption, _ in captions[30:]
    ]
    assert all(skies)


def test_other_classes_and_templates_name_the_pictures_anew_or_say_what_is_wrong(
    run: Run, indexes: tuple[PictureIndex, CaptionIndex], shown: list[ipywidgets.VBox]
) -> None:
    pictures = indexes[0]
    widgets_search.prompt_builder(run, pictures, "a boat, a tree", "a picture of {}", k=5)
    classes, templates, told, answers = shown[0].children
    rows = classifier(run.model, run.tokenizer, ["a boat", "a tree"], ["a picture of {}"])
    chosen = classify(pictures.embeddings[:5], rows).tolist()
    names = [("a boat", "a tree")[row] for row in chosen]
    named = [one.value.split("<b>")[1].split("</b>")[0] for one in answers.children]
    assert named == names
    assert "chance 0.50" in told.value
    before = [one.value for one in answers.children]
    classes.value = "a <i>boat</i>, snow, grass, the sea"
    assert [one.value for one in answers.children] != before and "chance 0.25" in told.value
    assert not any("<i>" in one.value for one in answers.children)
    templates.value = "a picture"
    assert "0 places for a class" in told.value and not answers.children, "no old answers"
    templates.value = "{}"
    assert len(answers.children) == 5


def test_of_two_changes_that_are_handled_at_once_the_later_one_stays(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    composer, judging, may_end = widgets_search._Composer(run), Event(), Event()

    def slowly(*arguments: object) -> list:
        judging.set()
        assert may_end.wait(60)
        return judge(*arguments)

    def take_all_away() -> None:
        for kind, _ in composer.things:
            kind.unobserve_all()
            kind.value = NOTHING
        composer.redraw()  # needs no judge, so it would be the first to end

    monkeypatch.setattr(widgets_search, "judge", slowly)
    older, later = Thread(target=composer.redraw), Thread(target=take_all_away)
    older.start()
    assert judging.wait(60)
    later.start()
    later.join(0.5)  # without a turn of its own it would be through by now
    may_end.set()
    older.join()
    later.join()
    assert composer.verdicts.value == "Choose at least one thing."
