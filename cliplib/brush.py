"""The brush that draws everything, its inks, and helpers for points on the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from random import Random

import numpy as np
from PIL import Image, ImageDraw

from cliplib.scenes import Box

Ink = tuple[int, ...]  # red, green, blue and perhaps opacity, each 0 to 255
Light = tuple[float, float, float]  # what the light leaves of red, green and blue
Point = tuple[float, ...]

WHITE: Ink = (255, 255, 255)
FULL_LIGHT: Light = (1.0, 1.0, 1.0)
PAGE: Box = (0.0, 0.0, 1.0, 1.0)
COLOUR_INKS: dict[str, Ink] = {
    "red": (220, 30, 38),
    "orange": (250, 134, 14),
    "yellow": (254, 220, 40),
    "green": (40, 158, 66),
    "blue": (36, 104, 222),
    "purple": (122, 48, 172),
    "pink": (250, 136, 190),
    "white": (250, 250, 250),
}
EDGE_WIDTH = 0.006  # share of the picture's side


def mix(first: Ink, second: Ink, share: float) -> Ink:
    """The colour that lies `share` of the way from the first to the second."""
    return tuple(round(a + (b - a) * share) for a, b in zip(first, second, strict=True))


@dataclass(frozen=True)
class Coat:
    """The tones of a colour: plain, in the light, in the shade, at edges and in patterns."""

    base: Ink
    light: Ink
    dark: Ink
    edge: Ink
    pattern: Ink


def coat_of(colour: str) -> Coat:
    """The tones in which a thing of that colour is painted."""
    base = COLOUR_INKS[colour]
    if colour == "white":
        return Coat(base, WHITE, (216, 222, 234), (112, 120, 142), (206, 214, 228))
    red, green, blue = base
    dark = (round(red * 0.86), round(green * 0.79), round(blue * 0.84))
    edge = (round(red * 0.52), round(green * 0.42), round(blue * 0.50))
    return Coat(base, mix(base, WHITE, 0.3), dark, edge, mix(base, WHITE, 0.86))


@lru_cache(maxsize=1024)
def path(percents: str) -> tuple[Point, ...]:
    """Points (or circles) written as "x,y x,y ..." (or "x,y,radius ..."), in hundredths."""
    return tuple(tuple(float(n) / 100 for n in point.split(",")) for point in percents.split())


def arc(x: float, y: float, radius: float, start: float, end: float) -> list[Point]:
    """Points on a circle between two angles in turns, clockwise from the right."""
    angles = np.linspace(start, end, 25) * math.tau
    return [(x + radius * math.cos(a), y + radius * math.sin(a)) for a in angles]


@lru_cache(maxsize=1024)
def smooth(points: tuple[Point, ...], closed: bool) -> tuple[Point, ...]:
    """A soft curve (Catmull-Rom) through the points."""
    knots = np.array(
        [points[-1], *points, *points[:2]] if closed else [points[0], *points, points[-1]]
    )
    t = np.linspace(0, 1, 6)[:, None, None]
    before, start, end, after = knots[:-3], knots[1:-2], knots[2:-1], knots[3:]
    bend = (2 * before - 5 * start + 4 * end - after) * t**2
    twist = (3 * start - before - 3 * end + after) * t**3
    pieces = start + ((end - before) * t + bend + twist) / 2
    return tuple((x, y) for x, y in pieces.swapaxes(0, 1).reshape(-1, 2).tolist())


@lru_cache(maxsize=256)
def soft_spot(width: int, height: int, strength: int) -> Image.Image:
    """A mask that fades from `strength` in the middle to nothing at the rim."""
    # Pillow's gradient is 255 in the corners and so 180 at the rim of the inscribed ellipse.
    fade = [round(strength * max(0.0, 1 - i / 180) ** 1.4) for i in range(256)]
    return Image.radial_gradient("L").resize((width, height)).point(fade)


@dataclass(frozen=True)
class Brush:
    """Paints under a certain light, in coordinates that run from 0 to 1 across a box.

    If mirrored, x runs from the right to the left. Widths and radii are shares of the width."""

    image: Image.Image
    box: Box
    light: Light
    mirrored: bool
    chance: Random

    @cached_property
    def pen(self) -> ImageDraw.ImageDraw:
        return ImageDraw.Draw(self.image, "RGBA")

    def at(self, x: float, y: float) -> tuple[float, float]:
        left, top, right, bottom = self.box
        across = 1 - x if self.mirrored else x
        side = self.image.width
        return (left + across * (right - left)) * side, (top + y * (bottom - top)) * side

    def wide(self, share: float) -> float:
        return share * (self.box[2] - self.box[0]) * self.image.width

    def high(self, share: float) -> float:
        return share * (self.box[3] - self.box[1]) * self.image.width

    def lit(self, ink: Ink) -> Ink:
        red, green, blue = self.light
        return int(ink[0] * red), int(ink[1] * green), int(ink[2] * blue), *ink[3:]

    def _corners(self, left: float, top: float, right: float, bottom: float) -> Box:
        (x1, y1), (x2, y2) = self.at(left, top), self.at(right, bottom)
        return min(x1, x2), y1, max(x1, x2), y2

    def _inks(self, fill: Ink, edge: Ink | None) -> tuple[Ink, Ink | None, int]:
        width = max(1, round(EDGE_WIDTH * self.image.width)) if edge else 0
        return self.lit(fill), self.lit(edge) if edge else None, width

    def ellipse(self, box: Box, fill: Ink, edge: Ink | None = None) -> None:
        self.pen.ellipse(self._corners(*box), *self._inks(fill, edge))

    def rectangle(self, box: Box, fill: Ink, edge: Ink | None = None) -> None:
        self.pen.rectangle(self._corners(*box), *self._inks(fill, edge))

    def disc(self, x: float, y: float, radius: float, fill: Ink, edge: Ink | None = None) -> None:
        (x, y), r = self.at(x, y), self.wide(radius)
        self.pen.ellipse((x - r, y - r, x + r, y + r), *self._inks(fill, edge))

    def polygon(self, points: Sequence[Point], fill: Ink, edge: Ink | None = None) -> None:
        pixels = [self.at(x, y) for x, y in points]
        fill, edge, width = self._inks(fill, edge)
        self.pen.polygon(pixels, fill)
        if edge:
            self.pen.line([*pixels, *pixels[:2]], edge, width, "curve")

    def blob(self, points: Sequence[Point], fill: Ink, edge: Ink | None = None) -> None:
        """A polygon with all its corners rounded off."""
        self.polygon(smooth(tuple(points), closed=True), fill, edge)

    def line(self, points: Sequence[Point], width: float, ink: Ink) -> None:
        """Straight strokes."""
        self.pen.line([self.at(*p) for p in points], self.lit(ink), max(1, round(self.wide(width))))

    def stroke(self, points: Sequence[Point], width: float, ink: Ink) -> None:
        """A soft curve with round ends."""
        pixels = [self.at(x, y) for x, y in smooth(tuple(points), closed=False)]
        self.pen.line(pixels, self.lit(ink), max(1, round(self.wide(width))), "curve")
        for x, y in (points[0], points[-1]):
            self.disc(x, y, width / 2, ink)

    def glow(self, x: float, y: float, radii: tuple[float, float], ink: Ink, strength: int) -> None:
        """A soft spot, which keeps its own colour in any light."""
        wide, high = radii
        left, top, right, bottom = map(round, self._corners(x - wide, y - high, x + wide, y + high))
        spot = soft_spot(max(1, right - left), max(1, bottom - top), strength)
        self.image.paste(ink, (left, top), spot)

    def fade(self, outline: Sequence[Point], stops: Sequence[Ink]) -> None:
        """Fill an outline with colours that run from its highest point down to its lowest."""
        pixels = [self.at(x, y) for x, y in outline]
        top = int(min(y for _, y in pixels))
        bottom = max(top + 1, math.ceil(max(y for _, y in pixels)))
        rows, lit = np.linspace(0, len(stops) - 1, bottom - top), [self.lit(ink) for ink in stops]
        bands = [np.interp(rows, range(len(stops)), band) for band in zip(*lit, strict=True)]
        column = Image.fromarray(np.stack(bands, axis=-1).astype(np.uint8)[:, None])
        mask = Image.new("1", (self.image.width, bottom - top))
        ImageDraw.Draw(mask).polygon([(x, y - top) for x, y in pixels], fill=1)
        self.image.paste(column.resize(mask.size), (0, top), mask)
