"""The drawn pictures: repeatable, complete, and honest about kinds and colours."""

from __future__ import annotations

import colorsys
from dataclasses import replace
from random import Random

import numpy as np
import pytest
from PIL import Image

from cliplib.brush import FULL_LIGHT, PAGE, Brush, coat_of
from cliplib.drawing import KIND_PAINTERS, draw
from cliplib.scenes import COLOURS, FLYING, GROUNDS, KINDS, SKIES, SWIMMING, Scene, Thing

FLYING_BOX = (0.35, 0.12, 0.65, 0.42)
GROUND_BOX = (0.35, 0.55, 0.65, 0.85)
HUES = {  # in degrees; white has none
    "red": 0,
    "orange": 32,
    "yellow": 50,
    "green": 135,
    "blue": 218,
    "purple": 276,
    "pink": 332,
}


def scene_with(
    kind: str, colour: str = "red", sky: str = "day", ground: str = "grass", seed: int = 5
) -> Scene:
    box = FLYING_BOX if kind in FLYING else GROUND_BOX
    return Scene(sky, ground, 0.5, (Thing(kind, colour, "medium", box),), seed)


def pixels(scene: Scene, size: int = 96) -> np.ndarray:
    return np.asarray(draw(scene, size), dtype=int)


def changed(scene: Scene) -> np.ndarray:
    """Where the scene differs from the same scene without its things."""
    return np.abs(pixels(scene) - pixels(replace(scene, things=()))).max(axis=-1) > 60


def inside(box: tuple[float, ...], size: int, margin: float = 0.0) -> np.ndarray:
    left, top, right, bottom = (round(share * size) for share in box)
    more = round(margin * size)
    mask = np.zeros((size, size), dtype=bool)
    mask[max(0, top - more) : bottom + more, max(0, left - more) : right + more] = True
    return mask


@pytest.mark.parametrize("sky", SKIES)
@pytest.mark.parametrize("ground", GROUNDS)
def test_the_same_scene_gives_the_same_picture(sky: str, ground: str) -> None:
    scene = scene_with("tree", sky=sky, ground=ground)
    first = draw(scene, 48)
    draw(scene_with("cat"), 48)
    assert draw(scene, 48).tobytes() == first.tobytes()
    assert draw(replace(scene, decoration_seed=6), 48).tobytes() != first.tobytes()


def test_skies_and_grounds_all_look_different() -> None:
    seen = [pixels(Scene(s, g, 0.5, (), 5), 32) for s in SKIES for g in GROUNDS]
    for i, one in enumerate(seen):
        for other in seen[:i]:
            assert np.abs(one - other).mean() > 4


def test_night_sand_is_far_paler_than_night_road() -> None:
    sand, road = (
        pixels(Scene("night", ground, 0.5, (), 5), 64)[45:].mean(axis=(0, 1))
        for ground in ("sand", "road")
    )
    assert (sand - road).min() > 50


def test_the_road_stays_grey_at_sunset() -> None:
    red, green, blue = np.median(pixels(Scene("sunset", "road", 0.5, (), 5))[65:], axis=(0, 1))
    assert max(red, green, blue) - min(red, green, blue) < 16


@pytest.mark.parametrize("seed", range(6))
def test_snow_falls_around_things_and_hardly_over_them(seed: int) -> None:
    bare = Scene("snowfall", "grass", 0.5, (), seed)
    covered = replace(bare, things=(Thing("balloon", "red", "big", (0.0, 0.0, 1.0, 1.25)),))
    around, over = (
        (pixels(scene).min(axis=-1) > 225)[48:80, 20:76].mean() for scene in (bare, covered)
    )
    assert around > 0.015
    assert over < around / 2


def variants(kind: str) -> list[np.ndarray]:
    """The kind's pixels, by seed, alone on an empty page."""
    pages = []
    for seed in range(12):
        page = Image.new("RGB", (96, 96))
        brush = Brush(page, PAGE, FULL_LIGHT, False, Random(seed))
        KIND_PAINTERS[kind](brush, coat_of("red"))
        pages.append(np.asarray(page, dtype=int))
    return pages


@pytest.mark.parametrize("kind", ["house", "cat", "fish", "car", "boat", "umbrella", "kite"])
def test_chance_varies_a_kind(kind: str) -> None:
    first, *others = variants(kind)
    assert max((np.abs(first - other).max(axis=-1) > 60).mean() for other in others) > 0.02


@pytest.mark.parametrize("seed", [5, 6, 7, 8])
@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_fills_its_box_and_leaves_the_rest_alone(kind: str, seed: int) -> None:
    scene = scene_with(kind, seed=seed)
    marks, box = changed(scene), scene.things[0].box
    body = marks & inside(box, 96)
    assert body.sum() > 0.3 * inside(box, 96).sum()
    rows, columns = np.nonzero(body)
    reached = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) / 96
    assert np.abs(reached - box).max() < 0.04
    margin = 0.10 if kind in SWIMMING else 0.02
    assert (marks & ~inside(box, 96, margin)).sum() < 0.01 * marks.size


def test_no_two_kinds_look_alike() -> None:
    shapes = {kind: changed(scene_with(kind)) for kind in KINDS}
    for kinds in (FLYING, [kind for kind in KINDS if kind not in FLYING]):
        for kind in kinds:
            for other in set(kinds) - {kind}:
                assert (shapes[kind] ^ shapes[other]).sum() > 60, (kind, other)


@pytest.mark.parametrize("sky", ["day", "sunset", "night", "rain"])
@pytest.mark.parametrize("colour", COLOURS)
def test_a_thing_has_the_colour_of_its_name(colour: str, sky: str) -> None:
    scene = scene_with("balloon", colour, sky)
    middle = pixels(scene)[inside((0.44, 0.22, 0.56, 0.32), 96)].mean(axis=0) / 255
    hue, saturation, value = colorsys.rgb_to_hsv(*middle)
    if colour == "white":
        assert saturation < 0.15
        assert value > 0.75
    else:
        assert saturation > 0.3
        assert abs((hue * 360 - HUES[colour] + 180) % 360 - 180) < 9


def test_nearer_things_hide_farther_ones() -> None:
    far, near = (
        Thing("house", "red", "medium", GROUND_BOX),
        Thing("house", "blue", "medium", GROUND_BOX),
    )
    scene = Scene("day", "grass", 0.5, (far, near), 5)
    red, _, blue = pixels(scene)[inside((0.36, 0.71, 0.64, 0.72), 96)].mean(axis=0)
    assert blue > red + 60


def test_a_sign_is_painted_only_with_a_word() -> None:
    bare = Scene("day", "grass", 0.5, (), 5)
    lower_right = inside((0.45, 0.7, 1.0, 1.0), 96)
    marks = np.abs(pixels(replace(bare, sign="CAT")) - pixels(bare)).max(axis=-1) > 0
    assert marks[lower_right].sum() > 400
    assert not marks[~lower_right].any()
    assert (pixels(replace(bare, sign="CAT")) != pixels(replace(bare, sign="DOG"))).any()


@pytest.mark.parametrize("size", [64, 160, 250])
def test_the_picture_has_the_asked_size(size: int) -> None:
    picture = draw(scene_with("boat"), size)
    assert picture.size == (size, size)
    assert picture.mode == "RGB"


@pytest.mark.parametrize(
    ("scene", "words"),
    [
        (scene_with("cat", sky="fog"), "sky 'fog' .* expected one of day"),
        (scene_with("cat", ground="lava"), "ground 'lava' .* expected one of grass"),
        (scene_with("dragon"), "kind 'dragon' .* expected one of bird"),
        (scene_with("cat", "beige"), "colour 'beige' .* expected one of red"),
    ],
)
def test_what_cannot_be_drawn_is_named(scene: Scene, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        draw(scene)


def test_a_picture_too_small_to_draw_is_refused() -> None:
    with pytest.raises(ValueError, match="size 8 is too small"):
        draw(scene_with("cat"), 8)
