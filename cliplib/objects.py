"""Draws what people make: one function per kind, which fills the box of its brush."""

from __future__ import annotations

import math

from cliplib.brush import BLACK

# The light comes from the left, the side that a brush may mirror.


def house(brush: Brush, coat: Coat) -> None:
    roof, brick = mix(coat.edge, (120, 84, 80), 0.35), (168, 106, 88)
    brush.rectangle((0.68, 0.04, 0.80, 0.36), brick, (104, 62, 56))
    brush.rectangle((0.65, 0.0, 0.83, 0.06), brick, (104, 62, 56))
    brush.rectangle((0.06, 0.44, 0.94, 1.0), coat.base, coat.edge)
    brush.rectangle((0.76, 0.46, 0.93, 0.99), coat.dark)
    brush.polygon(path("0,50 20,12 80,12 100,50"), roof, coat.edge)
    for y, inset in path("21,18 31,13 41,8"):
        brush.line([(inset, y), (1 - inset, y)], 0.012, mix(roof, BLACK, 0.25))
    brush.polygon(path("24,40 50,16 76,40 76,53 24,53"), coat.base)
    brush.polygon(path("18,49 50,13 82,49 75,49 50,22 25,49"), coat.light, coat.edge)
    brush.disc(0.5, 0.38, 0.075, LAMP, WHITE)
    for left in (0.12, 0.68):
        brush.rectangle((left, 0.58, left + 0.20, 0.80), LAMP, WHITE)
        brush.line([(left + 0.10, 0.58), (left + 0.10, 0.80)], 0.015, WHITE)
        brush.line([(left, 0.69), (left + 0.20, 0.69)], 0.015, WHITE)
        brush.line([(left - 0.01, 0.82), (left + 0.21, 0.82)], 0.03, coat.edge)
    brush.disc(0.5, 0.67, 0.09, WOOD)
    brush.rectangle((0.41, 0.67, 0.59, 1.0), WOOD)
    brush.disc(0.55, 0.83, 0.02, LAMP)


def lighthouse(brush: Brush, coat: Coat) -> None:
    brush.blob(path("0,98 8,92 30,90 70,90 92,92 100,98 50,100"), (136, 130, 134), (86, 82, 92))
    brush.polygon(path("27,27 73,27 88,95 12,95"), coat.base)
    brush.polygon(path("23,45 77,45 79.2,55 20.8,55"), coat.pattern)
    brush.polygon(path("16.8,73 83.2,73 85.4,83 14.6,83"), coat.pattern)
    brush.polygon(path("62,27 73,27 88,95 66,95"), (*coat.edge, 80))
    brush.polygon(path("27,27 73,27 88,95 12,95"), CLEAR, coat.edge)
    brush.rectangle((0.32, 0.12, 0.68, 0.25), LAMP, coat.edge)
    brush.line(path("50,12 50,25"), 0.03, coat.edge)
    brush.rectangle((0.12, 0.235, 0.88, 0.275), coat.edge)
    brush.polygon(path("18,13 38,3.5 62,3.5 82,13"), coat.base, coat.edge)
    brush.disc(0.5, 0.025, 0.055, coat.edge)
    brush.ellipse((0.40, 0.35, 0.60, 0.41), GLASS, coat.edge)
    brush.disc(0.5, 0.88, 0.13, WOOD)
    brush.rectangle((0.37, 0.88, 0.63, 0.95), WOOD)


def tent(brush: Brush, coat: Coat) -> None:
    brush.line(path("36,0 42,12"), 0.02, WOOD)
    brush.line(path("44,0 38,12"), 0.02, WOOD)
    brush.polygon(path("40,6 80,14 100,94 74,100"), coat.dark, coat.edge)
    brush.polygon(path("53,8.5 66,11 91,96.5 83,98"), coat.base)
    brush.polygon(path("40,6 75,100 0,100"), coat.base, coat.edge)
    brush.polygon(path("40,6 14,100 0,100"), coat.light)
    brush.polygon(path("40,34 55,100 24,100"), mix(coat.edge, BLACK, 0.5))
    brush.polygon(path("40,34 34,100 22,100"), coat.pattern, coat.edge)
    brush.polygon(path("40,34 58,100 49,100"), coat.pattern, coat.edge)


def car(brush: Brush, coat: Coat) -> None:
    brush.blob(path("20,52 27,10 36,1 62,1 72,12 86,52"), coat.base, coat.edge)
    brush.blob(path("0,80 1,50 10,42 50,38 84,42 98,54 100,80 90,88 10,88"), coat.base, coat.edge)
    brush.polygon(path("2,70 98,70 97,82 90,87 10,87 3,82"), coat.dark)
    brush.line(path("6,50 90,50"), 0.025, coat.light)
    brush.polygon(path("28,40 34,13 48,12 48,40"), GLASS, coat.edge)
    brush.polygon(path("53,40 53,12 64,13 74,40"), GLASS, coat.edge)
    brush.polygon(path("37,16 42,16 36,38 32,38"), WHITE)
    brush.line(path("50.5,44 50.5,80"), 0.008, coat.edge)
    brush.line(path("54,56 60,56"), 0.02, coat.edge)
    brush.ellipse((0.91, 0.52, 0.99, 0.68), LAMP, coat.edge)
    brush.ellipse((0.0, 0.54, 0.045, 0.68), (236, 90, 80))
    for x in (0.24, 0.76):
        brush.disc(x, 0.80, 0.110, BLACK)
        brush.disc(x, 0.80, 0.060, (212, 214, 220))
        brush.disc(x, 0.80, 0.022, (120, 122, 130))


def boat(brush: Brush, coat: Coat) -> None:
    brush.line(path("48,2 48,76"), 0.03, WOOD)
    brush.polygon(path("52,4 72,26 86,62 52,64"), coat.base, coat.edge)
    brush.polygon(path("52,24 70,24 77,36 52,36"), coat.pattern)
    brush.polygon(path("53,52 83,52 85,61 53,63"), coat.dark)
    brush.polygon(path("44,10 44,64 12,62 28,34"), coat.light, coat.edge)
    brush.polygon(path("49,0 62,4 49,8"), coat.dark)
    brush.polygon(path("0,68 50,72 100,66 86,98 14,98"), coat.base, coat.edge)
    brush.polygon(path("7,84 93,84 86,98 14,98"), coat.dark)
    brush.polygon(path("2,71 50,75 98,69 96,75 50,80 5,76"), coat.pattern)
    for x in (0.3, 0.5, 0.7):
        brush.disc(x, 0.86, 0.035, GLASS, coat.edge)


def umbrella(brush: Brush, coat: Coat) -> None:
    brush.line(path("50,2 50,100"), 0.05, WOOD)
    for i, ink in enumerate((coat.light, coat.pattern, coat.base, coat.pattern, coat.dark)):
        left, right = i / 5, (i + 1) / 5
        ribs = [_dome(left, k / 8) for k in range(9)] + [_dome(right, 1 - k / 8) for k in range(9)]
        hem = arc((left + right) / 2, 0.56, 0.1, 0.0, -0.5)
        brush.polygon(ribs + [(x, 0.56 + 0.5 * (y - 0.56)) for x, y in hem], ink, coat.edge)
    brush.disc(0.5, 0.03, 0.03, WOOD)


def _dome(foot: float, share: float) -> tuple[float, float]:
    """A point on the rib that runs over a dome from `foot` on its rim (share 0) to its top (1)."""
    angle = share * math.pi / 2
    return 0.5 + (foot - 0.5) * math.cos(angle), 0.56 - 0.53 * math.sin(angle)


def kite(brush: Brush, coat: Coat) -> None:
    tail = path("50,74 42,80 56,86 42,92 52,99")
    brush.stroke(tail, 0.03, coat.edge)
    brush.polygon(path("50,0 100,32 50,76 0,32"), coat.base)
    brush.polygon(path("50,0 50,32 0,32"), coat.light)
    brush.polygon(path("50,32 100,32 50,76"), coat.dark)
    brush.line(path("0,32 100,32"), 0.02, coat.edge)
    brush.line(path("50,0 50,76"), 0.02, coat.edge)
    brush.polygon(path("50,0 100,32 50,76 0,32"), CLEAR, coat.edge)
    for x, y in tail[1:4:2]:
        bow = [(x + dx, y - 0.015 + dy) for dx, dy in path("-14,-4 14,4 14,-4 -14,4")]
        brush.polygon(bow, coat.base, coat.edge)


def balloon(brush: Brush, coat: Coat) -> None:
    brush.stroke(path("50,80 44,86 56,93 50,99"), 0.03, (110, 104, 112))
    brush.polygon(path("50,76 60,83 40,83"), coat.dark, coat.edge)
    brush.ellipse((0.0, 0.0, 1.0, 0.79), coat.dark, coat.edge)
    brush.ellipse((0.03, 0.02, 0.90, 0.72), coat.base)
    brush.ellipse((0.16, 0.10, 0.50, 0.36), coat.light)
    brush.ellipse((0.24, 0.14, 0.40, 0.26), WHITE)


def ball(brush: Brush, coat: Coat) -> None:
    pole = (0.42, 0.34)
    brush.ellipse(PAGE, coat.base)
    for i in range(3):
        rim = arc(0.5, 0.5, 0.5, i / 3 + 0.08, i / 3 + 0.21)
        brush.polygon([pole, _bent(pole, rim[0]), *rim, _bent(pole, rim[-1])], coat.pattern)
    shade = arc(0.5, 0.5, 0.49, -0.11, 0.37) + arc(0.46, 0.46, 0.44, 0.37, -0.11)
    brush.polygon(shade, (*coat.edge, 90))
    brush.ellipse(PAGE, CLEAR, coat.edge)
    brush.disc(*pole, 0.09, coat.base, coat.edge)
    brush.disc(0.25, 0.20, 0.07, (255, 255, 255, 190))


def _bent(start: tuple[float, float], end: tuple[float, float]) -> tuple[float, float]:
    (x1, y1), (x2, y2) = start, end
    return (x1 + x2) / 2 + 0.16 * (y2 - y1), (y1 + y2) / 2 - 0.16 * (x2 - x1)
