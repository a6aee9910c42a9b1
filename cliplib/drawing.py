"""Draws scenes as pictures for a children's book: one function per kind of thing, and `draw`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from random import Random

from PIL import Image, ImageDraw, ImageFont

from cliplib.backdrop import (
    GROUND_PAINTERS,
    LIGHT_ON_GROUND,
    LIGHT_ON_THINGS,
    PAGE,
    SKY_PAINTERS,
    WHITE_LIGHT,
    Brush,
    Ink,
    mix,
    paint_backdrop,
    paint_weather,
    sun_place,
)
from cliplib.scenes import SWIMMING, Box, Scene, Thing

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
WHITE, BLACK, WOOD, CREAM = (255, 255, 255), (34, 30, 40), (134, 90, 52), (244, 226, 190)
GLASS, LAMP, LEAF, BEAK = (184, 222, 244), (255, 222, 110), (70, 150, 60), (246, 176, 40)


@dataclass(frozen=True)
class Coat:
    """The tones of one colour: its own, towards the light, away from it, its edge, and for patterns."""

    base: Ink
    light: Ink
    dark: Ink
    edge: Ink
    pattern: Ink


def _coat(colour: str) -> Coat:
    base = COLOUR_INKS[colour]
    if colour == "white":
        return Coat(base, WHITE, (216, 222, 234), (112, 120, 142), (206, 214, 228))
    dark, edge = mix(base, (30, 10, 50), 0.22), mix(base, (30, 16, 44), 0.5)
    return Coat(base, mix(base, WHITE, 0.3), dark, edge, mix(base, WHITE, 0.86))


# In the functions below the light comes from the left, the side that a brush may mirror.


def _house(brush: Brush, coat: Coat) -> None:
    roof = mix(coat.dark, (74, 58, 74), 0.45)
    brush.rectangle(0.68, 0.06, 0.80, 0.36, (168, 106, 88), (104, 62, 56))
    brush.rectangle(0.65, 0.03, 0.83, 0.09, (140, 84, 72), (104, 62, 56))
    brush.rectangle(0.08, 0.44, 0.92, 1.0, coat.base, coat.edge)
    brush.rectangle(0.74, 0.46, 0.91, 0.99, coat.dark)
    brush.polygon([(0.10, 0.46), (0.90, 0.46), (0.90, 0.52), (0.10, 0.52)], coat.dark)
    brush.polygon([(0.0, 0.48), (0.22, 0.02), (0.78, 0.02), (1.0, 0.48)], roof, coat.edge)
    for row in range(3):
        y, inset = 0.13 + 0.12 * row, 0.15 - 0.058 * row
        brush.line([(inset + 0.03, y), (0.97 - inset, y)], 0.012, mix(roof, BLACK, 0.2))
    brush.polygon([(0.24, 0.38), (0.5, 0.10), (0.76, 0.38), (0.76, 0.5), (0.24, 0.5)], coat.base)
    brush.polygon([(0.18, 0.46), (0.5, 0.06), (0.82, 0.46), (0.75, 0.46), (0.5, 0.16), (0.25, 0.46)], coat.light, coat.edge)
    brush.disc(0.5, 0.33, 0.075, LAMP, WHITE)
    for left in (0.14, 0.66):
        brush.rectangle(left, 0.58, left + 0.20, 0.80, LAMP, WHITE)
        brush.line([(left + 0.10, 0.58), (left + 0.10, 0.80)], 0.015, WHITE)
        brush.line([(left, 0.69), (left + 0.20, 0.69)], 0.015, WHITE)
        brush.line([(left - 0.01, 0.81), (left + 0.21, 0.81)], 0.03, coat.edge)
    brush.ellipse(0.41, 0.58, 0.59, 0.78, WOOD)
    brush.rectangle(0.41, 0.68, 0.59, 1.0, WOOD)
    brush.disc(0.55, 0.83, 0.02, LAMP)


def _tree(brush: Brush, coat: Coat) -> None:
    brush.polygon([(0.44, 0.5), (0.56, 0.5), (0.58, 0.9), (0.68, 1.0), (0.32, 1.0), (0.42, 0.9)], WOOD, (86, 56, 34))
    brush.line([(0.5, 0.76), (0.68, 0.58)], 0.05, WOOD)
    brush.polygon([(0.51, 0.6), (0.55, 0.6), (0.57, 0.92), (0.60, 1.0), (0.52, 1.0)], (104, 68, 40))
    lumps = [(0.24, 0.46, 0.23), (0.76, 0.46, 0.23), (0.5, 0.54, 0.22), (0.30, 0.26, 0.23), (0.70, 0.26, 0.23), (0.5, 0.20, 0.26), (0.5, 0.38, 0.30)]
    lumps = [(x + brush.chance.uniform(-0.01, 0.01), y + brush.chance.uniform(-0.012, 0.012), r) for x, y, r in lumps]
    for x, y, r in lumps:
        brush.disc(x, y, r + 0.015, coat.edge)
    for x, y, r in lumps:
        brush.disc(x, y, r - 0.01, coat.dark)
    for x, y, r in lumps:
        brush.disc(x - 0.02, y - 0.025, r - 0.045, coat.base)
    for x, y, r in lumps[3:6] + lumps[:1]:
        brush.disc(x - 0.07, y - 0.05, r * 0.38, coat.light)
    for _ in range(14):
        angle, reach = brush.chance.uniform(0, 6.28), brush.chance.uniform(0.05, 0.38)
        x, y = 0.5 + reach * math.cos(angle), 0.36 + 0.6 * reach * math.sin(angle)
        brush.ellipse(x, y, x + 0.05, y + 0.022, brush.chance.choice((coat.dark, coat.light)))


def _car(brush: Brush, coat: Coat) -> None:
    brush.blob([(0.20, 0.52), (0.27, 0.10), (0.36, 0.01), (0.62, 0.01), (0.72, 0.12), (0.86, 0.52)], coat.base, coat.edge)
    brush.blob([(0.0, 0.80), (0.01, 0.50), (0.10, 0.42), (0.5, 0.38), (0.84, 0.42), (0.98, 0.54), (1.0, 0.80), (0.9, 0.88), (0.1, 0.88)], coat.base, coat.edge)
    brush.polygon([(0.02, 0.70), (0.98, 0.70), (0.97, 0.82), (0.90, 0.87), (0.1, 0.87), (0.03, 0.82)], coat.dark)
    brush.line([(0.06, 0.50), (0.90, 0.50)], 0.025, coat.light)
    brush.polygon([(0.28, 0.40), (0.34, 0.13), (0.48, 0.12), (0.48, 0.40)], GLASS, coat.edge)
    brush.polygon([(0.53, 0.40), (0.53, 0.12), (0.64, 0.13), (0.74, 0.40)], GLASS, coat.edge)
    brush.polygon([(0.37, 0.16), (0.42, 0.16), (0.36, 0.38), (0.32, 0.38)], WHITE)
    brush.line([(0.505, 0.44), (0.505, 0.80)], 0.008, coat.edge)
    brush.line([(0.54, 0.56), (0.60, 0.56)], 0.02, coat.edge)
    brush.ellipse(0.91, 0.52, 0.99, 0.68, LAMP, coat.edge)
    brush.ellipse(0.0, 0.54, 0.045, 0.68, (236, 90, 80))
    for x in (0.24, 0.76):
        brush.disc(x, 0.80, 0.110, BLACK)
        brush.disc(x, 0.80, 0.060, (212, 214, 220))
        brush.disc(x, 0.80, 0.022, (120, 122, 130))


def _boat(brush: Brush, coat: Coat) -> None:
    brush.line([(0.48, 0.02), (0.48, 0.76)], 0.03, WOOD)
    sail = [(0.52, 0.04), (0.72, 0.26), (0.86, 0.62), (0.52, 0.64)]
    brush.polygon(sail, coat.base, coat.edge)
    brush.polygon([(0.52, 0.24), (0.70, 0.24), (0.77, 0.36), (0.52, 0.36)], coat.pattern)
    brush.polygon([(0.53, 0.52), (0.83, 0.52), (0.85, 0.61), (0.53, 0.63)], coat.dark)
    brush.polygon([(0.44, 0.10), (0.44, 0.64), (0.12, 0.62), (0.28, 0.34)], coat.light, coat.edge)
    brush.polygon([(0.49, 0.0), (0.62, 0.04), (0.49, 0.08)], coat.dark)
    hull = [(0.0, 0.68), (0.5, 0.72), (1.0, 0.66), (0.86, 0.98), (0.14, 0.98)]
    brush.polygon(hull, coat.base, coat.edge)
    brush.polygon([(0.07, 0.84), (0.93, 0.84), (0.86, 0.98), (0.14, 0.98)], coat.dark)
    brush.polygon([(0.02, 0.71), (0.5, 0.75), (0.98, 0.69), (0.96, 0.75), (0.5, 0.80), (0.05, 0.76)], coat.pattern)
    for x in (0.3, 0.5, 0.7):
        brush.disc(x, 0.86, 0.035, GLASS, coat.edge)


def _bird(brush: Brush, coat: Coat) -> None:
    brush.blob([(0.50, 0.56), (0.62, 0.14), (0.80, 0.02), (0.78, 0.30), (0.68, 0.60)], coat.dark, coat.edge)
    brush.polygon([(0.22, 0.62), (0.0, 0.46), (0.02, 0.64), (0.0, 0.80), (0.22, 0.78)], coat.dark, coat.edge)
    brush.polygon([(0.90, 0.44), (1.0, 0.56), (0.88, 0.62)], BEAK, (170, 100, 20))
    body = [(0.14, 0.68), (0.34, 0.54), (0.62, 0.50), (0.74, 0.36), (0.86, 0.36), (0.93, 0.52), (0.86, 0.74), (0.66, 0.96), (0.40, 0.96)]
    brush.blob(body, coat.base, coat.edge)
    brush.blob([(0.36, 0.86), (0.62, 0.78), (0.80, 0.74), (0.64, 0.93), (0.44, 0.94)], coat.pattern)
    wing = [(0.34, 0.70), (0.18, 0.30), (0.22, 0.0), (0.42, 0.14), (0.60, 0.44), (0.60, 0.72)]
    brush.blob(wing, coat.base, coat.edge)
    brush.blob([(0.36, 0.60), (0.24, 0.30), (0.26, 0.08), (0.38, 0.20), (0.48, 0.44)], coat.light)
    for x in (0.30, 0.38):
        brush.line([(x, 0.30), (x + 0.12, 0.64)], 0.012, coat.edge)
    brush.disc(0.83, 0.49, 0.036, WHITE)
    brush.disc(0.84, 0.49, 0.024, BLACK)


def _fish(brush: Brush, coat: Coat) -> None:
    brush.blob([(0.40, 0.24), (0.44, 0.0), (0.64, 0.04), (0.78, 0.26)], coat.dark, coat.edge)
    brush.blob([(0.46, 0.78), (0.42, 1.0), (0.60, 0.96), (0.68, 0.76)], coat.dark, coat.edge)
    brush.blob([(0.30, 0.50), (0.10, 0.10), (0.0, 0.10), (0.05, 0.50), (0.0, 0.90), (0.10, 0.90)], coat.base, coat.edge)
    brush.line([(0.05, 0.24), (0.18, 0.46)], 0.015, coat.dark)
    brush.line([(0.05, 0.76), (0.18, 0.54)], 0.015, coat.dark)
    brush.blob([(0.20, 0.50), (0.38, 0.22), (0.62, 0.12), (0.86, 0.26), (1.0, 0.52), (0.86, 0.76), (0.62, 0.88), (0.38, 0.78)], coat.base, coat.edge)
    brush.blob([(0.40, 0.72), (0.62, 0.70), (0.90, 0.64), (0.78, 0.78), (0.60, 0.84)], coat.pattern)
    brush.blob([(0.42, 0.30), (0.62, 0.18), (0.80, 0.26), (0.62, 0.28)], coat.light)
    for x, y in ((0.34, 0.50), (0.44, 0.36), (0.44, 0.62), (0.54, 0.49)):
        brush.stroke([(x - 0.02, y - 0.08), (x + 0.025, y), (x - 0.02, y + 0.08)], 0.015, coat.dark)
    brush.disc(0.80, 0.42, 0.068, WHITE, coat.edge)
    brush.disc(0.815, 0.42, 0.036, BLACK)
    brush.stroke([(0.89, 0.66), (0.93, 0.63), (0.96, 0.56)], 0.015, coat.edge)


def _flower(brush: Brush, coat: Coat) -> None:
    brush.stroke([(0.5, 0.35), (0.47, 0.65), (0.5, 0.99)], 0.07, (58, 128, 52))
    brush.blob([(0.49, 0.94), (0.20, 0.86), (0.06, 0.66), (0.32, 0.70)], LEAF, (40, 96, 44))
    brush.blob([(0.51, 0.90), (0.78, 0.82), (0.94, 0.62), (0.68, 0.66)], (60, 134, 54), (40, 96, 44))
    petals = [i * math.tau / 7 + 0.1 for i in range(7)]
    for ink, radius in ((coat.edge, 0.205), (coat.base, 0.18)):
        for angle in petals:
            brush.disc(0.5 + 0.295 * math.cos(angle), 0.315 + 0.184 * math.sin(angle), radius, ink)
    for angle in petals:
        x, y = math.cos(angle), 0.625 * math.sin(angle)
        brush.line([(0.5 + 0.2 * x, 0.315 + 0.2 * y), (0.5 + 0.36 * x, 0.315 + 0.36 * y)], 0.035, coat.dark)
        brush.disc(0.46 + 0.33 * x, 0.30 + 0.33 * y, 0.06, coat.light)
    warm = coat.base in (COLOUR_INKS["yellow"], COLOUR_INKS["orange"])
    brush.disc(0.5, 0.315, 0.17, (122, 74, 34) if warm else (255, 206, 50), (120, 70, 30))
    brush.disc(0.46, 0.29, 0.06, (150, 98, 50) if warm else (255, 232, 130))


def _cat(brush: Brush, coat: Coat) -> None:
    brush.stroke([(0.60, 0.93), (0.88, 0.92), (0.94, 0.72), (0.86, 0.56), (0.92, 0.46)], 0.13, coat.edge)
    brush.stroke([(0.60, 0.93), (0.88, 0.92), (0.94, 0.72), (0.86, 0.56), (0.92, 0.46)], 0.09, coat.dark)
    brush.blob([(0.28, 0.46), (0.56, 0.46), (0.72, 0.66), (0.74, 0.94), (0.42, 1.0), (0.08, 0.94), (0.12, 0.66)], coat.base, coat.edge)
    brush.blob([(0.34, 0.56), (0.50, 0.56), (0.56, 0.74), (0.42, 0.86), (0.28, 0.74)], coat.pattern)
    for x in (0.30, 0.53):
        brush.ellipse(x - 0.11, 0.88, x + 0.11, 1.0, coat.light, coat.edge)
    for ear in ([(0.04, 0.30), (0.06, 0.0), (0.36, 0.12)], [(0.80, 0.30), (0.78, 0.0), (0.48, 0.12)]):
        brush.polygon(ear, coat.base, coat.edge)
        x, y = (sum(axis) / 3 for axis in zip(*ear, strict=True))
        brush.polygon([(x + 0.5 * (ex - x), y + 0.5 * (ey - y)) for ex, ey in ear], (250, 176, 186))
    brush.ellipse(0.01, 0.08, 0.83, 0.58, coat.base, coat.edge)
    for x in (0.34, 0.42, 0.50):
        brush.line([(x, 0.10), (0.42 + (x - 0.42) * 0.7, 0.19)], 0.03, coat.dark)
    for x in (0.25, 0.59):
        brush.ellipse(x - 0.075, 0.26, x + 0.075, 0.41, WHITE, coat.edge)
        brush.ellipse(x - 0.045, 0.275, x + 0.045, 0.40, BLACK)
        brush.disc(x - 0.015, 0.31, 0.017, WHITE)
    brush.polygon([(0.37, 0.41), (0.47, 0.41), (0.42, 0.46)], (236, 110, 130), coat.edge)
    brush.stroke([(0.33, 0.48), (0.38, 0.51), (0.42, 0.46), (0.46, 0.51), (0.51, 0.48)], 0.018, coat.edge)
    for side in (-1, 1):
        for end in (0.41, 0.49):
            brush.line([(0.42 + side * 0.20, 0.45), (0.42 + side * 0.41, end)], 0.010, coat.edge)


def _umbrella(brush: Brush, coat: Coat) -> None:
    brush.line([(0.5, 0.02), (0.5, 0.99)], 0.05, WOOD)
    rim = [(0.0, 0.56), (0.2, 0.52), (0.4, 0.56), (0.6, 0.56), (0.8, 0.52), (1.0, 0.56)]
    rim = [(i / 5, 0.55) for i in range(6)]
    for i, ink in enumerate((coat.light, coat.pattern, coat.base, coat.pattern, coat.dark)):
        (left, y), (right, _) = rim[i], rim[i + 1]
        outer = [_dome(left, k / 8) for k in range(9)] + [_dome(right, 1 - k / 8) for k in range(9)]
        scallop = [(right - (right - left) * k / 6, y - 0.05 * math.sin(math.pi * k / 6)) for k in range(7)]
        brush.polygon(outer + scallop, ink, coat.edge)
    brush.disc(0.5, 0.03, 0.03, WOOD)


def _dome(foot: float, share: float) -> tuple[float, float]:
    """A point on the rib that runs over a dome from `foot` on its rim (share 0) to its top (1)."""
    angle = share * math.pi / 2
    return 0.5 + (foot - 0.5) * math.cos(angle), 0.55 - 0.52 * math.sin(angle)


def _kite(brush: Brush, coat: Coat) -> None:
    top, right, bottom, left, middle = (0.5, 0.0), (1.0, 0.30), (0.5, 0.74), (0.0, 0.30), (0.5, 0.30)
    tail = [(0.5, 0.74), (0.42, 0.80), (0.56, 0.87), (0.42, 0.93), (0.52, 0.99)]
    brush.stroke(tail, 0.025, coat.edge)
    brush.polygon([top, right, bottom, left], coat.base)
    brush.polygon([top, middle, left], coat.light)
    brush.polygon([middle, right, bottom], coat.dark)
    brush.line([left, right], 0.02, coat.edge)
    brush.line([top, bottom], 0.02, coat.edge)
    brush.polygon([top, right, bottom, left], (*coat.base, 0), coat.edge)
    for x, y in tail[1:4]:
        brush.polygon([(x - 0.12, y - 0.035), (x + 0.12, y + 0.035), (x + 0.12, y - 0.035), (x - 0.12, y + 0.035)], coat.base, coat.edge)


def _balloon(brush: Brush, coat: Coat) -> None:
    brush.stroke([(0.5, 0.80), (0.44, 0.86), (0.56, 0.93), (0.5, 0.99)], 0.03, (110, 104, 112))
    brush.polygon([(0.5, 0.76), (0.60, 0.83), (0.40, 0.83)], coat.dark, coat.edge)
    brush.ellipse(0.0, 0.0, 1.0, 0.79, coat.dark, coat.edge)
    brush.ellipse(0.03, 0.02, 0.90, 0.72, coat.base)
    brush.ellipse(0.16, 0.10, 0.50, 0.36, coat.light)
    brush.ellipse(0.24, 0.14, 0.40, 0.26, WHITE)


def _tent(brush: Brush, coat: Coat) -> None:
    brush.line([(0.36, 0.0), (0.42, 0.12)], 0.02, WOOD)
    brush.line([(0.44, 0.0), (0.38, 0.12)], 0.02, WOOD)
    brush.polygon([(0.40, 0.06), (0.80, 0.14), (1.0, 0.94), (0.74, 1.0)], coat.dark, coat.edge)
    brush.polygon([(0.53, 0.085), (0.66, 0.11), (0.91, 0.965), (0.83, 0.98)], coat.base)
    brush.polygon([(0.40, 0.06), (0.75, 1.0), (0.0, 1.0)], coat.base, coat.edge)
    brush.polygon([(0.40, 0.06), (0.14, 1.0), (0.0, 1.0)], coat.light)
    brush.polygon([(0.40, 0.34), (0.55, 1.0), (0.24, 1.0)], mix(coat.edge, BLACK, 0.5))
    brush.polygon([(0.40, 0.34), (0.34, 1.0), (0.22, 1.0)], coat.pattern, coat.edge)
    brush.polygon([(0.40, 0.34), (0.58, 1.0), (0.49, 1.0)], coat.pattern, coat.edge)


def _mushroom(brush: Brush, coat: Coat) -> None:
    brush.blob([(0.38, 0.50), (0.62, 0.50), (0.66, 0.82), (0.70, 0.98), (0.30, 0.98), (0.34, 0.82)], CREAM, (150, 124, 90))
    brush.blob([(0.54, 0.55), (0.62, 0.55), (0.65, 0.82), (0.66, 0.96), (0.54, 0.97)], (220, 196, 154))
    brush.ellipse(0.08, 0.48, 0.92, 0.70, (222, 200, 164), coat.edge)
    cap = [(0.0, 0.52), (0.06, 0.28), (0.26, 0.07), (0.5, 0.01), (0.74, 0.07), (0.94, 0.28), (1.0, 0.52), (0.80, 0.62), (0.5, 0.65), (0.20, 0.62)]
    brush.blob(cap, coat.base, coat.edge)
    brush.blob([(0.66, 0.07), (0.90, 0.28), (0.96, 0.52), (0.80, 0.59), (0.66, 0.60), (0.80, 0.34)], coat.dark)
    brush.blob([(0.08, 0.40), (0.16, 0.22), (0.32, 0.09), (0.22, 0.26)], coat.light)
    dots = (190, 176, 160) if coat.base == COLOUR_INKS["white"] else WHITE
    for x, y, r in ((0.40, 0.20, 0.085), (0.20, 0.42, 0.07), (0.53, 0.46, 0.085), (0.70, 0.26, 0.07), (0.84, 0.47, 0.055)):
        brush.disc(x, y, r, dots, mix(dots, coat.edge, 0.3))


def _butterfly(brush: Brush, coat: Coat) -> None:
    for side in (-1, 1):
        upper = [(0.50, 0.46), (0.62, 0.10), (0.86, 0.0), (1.0, 0.14), (0.94, 0.44), (0.70, 0.56)]
        lower = [(0.50, 0.54), (0.72, 0.54), (0.90, 0.68), (0.84, 0.94), (0.70, 1.0), (0.58, 0.86)]
        for wing, ink in ((lower, coat.dark), (upper, coat.base)):
            brush.blob([(0.5 + side * (x - 0.5), y) for x, y in wing], ink, coat.edge)
        for x, y, r, ink in ((0.36, 0.22, 0.075, coat.pattern), (0.22, 0.34, 0.05, coat.light), (0.24, 0.76, 0.065, coat.pattern)):
            brush.disc(0.5 + side * x, y, r, ink)
        brush.stroke([(0.5, 0.24), (0.5 + side * 0.06, 0.10), (0.5 + side * 0.14, 0.04)], 0.018, BLACK)
        brush.disc(0.5 + side * 0.14, 0.05, 0.022, BLACK)
    brush.ellipse(0.455, 0.24, 0.545, 0.90, (72, 48, 44))
    brush.disc(0.5, 0.24, 0.062, (72, 48, 44))


def _ball(brush: Brush, coat: Coat) -> None:
    brush.ellipse(0.0, 0.0, 1.0, 1.0, coat.base)
    pole = (0.42, 0.34)
    for i in range(3):
        start = i * math.tau / 3 + 0.5
        rim = [(0.5 + 0.5 * math.cos(start + k * 0.1), 0.5 + 0.5 * math.sin(start + k * 0.1)) for k in range(9)]
        brush.polygon([pole, _bent(pole, rim[0]), *rim, _bent(pole, rim[-1])], coat.pattern)
    crescent = [(0.5 + 0.49 * math.cos(a / 10), 0.5 + 0.49 * math.sin(a / 10)) for a in range(-7, 24)]
    inner = [(0.46 + 0.44 * math.cos(a / 10), 0.46 + 0.44 * math.sin(a / 10)) for a in range(23, -8, -1)]
    brush.polygon(crescent + inner, (*coat.edge, 90))
    brush.ellipse(0.0, 0.0, 1.0, 1.0, (0, 0, 0, 0), coat.edge)
    brush.disc(*pole, 0.09, coat.base, coat.edge)
    brush.ellipse(0.18, 0.14, 0.32, 0.26, (255, 255, 255, 190))


def _bent(start: tuple[float, float], end: tuple[float, float]) -> tuple[float, float]:
    (x1, y1), (x2, y2) = start, end
    return (x1 + x2) / 2 + 0.16 * (y2 - y1), (y1 + y2) / 2 - 0.16 * (x2 - x1)


def _lighthouse(brush: Brush, coat: Coat) -> None:
    brush.blob([(0.02, 0.98), (0.08, 0.92), (0.3, 0.90), (0.7, 0.90), (0.92, 0.92), (0.98, 0.98), (0.5, 1.0)], (136, 130, 134), (86, 82, 92))
    edges = [0.27, 0.45, 0.55, 0.73, 0.83, 0.95]
    for i, (upper, lower) in enumerate(zip(edges[:-1], edges[1:], strict=True)):
        a, b = 0.27 - 0.22 * (upper - 0.27), 0.27 - 0.22 * (lower - 0.27)
        ink, shade = (coat.base, coat.dark) if i % 2 == 0 else (coat.pattern, mix(coat.pattern, BLACK, 0.14))
        brush.polygon([(a, upper), (1 - a, upper), (1 - b, lower), (b, lower)], ink)
        brush.polygon([(0.62, upper), (1 - a, upper), (1 - b, lower), (0.64, lower)], shade)
    brush.polygon([(0.27, 0.27), (0.73, 0.27), (0.88, 0.95), (0.12, 0.95)], (0, 0, 0, 0), coat.edge)
    brush.rectangle(0.32, 0.12, 0.68, 0.25, LAMP, coat.edge)
    brush.line([(0.5, 0.12), (0.5, 0.25)], 0.03, coat.edge)
    brush.rectangle(0.14, 0.235, 0.86, 0.275, coat.edge)
    brush.polygon([(0.20, 0.13), (0.38, 0.035), (0.62, 0.035), (0.80, 0.13)], coat.base, coat.edge)
    brush.disc(0.5, 0.025, 0.055, coat.edge)
    brush.ellipse(0.40, 0.36, 0.60, 0.42, GLASS, coat.edge)
    brush.ellipse(0.36, 0.86, 0.64, 0.92, WOOD)
    brush.rectangle(0.36, 0.89, 0.64, 0.95, WOOD)


KIND_PAINTERS: dict[str, Callable[[Brush, Coat], None]] = {
    "bird": _bird,
    "kite": _kite,
    "balloon": _balloon,
    "butterfly": _butterfly,
    "boat": _boat,
    "fish": _fish,
    "house": _house,
    "tree": _tree,
    "car": _car,
    "flower": _flower,
    "cat": _cat,
    "umbrella": _umbrella,
    "tent": _tent,
    "mushroom": _mushroom,
    "ball": _ball,
    "lighthouse": _lighthouse,
}
FACING_EITHER_WAY = ("bird", "boat", "fish", "car", "cat")
LAMPS = {"house": ((0.24, 0.69), (0.76, 0.69), (0.5, 0.33)), "lighthouse": ((0.5, 0.18),), "car": ((0.95, 0.60),)}


def _ground_under(brush: Brush, thing: Thing, scene: Scene) -> None:
    """What lies beneath a thing: its shadow, or the pond or island that lets it be there."""
    if thing.flies:
        return
    swims = thing.kind in SWIMMING
    if swims and scene.ground != "sea":
        water = (176, 214, 238) if scene.ground == "snow" else (70, 152, 214)
        brush.ellipse(-0.22, 0.74, 1.22, 1.16, mix(water, (60, 60, 70), 0.35))
        brush.ellipse(-0.20, 0.77, 1.20, 1.14, water)
        brush.ellipse(-0.08, 0.98, 0.40, 1.08, mix(water, WHITE, 0.35))
    elif swims:
        brush.ellipse(-0.10, 0.90, 1.10, 1.06, (20, 70, 130, 110))
    elif scene.ground == "sea":
        brush.ellipse(-0.24, 0.86, 1.24, 1.12, (226, 244, 250))
        brush.ellipse(-0.20, 0.86, 1.20, 1.09, (206, 172, 116))
        brush.ellipse(-0.20, 0.85, 1.20, 1.07, (244, 218, 160))
    if not swims:
        brush.glow(0.58, 0.985, 0.66, 0.10, (20, 20, 50), 170)


def _splash(brush: Brush) -> None:
    for left, y, width in ((0.06, 0.95, 0.34), (0.36, 0.97, 0.34), (0.62, 0.95, 0.34)):
        wave = [(left, y), (left + width / 2, y - 0.05), (left + width, y)]
        brush.stroke(wave, 0.035, (236, 248, 255))


def _thing(image: Image.Image, scene: Scene, thing: Thing, chance: Random) -> None:
    pen = ImageDraw.Draw(image, "RGBA")
    faces_left, sun_is_right = chance.random() < 0.5, sun_place(scene)[0] > 0.5
    mirrored = faces_left if thing.kind in FACING_EITHER_WAY else sun_is_right
    floor = Brush(image, pen, thing.box, LIGHT_ON_GROUND[scene.sky], sun_is_right, chance)
    _ground_under(floor, thing, scene)
    brush = Brush(image, pen, thing.box, LIGHT_ON_THINGS[scene.sky], mirrored, chance)
    KIND_PAINTERS[thing.kind](brush, _coat(thing.colour))
    if scene.sky == "night":
        for x, y in LAMPS.get(thing.kind, ()):
            brush.glow(x, y, 0.22, 0.22 * brush.wide(1) / brush.tall(1), (255, 226, 120), 190)
    if thing.kind in SWIMMING:
        _splash(brush)


SIGN_BOARD: Box = (0.50, 0.76, 0.96, 0.90)


@lru_cache(maxsize=64)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size)


def _sign(image: Image.Image, scene: Scene) -> None:
    pen = ImageDraw.Draw(image, "RGBA")
    brush = Brush(image, pen, PAGE, LIGHT_ON_THINGS[scene.sky], False, Random(scene.decoration_seed))
    left, top, right, bottom = SIGN_BOARD
    middle = (left + right) / 2
    brush.glow(middle, 0.985, 0.08, 0.012, (20, 20, 50), 170)
    brush.rectangle(middle - 0.02, top, middle + 0.02, 0.985, (122, 82, 46), (78, 50, 30))
    brush.rectangle(left, top, right, bottom, (222, 176, 112), (96, 62, 34))
    for y in (top + 0.045, top + 0.095):
        brush.line([(left + 0.01, y), (right - 0.01, y)], 0.004, (198, 150, 90))
    width, height = brush.wide(right - left - 0.04), brush.wide(bottom - top - 0.03)
    size = round(height)
    while size > 4 and (_font(size).getlength(scene.sign) > width):
        size -= 1
    centre = brush.at(middle, (top + bottom) / 2)
    pen.text(centre, scene.sign, brush.lit((66, 36, 20)), _font(size), anchor="mm")


def _require(name: str, value: str, known: dict) -> None:
    if value not in known:
        raise ValueError(f"The {name} {value!r} cannot be drawn; expected one of {', '.join(known)}.")


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
    _require("sky", scene.sky, SKY_PAINTERS)
    _require("ground", scene.ground, GROUND_PAINTERS)
    for thing in scene.things:
        _require("kind", thing.kind, KIND_PAINTERS)
        _require("colour", thing.colour, COLOUR_INKS)
    finer = 3 if size <= 240 else 2
    image = Image.new("RGB", (size * finer, size * finer))
    paint_backdrop(image, scene)
    for i, thing in enumerate(scene.things):
        _thing(image, scene, thing, Random(f"{scene.decoration_seed} thing {i}"))
    paint_weather(image, scene)
    if scene.sign:
        _sign(image, scene)
    return image.reduce(finer)
