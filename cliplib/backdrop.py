"""The brush all drawing is done with, and what it paints behind and before things: sky, ground, weather."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random

import numpy as np
from PIL import Image, ImageDraw

from cliplib.scenes import Box, Scene

Ink = tuple[int, ...]  # red, green, blue and perhaps opacity, each 0 to 255
Point = tuple[float, float]
Light = tuple[float, float, float]  # what the light leaves of red, green and blue

WHITE_LIGHT: Light = (1.0, 1.0, 1.0)
PAGE: Box = (0.0, 0.0, 1.0, 1.0)
EDGE_WIDTH = 0.006  # share of the picture's side

SKY_STOPS: dict[str, tuple[Ink, ...]] = {
    "day": ((58, 140, 228), (120, 190, 245), (205, 233, 252)),
    "sunset": ((112, 74, 150), (236, 112, 104), (255, 206, 116)),
    "night": ((12, 16, 50), (24, 34, 84), (58, 72, 130)),
    "rain": ((84, 94, 110), (122, 132, 146), (166, 174, 182)),
    "snowfall": ((150, 150, 184), (178, 176, 206), (208, 205, 226)),
    "rainbow": ((126, 178, 222), (176, 210, 234), (232, 240, 240)),
}
LIGHT_ON_GROUND: dict[str, Light] = {
    "day": WHITE_LIGHT,
    "sunset": (1.0, 0.80, 0.72),
    "night": (0.36, 0.42, 0.62),
    "rain": (0.72, 0.76, 0.80),
    "snowfall": (0.93, 0.94, 0.98),
    "rainbow": (0.97, 1.0, 0.97),
}
LIGHT_ON_THINGS: dict[str, Light] = {
    "day": WHITE_LIGHT,
    "sunset": (1.0, 0.92, 0.86),
    "night": (0.78, 0.78, 0.88),
    "rain": (0.90, 0.92, 0.94),
    "snowfall": (0.97, 0.97, 1.0),
    "rainbow": WHITE_LIGHT,
}


def mix(first: Ink, second: Ink, share: float) -> Ink:
    """The colour that lies `share` of the way from the first to the second."""
    return tuple(round(a + (b - a) * share) for a, b in zip(first, second, strict=True))


@lru_cache(maxsize=4096)
def smooth(points: tuple[Point, ...], closed: bool) -> tuple[Point, ...]:
    """A soft curve (Catmull-Rom) through the points."""
    last = len(points) - 1
    curve = []
    for i in range(len(points) if closed else last):
        around = [points[j % len(points)] if closed else points[min(max(j, 0), last)] for j in range(i - 1, i + 3)]
        for t in (0.0, 0.2, 0.4, 0.6, 0.8):
            a, b, c, d = -t / 2 * (1 - t) ** 2, 1 - t * t * (2.5 - 1.5 * t), 0.0, t * t * (t - 1) / 2
            c = 1 - a - b - d
            curve.append(tuple(a * p + b * q + c * r + d * s for p, q, r, s in zip(*around, strict=True)))
    return tuple(curve) if closed else (*curve, points[last])


@lru_cache(maxsize=256)
def soft_spot(width: int, height: int, strength: int) -> Image.Image:
    """A mask that fades from `strength` in the middle to nothing at the rim."""
    fade = [round(strength * max(0.0, 1 - i / 255) ** 1.6) for i in range(256)]
    return Image.radial_gradient("L").resize((width, height)).point(fade)


@dataclass(frozen=True)
class Brush:
    """Paints under a certain light, in coordinates that run from 0 to 1 across a box.

    If mirrored, x runs from the right to the left."""

    image: Image.Image
    pen: ImageDraw.ImageDraw
    box: Box
    light: Light
    mirrored: bool
    chance: Random

    def at(self, x: float, y: float) -> Point:
        left, top, right, bottom = self.box
        if self.mirrored:
            x = 1 - x
        side = self.image.width
        return (left + x * (right - left)) * side, (top + y * (bottom - top)) * side

    def wide(self, share: float) -> float:
        """Pixels in a share of the box's width."""
        return share * (self.box[2] - self.box[0]) * self.image.width

    def tall(self, share: float) -> float:
        """Pixels in a share of the box's height."""
        return share * (self.box[3] - self.box[1]) * self.image.width

    def lit(self, ink: Ink | None) -> Ink | None:
        if ink is None:
            return None
        red, green, blue = self.light
        return (int(ink[0] * red), int(ink[1] * green), int(ink[2] * blue), *ink[3:])

    def _corners(self, left: float, top: float, right: float, bottom: float) -> tuple[float, ...]:
        (x1, y1), (x2, y2) = self.at(left, top), self.at(right, bottom)
        return min(x1, x2), y1, max(x1, x2), y2

    def _edge(self) -> int:
        return max(1, round(EDGE_WIDTH * self.image.width))

    def ellipse(
        self, left: float, top: float, right: float, bottom: float, fill: Ink, edge: Ink | None = None
    ) -> None:
        corners = self._corners(left, top, right, bottom)
        self.pen.ellipse(corners, self.lit(fill), self.lit(edge), self._edge() if edge else 0)

    def disc(self, x: float, y: float, radius: float, fill: Ink, edge: Ink | None = None) -> None:
        """A circle; its radius is a share of the box's width."""
        (x, y), r = self.at(x, y), self.wide(radius)
        corners = (x - r, y - r, x + r, y + r)
        self.pen.ellipse(corners, self.lit(fill), self.lit(edge), self._edge() if edge else 0)

    def rectangle(
        self, left: float, top: float, right: float, bottom: float, fill: Ink, edge: Ink | None = None
    ) -> None:
        corners = self._corners(left, top, right, bottom)
        self.pen.rectangle(corners, self.lit(fill), self.lit(edge), self._edge() if edge else 0)

    def polygon(self, points: Sequence[Point], fill: Ink, edge: Ink | None = None) -> None:
        pixels = [self.at(x, y) for x, y in points]
        self.pen.polygon(pixels, self.lit(fill))
        if edge:
            self.pen.line([*pixels, *pixels[:2]], self.lit(edge), self._edge(), "curve")

    def blob(self, points: Sequence[Point], fill: Ink, edge: Ink | None = None) -> None:
        """A polygon with all its corners rounded off."""
        self.polygon(smooth(tuple(points), closed=True), fill, edge)

    def line(self, points: Sequence[Point], width: float, fill: Ink) -> None:
        """Straight strokes; `width` is a share of the box's width."""
        pixels = [self.at(x, y) for x, y in points]
        self.pen.line(pixels, self.lit(fill), max(1, round(self.wide(width))))

    def stroke(self, points: Sequence[Point], width: float, fill: Ink) -> None:
        """A soft curve with round ends."""
        pixels = [self.at(x, y) for x, y in smooth(tuple(points), closed=False)]
        self.pen.line(pixels, self.lit(fill), max(1, round(self.wide(width))), "curve")
        self.disc(*points[0], width / 2, fill)
        self.disc(*points[-1], width / 2, fill)

    def glow(self, x: float, y: float, wide: float, high: float, ink: Ink, strength: int) -> None:
        """A soft spot, `wide` and `high` being the half axes; light of its own, so it is not tinted."""
        corners = [round(c) for c in self._corners(x - wide, y - high, x + wide, y + high)]
        left, top, right, bottom = corners
        if right > left and bottom > top:
            spot = soft_spot(right - left, bottom - top, strength)
            self.image.paste(ink, (left, top), spot)

    def fade(self, outline: Sequence[Point], stops: Sequence[Ink]) -> None:
        """Fill an outline with colours that run from its highest point down to its lowest."""
        pixels = [self.at(x, y) for x, y in outline]
        top, bottom = int(min(y for _, y in pixels)), math.ceil(max(y for _, y in pixels))
        rows = np.linspace(0, len(stops) - 1, bottom - top)
        lit = np.array([self.lit(stop) for stop in stops])
        column = np.stack([np.interp(rows, range(len(stops)), lit[:, i]) for i in range(3)], axis=-1)
        width = self.image.width
        colours = Image.fromarray(column.astype(np.uint8)[:, None]).resize((width, bottom - top))
        mask = Image.new("1", colours.size)
        ImageDraw.Draw(mask).polygon([(x, y - top) for x, y in pixels], fill=1)
        self.image.paste(colours, (0, top), mask)


def sun_place(scene: Scene) -> Point:
    """Where the sun or moon stands, also if clouds hide it."""
    chance = Random(f"{scene.decoration_seed} sun")
    x = chance.uniform(0.10, 0.36) if chance.random() < 0.5 else chance.uniform(0.64, 0.90)
    if scene.sky == "sunset":
        return x, scene.horizon - chance.uniform(0.03, 0.07)
    return x, chance.uniform(0.10, 0.18)


def _cloud(brush: Brush, x: float, y: float, width: float, body: Ink, shade: Ink) -> None:
    chance = brush.chance
    lumps = [
        (x + width * offset, y - width * lift * chance.uniform(0.6, 1.2), width * radius)
        for offset, lift, radius in (
            (-0.34, 0.02, 0.14), (-0.14, 0.12, 0.19), (0.10, 0.16, 0.22), (0.32, 0.04, 0.15)
        )
    ]  # fmt: skip
    for ink, sink in ((shade, 0.05 * width), (body, 0.0)):
        for lump_x, lump_y, radius in lumps:
            brush.disc(lump_x, lump_y + sink, radius - sink / 3, ink)
        brush.ellipse(x - width / 2, y - width * 0.08 + sink, x + width / 2, y + width * 0.13, ink)


def _clouds(brush: Brush, horizon: float, number: int, body: Ink, shade: Ink) -> None:
    for i in range(number):
        x = (i + brush.chance.uniform(0.1, 0.9)) / number
        y = brush.chance.uniform(0.07, 0.75 * horizon)
        _cloud(brush, x, y, brush.chance.uniform(0.16, 0.30), body, shade)


def _day(brush: Brush, horizon: float, sun: Point) -> None:
    x, y = sun
    brush.glow(x, y, 0.30, 0.30, (255, 246, 200), 210)
    brush.disc(x, y, 0.075, (255, 214, 64), (255, 236, 150))
    _clouds(brush, horizon, brush.chance.randint(2, 4), (255, 255, 255), (206, 226, 244))


def _sunset(brush: Brush, horizon: float, sun: Point) -> None:
    x, y = sun
    brush.glow(x, y, 0.52, 0.40, (255, 232, 130), 230)
    _clouds(brush, horizon * 0.8, brush.chance.randint(2, 4), (250, 160, 140), (176, 92, 134))
    brush.disc(x, y, 0.125, (255, 176, 52), (255, 226, 120))


def _night(brush: Brush, horizon: float, sun: Point) -> None:
    chance = brush.chance
    for _ in range(60):
        x, y = chance.random(), chance.uniform(0, horizon)
        brush.disc(x, y, chance.choice((0.003, 0.004, 0.006)), (255, 250, 215, chance.randint(140, 255)))
    for _ in range(5):
        x, y, r = chance.random(), chance.uniform(0, 0.8 * horizon), chance.uniform(0.015, 0.022)
        star = [(x + r * k * math.cos(a), y + r * k * math.sin(a)) for a, k in _STAR_POINTS]
        brush.polygon(star, (255, 248, 200))
    x, y = sun
    brush.glow(x, y, 0.26, 0.26, (190, 200, 255), 150)
    if chance.random() < 0.5:
        brush.disc(x, y, 0.075, (252, 246, 214))
        for dx, dy, r in ((-0.025, -0.02, 0.016), (0.02, 0.02, 0.020), (0.025, -0.03, 0.010)):
            brush.disc(x + dx, y + dy, r, (228, 220, 186))
    else:
        outer = [(x + 0.08 * math.cos(a / 9), y + 0.08 * math.sin(a / 9)) for a in range(9, 48)]
        inner = [(x + 0.033 + 0.068 * math.cos(a / 9), y - 0.022 + 0.068 * math.sin(a / 9)) for a in range(47, 9, -1)]
        brush.polygon(outer + inner, (252, 246, 214))


_STAR_POINTS = [(i * math.pi / 4, 1.0 if i % 2 == 0 else 0.32) for i in range(8)]


def _rain(brush: Brush, horizon: float, sun: Point) -> None:
    for row, (body, shade) in enumerate((((104, 112, 126), (84, 92, 106)), ((136, 143, 155), (98, 106, 120)))):
        for i in range(4):
            x = (i + brush.chance.uniform(0.2, 0.8)) / 4
            _cloud(brush, x, 0.05 + 0.08 * row + brush.chance.uniform(0, 0.05), 0.40, body, shade)


def _snowfall(brush: Brush, horizon: float, sun: Point) -> None:
    _clouds(brush, horizon, 3, (200, 198, 220), (168, 166, 196))


def _rainbow(brush: Brush, horizon: float, sun: Point) -> None:
    _clouds(brush, 0.7 * horizon, 2, (255, 255, 255), (198, 210, 224))
    middle, radius = 0.5 + (0.5 - sun[0]) * 0.4, brush.chance.uniform(0.40, 0.48)
    x, y = brush.at(middle, horizon + 0.06)
    band = 0.023
    for i, ink in enumerate(_RAINBOW_INKS):
        r = brush.wide(radius - i * band)
        brush.pen.arc((x - r, y - r, x + r, y + r), 180, 360, (*ink, 215), round(brush.wide(band)) + 1)
    for foot in (-1, 1):
        x = middle + foot * (radius - 0.07)
        _cloud(brush, x, horizon - 0.02, 0.26, (255, 255, 255), (206, 218, 230))


_RAINBOW_INKS = ((232, 60, 60), (250, 150, 50), (252, 226, 80), (84, 190, 90), (70, 130, 226), (150, 84, 196))


def _rolling(chance: Random, y: float, height: float) -> list[Point]:
    """A hilly line from the left to the right border, and the ground's lower corners."""
    start, second = chance.uniform(0, 6.28), chance.uniform(0, 6.28)
    waves, more = chance.uniform(3.0, 6.0), chance.uniform(7.0, 11.0)
    steps = [i / 32 for i in range(33)]
    line = [
        (x, y - height * (0.7 * math.sin(start + waves * x) + 0.3 * math.sin(second + more * x)))
        for x in steps
    ]
    return [*line, (1.0, 1.0), (0.0, 1.0)]


def _somewhere(brush: Brush, horizon: float) -> tuple[float, float, float]:
    """A place on the ground, and how near it is to the viewer, from 0.3 to 1."""
    depth = brush.chance.random() ** 0.8
    return brush.chance.random(), horizon + 0.03 + (0.97 - horizon) * depth, 0.3 + 0.7 * depth


def _grass(brush: Brush, horizon: float, sun: Point) -> None:
    chance = brush.chance
    far = mix((126, 186, 120), (150, 190, 80), chance.random())
    brush.fade(_rolling(chance, horizon - 0.02, 0.045), (mix(far, (190, 220, 220), 0.35), far))
    near = mix((104, 184, 74), (134, 190, 60), chance.random())
    brush.fade(_rolling(chance, horizon + 0.02, 0.018), (near, mix(near, (48, 128, 54), 0.7)))
    band = _rolling(chance, horizon + 0.5 * (1 - horizon), 0.03)
    brush.polygon(band, (60, 140, 50, 70))
    for _ in range(34):
        x, y, near = _somewhere(brush, horizon)
        tuft = [(x - 0.012 * near, y - 0.02 * near), (x, y), (x, y - 0.03 * near), (x, y), (x + 0.013 * near, y - 0.018 * near)]
        brush.line(tuft, 0.005, chance.choice(((46, 118, 44), (66, 138, 50), (156, 206, 96))))
    for _ in range(chance.randint(8, 18)):
        x, y, near = _somewhere(brush, horizon)
        brush.disc(x, y, 0.008 * near, chance.choice(((255, 255, 255), (255, 236, 120), (255, 200, 220))))
        brush.disc(x, y, 0.003 * near, (240, 180, 40))


def _sand(brush: Brush, horizon: float, sun: Point) -> None:
    chance = brush.chance
    brush.fade(_rolling(chance, horizon - 0.015, 0.03), ((226, 200, 150), (214, 184, 130)))
    sand = mix((246, 222, 166), (240, 208, 150), chance.random())
    brush.fade(_rolling(chance, horizon + 0.025, 0.018), (sand, mix(sand, (222, 180, 116), 0.8)))
    for _ in range(16):
        x, y, near = _somewhere(brush, horizon)
        w = chance.uniform(0.05, 0.10) * near
        ripple = [(x - w, y), (x - w / 2, y - 0.010 * near), (x, y), (x + w / 2, y - 0.010 * near), (x + w, y)]
        brush.stroke(ripple, 0.006 * near, (206, 164, 104))
    for _ in range(26):
        x, y, near = _somewhere(brush, horizon)
        brush.ellipse(x, y, x + 0.012 * near, y + 0.008 * near, chance.choice(((196, 156, 104), (255, 244, 220), (182, 150, 120))))


def _snow(brush: Brush, horizon: float, sun: Point) -> None:
    chance = brush.chance
    tops = [(i / 40, horizon - 0.012 - (0.035 if i % 2 else 0.0) * chance.uniform(0.6, 1.2)) for i in range(41)]
    brush.polygon([*tops, (1.0, 1.0), (0.0, 1.0)], (126, 150, 184))
    brush.fade(_rolling(chance, horizon - 0.005, 0.018), ((206, 220, 242), (190, 208, 236)))
    brush.fade(_rolling(chance, horizon + 0.035, 0.022), ((248, 251, 255), (222, 233, 250)))
    line = _rolling(chance, horizon + chance.uniform(0.4, 0.6) * (1 - horizon), 0.04)
    brush.fade(line, ((252, 254, 255), (214, 228, 248)))
    brush.line(line[:-2], 0.006, (204, 220, 244))
    for _ in range(24):
        x, y, near = _somewhere(brush, horizon)
        brush.disc(x, y, 0.005 * near, chance.choice(((255, 255, 255), (186, 206, 240))))


def _sea(brush: Brush, horizon: float, sun: Point) -> None:
    chance = brush.chance
    water = mix((64, 158, 200), (54, 140, 206), chance.random())
    shore = [(0.0, horizon), (1.0, horizon), (1.0, 1.0), (0.0, 1.0)]
    brush.fade(shore, (mix(water, (190, 226, 236), 0.45), water, mix(water, (14, 70, 140), 0.65)))
    row, gap = horizon + 0.03, 0.022
    while row < 1.0:
        for _ in range(max(2, round(0.16 / gap))):
            x, y, w = chance.uniform(-0.05, 1.0), row + chance.uniform(0, gap), gap * chance.uniform(1.5, 2.6)
            crest = [(x, y), (x + w / 4, y - gap / 5), (x + w / 2, y), (x + 3 * w / 4, y - gap / 5), (x + w, y)]
            brush.stroke(crest, gap / 7, chance.choice(((176, 222, 240), (220, 242, 250), (30, 96, 166))))
        row, gap = row + gap, gap * 1.3


def _glitter(brush: Brush, horizon: float, x: float, ink: Ink) -> None:
    for i in range(16):
        depth = (i + brush.chance.random()) / 16
        y, w = horizon + 0.01 + depth * 0.6 * (1 - horizon), 0.02 + 0.05 * depth
        middle = x + brush.chance.uniform(-0.06, 0.06) * (0.5 + depth)
        brush.ellipse(middle - w, y, middle + w, y + 0.004 + 0.008 * depth, (*ink, 190))


def _road(brush: Brush, horizon: float, sun: Point) -> None:
    chance = brush.chance
    x = -0.03
    while x < 1.0:
        width, top = chance.uniform(0.07, 0.15), horizon - chance.uniform(0.03, 0.12)
        brush.rectangle(x, top, x + width, horizon + 0.02, chance.choice(((172, 178, 196), (158, 166, 188), (184, 184, 198))))
        for i in range(int(width / 0.03)):
            for j in range(int((horizon - top) / 0.03)):
                left, upper = x + 0.012 + i * 0.03, top + 0.012 + j * 0.03
                brush.rectangle(left, upper, left + 0.012, upper + 0.014, (222, 224, 226))
        x += width
    kerb = horizon + 0.09 + chance.uniform(0, 0.03)
    brush.rectangle(0.0, horizon, 1.0, kerb, (206, 200, 192))
    for i in range(-2, 14):
        slant = (i / 11 - 0.5) * 0.12
        brush.line([(i / 11, horizon), (i / 11 + slant, kerb)], 0.005, (176, 170, 164))
    brush.line([(0.0, horizon + 0.035), (1.0, horizon + 0.035)], 0.005, (176, 170, 164))
    brush.fade([(0.0, kerb), (1.0, kerb), (1.0, 1.0), (0.0, 1.0)], ((128, 130, 136), (98, 100, 108)))
    brush.rectangle(0.0, kerb, 1.0, kerb + 0.018, (232, 228, 220))
    brush.rectangle(0.0, kerb + 0.018, 1.0, kerb + 0.030, (150, 148, 148))
    middle, shift = kerb + 0.03 + 0.5 * (0.97 - kerb), chance.uniform(-0.2, 0.0)
    for i in range(6):
        left = shift + 0.22 * i
        brush.polygon([(left + 0.012, middle - 0.012), (left + 0.132, middle - 0.012), (left + 0.12, middle + 0.014), (left, middle + 0.014)], (250, 246, 226))
    for _ in range(24):
        x, y, near = _somewhere(brush, kerb)
        brush.ellipse(x, y, x + 0.010 * near, y + 0.005 * near, chance.choice(((88, 90, 96), (140, 142, 148))))


def _puddles(brush: Brush, scene: Scene) -> None:
    for _ in range(4):
        x, y, near = _somewhere(brush, scene.horizon + 0.04)
        w = brush.chance.uniform(0.06, 0.12) * near
        brush.ellipse(x - w, y - w / 4, x + w, y + w / 4, (176, 192, 208, 170))
        for r in (0.6, 0.3):
            brush.ellipse(x - w * r, y - w * r / 4, x + w * r, y + w * r / 4, (206, 218, 228, 120))


def _raindrops(brush: Brush) -> None:
    for _ in range(85):
        x, y, length = brush.chance.uniform(0, 1.1), brush.chance.uniform(-0.05, 1), brush.chance.uniform(0.04, 0.08)
        brush.line([(x, y), (x - 0.35 * length, y + length)], 0.006, (226, 236, 246, 165))


def _snowflakes(brush: Brush) -> None:
    chance = brush.chance
    for _ in range(70):
        brush.disc(chance.random(), chance.random(), chance.uniform(0.006, 0.016), (255, 255, 255, 240))
    for _ in range(14):
        x, y, r = chance.random(), chance.random(), chance.uniform(0.020, 0.030)
        for turn in range(3):
            a = turn * math.pi / 3 + r * 50
            arm = r * math.cos(a), r * math.sin(a)
            brush.line([(x - arm[0], y - arm[1]), (x + arm[0], y + arm[1])], 0.007, (255, 255, 255))
        brush.disc(x, y, r * 0.45, (255, 255, 255))


Painter = Callable[[Brush, float, Point], None]
SKY_PAINTERS: dict[str, Painter] = {
    "day": _day,
    "sunset": _sunset,
    "night": _night,
    "rain": _rain,
    "snowfall": _snowfall,
    "rainbow": _rainbow,
}
GROUND_PAINTERS: dict[str, Painter] = {
    "grass": _grass,
    "sand": _sand,
    "snow": _snow,
    "sea": _sea,
    "road": _road,
}
GLITTER: dict[str, Ink] = {"day": (255, 250, 214), "sunset": (255, 214, 120), "night": (214, 220, 250)}


def paint_backdrop(image: Image.Image, scene: Scene) -> None:
    """Paint the sky and the ground of the scene."""
    pen = ImageDraw.Draw(image, "RGBA")
    sun = sun_place(scene)
    sky = Brush(image, pen, PAGE, WHITE_LIGHT, False, Random(f"{scene.decoration_seed} sky"))
    sky.fade([(0, 0), (1, 0), (1, scene.horizon + 0.05), (0, scene.horizon + 0.05)], SKY_STOPS[scene.sky])
    SKY_PAINTERS[scene.sky](sky, scene.horizon, sun)
    chance = Random(f"{scene.decoration_seed} ground")
    ground = Brush(image, pen, PAGE, LIGHT_ON_GROUND[scene.sky], False, chance)
    GROUND_PAINTERS[scene.ground](ground, scene.horizon, sun)
    if scene.ground == "sea" and scene.sky in GLITTER:
        _glitter(sky, scene.horizon, sun[0], GLITTER[scene.sky])
    if scene.sky == "rain":
        _puddles(sky, scene)


def paint_weather(image: Image.Image, scene: Scene) -> None:
    """Paint what falls in front of the things."""
    chance = Random(f"{scene.decoration_seed} weather")
    brush = Brush(image, ImageDraw.Draw(image, "RGBA"), PAGE, WHITE_LIGHT, False, chance)
    if scene.sky == "rain":
        _raindrops(brush)
    elif scene.sky == "snowfall":
        _snowflakes(brush)
