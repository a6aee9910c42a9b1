"""The kinds of things: one function each, which fills the box of its brush.

The light comes from the left, the side that a brush may mirror. Chance varies each kind a little.
"""

from __future__ import annotations

import math

from cliplib.brush import COLOUR_INKS, PAGE, WHITE, Brush, Coat, Point, arc, mix, path

BLACK, WOOD, CREAM, CLEAR = (34, 30, 40), (134, 90, 52), (244, 226, 190), (0, 0, 0, 0)
GLASS, LAMP, LEAF, BEAK = (184, 222, 244), (255, 222, 110), (70, 150, 60), (246, 176, 40)


def bird(brush: Brush, coat: Coat) -> None:
    brush.blob(path("50,56 62,14 80,2 78,30 68,60"), coat.dark, coat.edge)
    brush.polygon(path("22,62 0,46 2,64 0,80 22,78"), coat.dark, coat.edge)
    brush.polygon(path("90,44 100,56 88,62"), BEAK, (170, 100, 20))
    brush.blob(path("14,68 34,54 62,50 74,36 86,36 93,52 86,74 66,96 40,96"), coat.base, coat.edge)
    brush.blob(path("36,86 62,78 80,74 64,93 44,94"), coat.pattern)
    brush.blob(path("34,70 18,30 22,0 42,14 60,44 60,72"), coat.base, coat.edge)
    brush.blob(path("36,60 24,30 26,8 38,20 48,44"), coat.light)
    for x in (0.30, 0.38):
        brush.line([(x, 0.30), (x + 0.12, 0.64)], 0.012, coat.edge)
    brush.disc(0.83, 0.49, 0.036, WHITE)
    brush.disc(0.84, 0.49, 0.024, BLACK)


def kite(brush: Brush, coat: Coat) -> None:
    tail = path("50,74 42,80 56,86 42,92 52,99")
    brush.stroke(tail, 0.03, coat.edge)
    brush.polygon(path("50,0 100,32 50,76 0,32"), coat.base)
    brush.polygon(path("50,0 50,32 0,32"), coat.light)
    brush.polygon(path("50,32 100,32 50,76"), coat.dark)
    brush.polygon(path("50,17 65,32 50,51 35,32"), brush.chance.choice((coat.pattern, CLEAR)))
    brush.polygon(path("50,0 50,76 0,32 100,32"), CLEAR, coat.edge)
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


def butterfly(brush: Brush, coat: Coat) -> None:
    brown, grown = (72, 48, 44), brush.chance.uniform(0.6, 1.3)
    for side in (-1, 1):

        def wing(percents: str, side: int = side) -> list[Point]:
            return [(0.5 + side * (x - 0.5), *rest) for x, *rest in path(percents)]

        brush.blob(wing("50,54 72,54 90,68 84,94 70,100 58,86"), coat.dark, coat.edge)
        brush.blob(wing("50,46 62,10 86,0 100,14 94,44 70,56"), coat.base, coat.edge)
        for x, y, radius in wing("82,20,7.5 74,76,6.5"):
            brush.disc(x, y, radius * grown, coat.pattern)
        for x, y, radius in wing("72,34,5 88,38,3.5"):
            brush.disc(x, y, radius / grown, coat.light)
        brush.stroke(wing("50,24 56,10 64,4"), 0.018, BLACK)
        brush.disc(*wing("64,5")[0], 0.022, BLACK)
    brush.ellipse((0.455, 0.24, 0.545, 0.90), brown)
    brush.disc(0.5, 0.24, 0.062, brown)


def boat(brush: Brush, coat: Coat) -> None:
    mast = brush.chance.choice((0.34, 0.48))
    if mast < 0.4:  # a single sail
        brush.polygon(path("38,3 64,24 94,63 38,64"), coat.base, coat.edge)
        brush.polygon(path("38,30 69,30 77,40 38,40"), coat.pattern)
    else:
        brush.polygon(path("52,4 72,26 86,62 52,64"), coat.base, coat.edge)
        brush.polygon(path("52,24 70,24 77,36 52,36"), coat.pattern)
        brush.polygon(path("53,52 83,52 85,61 53,63"), coat.dark)
        brush.polygon(path("44,10 44,64 12,62 28,34"), coat.light, coat.edge)
    brush.line([(mast, 0.02), (mast, 0.76)], 0.03, WOOD)
    brush.polygon([(mast, 0.0), (mast + 0.14, 0.04), (mast, 0.08)], coat.dark)
    brush.polygon(path("0,68 50,72 100,66 86,98 14,98"), coat.base, coat.edge)
    brush.polygon(path("7,84 93,84 86,98 14,98"), coat.dark)
    brush.polygon(path("2,71 50,75 98,69 96,75 50,80 5,76"), coat.pattern)
    for x in (0.3, 0.5, 0.7):
        brush.disc(x, 0.86, 0.035, GLASS, coat.edge)


def fish(brush: Brush, coat: Coat) -> None:
    brush.blob(path("40,24 44,0 64,4 78,26"), coat.dark, coat.edge)
    brush.blob(path("46,78 42,100 60,96 68,76"), coat.dark, coat.edge)
    brush.blob(path("30,50 10,10 0,10 5,50 0,90 10,90"), coat.base, coat.edge)
    brush.blob(path("20,50 38,22 62,12 86,26 100,52 86,76 62,88 38,78"), coat.base, coat.edge)
    brush.blob(path("40,72 62,70 90,64 78,78 60,84"), coat.pattern)
    brush.blob(path("42,30 62,18 80,26 62,28"), coat.light)
    if brush.chance.random() < 0.5:
        for scale in ("32,42 37,50 32,58", "42,28 47,36 42,44", "42,54 47,62 42,70"):
            brush.stroke(path(scale), 0.015, coat.dark)
    else:
        brush.stroke(path("38,28 42,50 38,72"), 0.05, coat.pattern)
        brush.stroke(path("56,20 61,50 57,80"), 0.06, coat.pattern)
    brush.disc(0.80, 0.42, 0.068, WHITE, coat.edge)
    brush.disc(0.815, 0.42, 0.036, BLACK)
    brush.stroke(path("89,66 93,63 96,56"), 0.015, coat.edge)


def house(brush: Brush, coat: Coat) -> None:
    roof, brick, sill = mix(coat.dark, (110, 74, 80), 0.35), (168, 106, 88), (104, 62, 56)
    pointed = brush.chance.random() < 0.4
    if not pointed or brush.chance.random() < 0.5:
        brush.rectangle((0.70, 0.04, 0.82, 0.36), brick, sill)
        brush.rectangle((0.67, 0.02, 0.85, 0.08), brick, sill)
    brush.rectangle((0.06, 0.44, 0.94, 1.0), coat.base, coat.edge)
    brush.rectangle((0.76, 0.46, 0.93, 0.99), coat.dark)
    if pointed:
        brush.polygon(path("0,50 50,0 100,50"), roof, coat.edge)
        brush.polygon(path("15,50 50,15 85,50"), coat.base, coat.edge)
    else:
        brush.polygon(path("0,50 20,8 80,8 100,50"), roof, coat.edge)
        for y, inset in path("20,15 31,10 41,5"):
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


def tree(brush: Brush, coat: Coat) -> None:
    chance = brush.chance
    brush.polygon(path("44,50 56,50 58,90 68,100 32,100 42,90"), WOOD, (86, 56, 34))
    brush.polygon(path("51,60 55,60 57,92 60,100 52,100"), (104, 68, 40))
    crown = path("24,46,22.5 76,46,22.5 50,54,22 30,26,23 70,26,23 50,20,26 50,38,30")
    lumps = [(x, y + 0.03 * chance.random() - 0.015, radius) for x, y, radius in crown]
    for lift, shrink, ink in ((0, -1, coat.edge), (0, 1.5, coat.dark), (2.5, 4.5, coat.base)):
        for x, y, radius in lumps:
            brush.disc(x - lift / 100, y - lift / 100, radius - shrink / 100, ink)
    for x, y, radius in lumps[3:6] + lumps[:1]:
        brush.disc(x - 0.07, y - 0.05, radius * 0.38, coat.light)
    for _ in range(14):
        angle, reach = chance.uniform(0, math.tau), chance.uniform(0.05, 0.38)
        x, y = 0.5 + reach * math.cos(angle), 0.36 + 0.6 * reach * math.sin(angle)
        brush.ellipse((x, y, x + 0.05, y + 0.022), chance.choice((coat.dark, coat.light)))


def car(brush: Brush, coat: Coat) -> None:
    if brush.chance.random() < 0.5:  # a boot behind
        cabin, window, gleam = "20,52 27,10 36,1 62,1 72,12 86,52", "28,40 34,13 48,12 48,40", 0.0
    else:  # a steep back
        cabin, window, gleam = "2,54 6,12 16,1 60,1 71,12 86,52", "11,40 14,13 48,12 48,40", -0.1
    brush.blob(path(cabin), coat.base, coat.edge)
    brush.blob(path("0,80 1,50 10,42 50,38 84,42 98,54 100,80 90,88 10,88"), coat.base, coat.edge)
    brush.polygon(path("2,70 98,70 97,82 90,87 10,87 3,82"), coat.dark)
    brush.line(path("6,50 90,50"), 0.025, coat.light)
    brush.polygon(path(window), GLASS, coat.edge)
    brush.polygon(path("53,40 53,12 64,13 74,40"), GLASS, coat.edge)
    brush.polygon([(x + gleam, y) for x, y in path("37,16 42,16 36,38 32,38")], WHITE)
    brush.line(path("50.5,44 50.5,80"), 0.01, coat.edge)
    brush.ellipse((0.91, 0.52, 0.99, 0.68), LAMP, coat.edge)
    brush.ellipse((0.0, 0.54, 0.045, 0.68), (236, 90, 80))
    for x in (0.24, 0.76):
        brush.disc(x, 0.80, 0.110, BLACK)
        brush.disc(x, 0.80, 0.060, (212, 214, 220))


def flower(brush: Brush, coat: Coat) -> None:
    rim, number, y0 = (40, 96, 44), brush.chance.randint(6, 8), 0.315
    brush.stroke(path("50,35 47,65 50,98"), 0.07, (58, 128, 52))
    brush.blob(path("49,94 20,86 6,66 32,70"), LEAF, rim)
    brush.blob(path("51,90 78,82 94,62 68,66"), LEAF, rim)
    turns = [(i + 0.1) * math.tau / number for i in range(number)]
    ways = [(math.cos(turn), math.sin(turn) * brush.wide(1) / brush.high(1)) for turn in turns]
    for ink, radius in ((coat.edge, 0.205), (coat.base, 0.18)):
        for x, y in ways:
            brush.disc(0.5 + 0.295 * x, y0 + 0.295 * y, radius, ink)
    for x, y in ways:
        vein = [(0.5 + 0.2 * x, y0 + 0.2 * y), (0.5 + 0.36 * x, y0 + 0.36 * y)]
        brush.line(vein, 0.035, coat.dark)
        brush.disc(0.46 + 0.33 * x, y0 - 0.015 + 0.33 * y, 0.06, coat.light)
    warm = coat.base in (COLOUR_INKS["yellow"], COLOUR_INKS["orange"])
    heart = (122, 74, 34) if warm else (255, 206, 50)
    brush.disc(0.5, y0, 0.17, heart, (120, 70, 30))


def cat(brush: Brush, coat: Coat) -> None:
    for width, ink in ((0.13, coat.edge), (0.09, coat.dark)):
        brush.stroke(path("60,93 88,92 93,72 86,56 92,46"), width, ink)
    brush.blob(path("28,46 56,46 72,66 74,94 42,100 8,94 12,66"), coat.base, coat.edge)
    brush.blob(path("34,56 50,56 56,74 42,86 28,74"), coat.pattern)
    for left in (0.19, 0.42):
        brush.ellipse((left, 0.88, left + 0.22, 1.0), coat.light, coat.edge)
    brush.polygon(path("4,30 6,0 36,12"), coat.base, coat.edge)
    brush.polygon(path("80,30 78,0 48,12"), coat.base, coat.edge)
    brush.polygon(path("9,21 11,6 26,12"), (250, 176, 186))
    brush.polygon(path("75,21 73,6 58,12"), (250, 176, 186))
    brush.ellipse((0.01, 0.08, 0.83, 0.58), coat.base, coat.edge)
    if brush.chance.random() < 0.5:
        brush.ellipse((0.26, 0.38, 0.58, 0.57), coat.pattern)
        brush.line(path("91,53 98,50"), 0.08, coat.pattern)
    else:
        for y in (0.64, 0.71, 0.78):
            brush.line([(0.11, y), (0.23, y + 0.02)], 0.03, coat.edge)
            brush.line([(0.61, y + 0.02), (0.73, y)], 0.03, coat.edge)
        for stripe in ("32,10 35,21", "42,9 42,22", "52,10 49,21"):
            brush.line(path(stripe), 0.04, coat.edge)
    for x in (0.25, 0.59):
        brush.ellipse((x - 0.075, 0.26, x + 0.075, 0.41), WHITE, coat.edge)
        brush.ellipse((x - 0.045, 0.275, x + 0.045, 0.40), BLACK)
        brush.disc(x - 0.015, 0.31, 0.017, WHITE)
    brush.polygon(path("37,41 47,41 42,46"), (236, 110, 130), coat.edge)
    brush.stroke(path("33,48 38,51 42,46 46,51 51,48"), 0.018, coat.edge)
    for whisker in ("22,45 1,41", "22,47 1,50", "62,45 83,41", "62,47 83,50"):
        brush.line(path(whisker), 0.010, coat.edge)


def umbrella(brush: Brush, coat: Coat) -> None:
    stripe = brush.chance.choice((coat.pattern, coat.pattern, coat.base))
    brush.line(path("50,2 50,100"), 0.05, WOOD)
    for i, ink in enumerate((coat.light, stripe, coat.base, stripe, coat.dark)):
        left, right = i / 5, (i + 1) / 5
        ribs = [_dome(left, k / 8) for k in range(9)] + [_dome(right, 1 - k / 8) for k in range(9)]
        hem = arc((left + right) / 2, 0.56, 0.1, 0.0, -0.5)
        brush.polygon(ribs + [(x, 0.56 + 0.5 * (y - 0.56)) for x, y in hem], ink, coat.edge)
    brush.disc(0.5, 0.03, 0.03, WOOD)


def _dome(foot: float, share: float) -> Point:
    """A point on the rib that runs over a dome from `foot` on its rim (share 0) to its top (1)."""
    angle = share * math.pi / 2
    return 0.5 + (foot - 0.5) * math.cos(angle), 0.56 - 0.53 * math.sin(angle)


def tent(brush: Brush, coat: Coat) -> None:
    stripe = brush.chance.choice((coat.base, coat.pattern))
    brush.line(path("36,0 42,12"), 0.02, WOOD)
    brush.line(path("44,0 38,12"), 0.02, WOOD)
    brush.polygon(path("40,6 80,14 100,94 74,100"), coat.dark, coat.edge)
    brush.polygon(path("53,8.5 66,11 91,96.5 83,98"), stripe)
    brush.polygon(path("40,6 75,100 0,100"), coat.base, coat.edge)
    brush.polygon(path("40,6 14,100 0,100"), coat.light)
    brush.polygon(path("40,34 55,100 24,100"), mix(coat.edge, BLACK, 0.5))
    brush.polygon(path("40,34 34,100 22,100"), coat.pattern, coat.edge)
    brush.polygon(path("40,34 58,100 49,100"), coat.pattern, coat.edge)


def mushroom(brush: Brush, coat: Coat) -> None:
    brush.blob(path("38,50 62,50 66,82 70,99 30,99 34,82"), CREAM, (150, 124, 90))
    brush.blob(path("54,55 62,55 65,82 66,96 54,97"), (220, 196, 154))
    brush.ellipse((0.08, 0.48, 0.92, 0.70), (222, 200, 164), coat.edge)
    cap = path("0,52 6,28 26,7 50,1 74,7 94,28 100,52 80,62 50,65 20,62")
    brush.blob(cap, coat.base, coat.edge)
    brush.blob(path("66,7 90,28 96,52 80,59 66,60 80,34"), coat.dark)
    brush.blob(path("8,40 16,22 32,9 22,26"), coat.light)
    dots = (196, 182, 164) if coat.base == COLOUR_INKS["white"] else WHITE
    for x, y, radius in path("40,20,8.5 20,42,7 53,46,8.5 70,26,7 84,47,5.5"):
        brush.disc(x, y, radius * brush.chance.uniform(0.8, 1.25), dots, mix(dots, coat.edge, 0.3))


def ball(brush: Brush, coat: Coat) -> None:
    pole, panels = (0.42, 0.34), brush.chance.choice((3, 4))
    brush.ellipse(PAGE, coat.base)
    for i in range(panels):
        rim = arc(0.5, 0.5, 0.5, (i + 0.25) / panels, (i + 0.65) / panels)
        brush.polygon([pole, _bent(pole, rim[0]), *rim, _bent(pole, rim[-1])], coat.pattern)
    shade = arc(0.5, 0.5, 0.49, -0.11, 0.37) + arc(0.46, 0.46, 0.44, 0.37, -0.11)
    brush.polygon(shade, (*coat.edge, 90))
    brush.ellipse(PAGE, CLEAR, coat.edge)
    brush.disc(*pole, 0.09, coat.base, coat.edge)
    brush.disc(0.25, 0.20, 0.07, (255, 255, 255, 190))


def _bent(start: Point, end: Point) -> Point:
    (x1, y1), (x2, y2) = start, end
    return (x1 + x2) / 2 + 0.16 * (y2 - y1), (y1 + y2) / 2 - 0.16 * (x2 - x1)


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
