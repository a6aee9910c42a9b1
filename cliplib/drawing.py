"""Draws scenes as pictures for a children's book."""

from __future__ import annotations

from functools import lru_cache
from random import Random

from PIL import Image, ImageFont

from cliplib import backdrop, things
from cliplib.backdrop import GROUND_PAINTERS, SKY_LOOKS, sun_place
from cliplib.brush import COLOUR_INKS, PAGE, WHITE, Brush, coat_of, mix, path
from cliplib.scenes import KINDS, SWIMMING, Box, Scene, Thing

KIND_PAINTERS = {kind: getattr(things, kind) for kind in KINDS}
FACING_EITHER_WAY = ("bird", "boat", "fish", "car", "cat")
LAMPS = {"house": "22,69,22 78,69,22 50,38,18", "lighthouse": "50,18,40", "car": "95,60,16"}


def _ground_under(brush: Brush, thing: Thing, ground: str) -> None:
    """What lies beneath a thing: its shadow, or the pond or island that lets it be there."""
    swims = thing.kind in SWIMMING
    if swims and ground == "sea":
        brush.ellipse((-0.10, 0.90, 1.10, 1.06), (20, 70, 130, 110))
    elif swims:
        water = (176, 214, 238) if ground == "snow" else (70, 152, 214)
        brush.ellipse((-0.22, 0.74, 1.22, 1.16), mix(water, (34, 30, 40), 0.35))
        brush.ellipse((-0.20, 0.77, 1.20, 1.14), water)
        brush.ellipse((-0.08, 0.98, 0.40, 1.08), mix(water, WHITE, 0.35))
    elif ground == "sea":
        brush.ellipse((-0.24, 0.86, 1.24, 1.12), (226, 244, 250))
        brush.ellipse((-0.20, 0.86, 1.20, 1.09), (206, 172, 116))
        brush.ellipse((-0.20, 0.85, 1.20, 1.07), (244, 218, 160))
    if not swims:
        brush.glow(0.56, 0.985, (0.66, 0.10), (20, 20, 50), 170)


def _splash(brush: Brush) -> None:
    for wave in ("6,95 23,90 40,95", "36,97 53,92 70,97", "62,95 79,90 96,95"):
        brush.stroke(path(wave), 0.035, (236, 248, 255))


def _thing(image: Image.Image, scene: Scene, thing: Thing, chance: Random) -> None:
    look, sun_is_right = SKY_LOOKS[scene.sky], sun_place(scene)[0] > 0.5
    if not thing.flies:
        floor = Brush(image, thing.box, look.on_ground, sun_is_right, chance)
        _ground_under(floor, thing, scene.ground)
    faces_left = chance.random() < 0.5
    mirrored = faces_left if thing.kind in FACING_EITHER_WAY else sun_is_right
    brush = Brush(image, thing.box, look.on_things, mirrored, chance)
    KIND_PAINTERS[thing.kind](brush, coat_of(thing.colour))
    if scene.sky == "night":
        for x, y, radius in path(LAMPS.get(thing.kind, "")):
            radii = (radius, radius * brush.wide(1) / brush.high(1))
            brush.glow(x, y, radii, (255, 226, 120), 190)
    if thing.kind in SWIMMING:
        _splash(brush)


SIGN_BOARD: Box = (0.50, 0.76, 0.96, 0.90)


@lru_cache(maxsize=64)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size)


def _sign(image: Image.Image, scene: Scene) -> None:
    light, chance = SKY_LOOKS[scene.sky].on_things, Random(scene.decoration_seed)
    brush = Brush(image, PAGE, light, False, chance)
    left, top, right, bottom = SIGN_BOARD
    middle = (left + right) / 2
    brush.glow(middle, 0.985, (0.08, 0.012), (20, 20, 50), 170)
    brush.rectangle((middle - 0.02, top, middle + 0.02, 0.985), (122, 82, 46), (78, 50, 30))
    brush.rectangle(SIGN_BOARD, (226, 182, 118), (96, 62, 34))
    for y in (top + 0.045, top + 0.095):
        brush.line([(left + 0.01, y), (right - 0.01, y)], 0.004, (204, 158, 98))
    size, room = round(brush.high(bottom - top - 0.03)), brush.wide(right - left - 0.04)
    while size > 4 and _font(size).getlength(scene.sign) > room:
        size -= 1
    centre = brush.at(middle, (top + bottom) / 2)
    brush.pen.text(centre, scene.sign, brush.lit((66, 36, 20)), _font(size), anchor="mm")


def _require(name: str, value: str, known: dict) -> None:
    if value not in known:
        choices = ", ".join(known)
        raise ValueError(f"The {name} {value!r} cannot be drawn; expected one of {choices}.")


def draw(scene: Scene, size: int = 160) -> Image.Image:
    """The picture of a scene, such as a model is to match with captions.

    The same scene gives the same pixels wherever the same Pillow is installed.

    Args:
        scene: what to draw; its boxes and horizon are shares of the picture's side.
        size: width and height of the picture in pixels, at least 16.

    Returns:
        A square RGB picture.

    Raises:
        ValueError: if the sky, the ground, a kind or a colour is unknown, or the size too small.
    """
    if size < 16:
        raise ValueError(f"The size {size} is too small to draw; expected at least 16 pixels.")
    _require("sky", scene.sky, SKY_LOOKS)
    _require("ground", scene.ground, GROUND_PAINTERS)
    for thing in scene.things:
        _require("kind", thing.kind, KIND_PAINTERS)
        _require("colour", thing.colour, COLOUR_INKS)
    finer = 3 if size <= 240 else 2
    image = Image.new("RGB", (size * finer, size * finer))
    backdrop.paint_backdrop(image, scene)
    for i, thing in enumerate(scene.things):
        _thing(image, scene, thing, Random(f"{scene.decoration_seed} thing {i}"))
    backdrop.paint_weather(image, scene)
    if scene.sign:
        _sign(image, scene)
    return image.reduce(finer)
