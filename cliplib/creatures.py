"""Draws what lives: one function per kind, which fills the box of its brush."""

from __future__ import annotations

import math

from cliplib.brush import BLACK

# The light comes from the left, the side that a brush may mirror.


def bird(brush: Brush, coat: Coat) -> None:
    brush.blob(path("50,56 62,14 80,2 78,30 68,60"), coat.dark, coat.edge)
    brush.polygon(path("22,62 0,46 2,64 0,80 22,78"), coat.dark, coat.edge)
    brush.polygon(path("90,44 100,56 88,62"), BEAK, (170, 100, 20))
    body = path("14,68 34,54 62,50 74,36 86,36 93,52 86,74 66,96 40,96")
    brush.blob(body, coat.base, coat.edge)
    brush.blob(path("36,86 62,78 80,74 64,93 44,94"), coat.pattern)
    wing = path("34,70 18,30 22,0 42,14 60,44 60,72")
    brush.blob(wing, coat.base, coat.edge)
    brush.blob(path("36,60 24,30 26,8 38,20 48,44"), coat.light)
    for x in (0.30, 0.38):
        brush.line([(x, 0.30), (x + 0.12, 0.64)], 0.012, coat.edge)
    brush.disc(0.83, 0.49, 0.036, WHITE)
    brush.disc(0.84, 0.49, 0.024, BLACK)


def butterfly(brush: Brush, coat: Coat) -> None:
    brown = (72, 48, 44)
    for side in (-1, 1):

        def wing(percents: str, side: int = side) -> list[tuple[float, ...]]:
            return [(0.5 + side * (x - 0.5), *rest) for x, *rest in path(percents)]

        brush.blob(wing("50,54 72,54 90,68 84,94 70,100 58,86"), coat.dark, coat.edge)
        brush.blob(wing("50,46 62,10 86,0 100,14 94,44 70,56"), coat.base, coat.edge)
        for x, y, radius in wing("82,20,7.5 74,76,6.5"):
            brush.disc(x, y, radius, coat.pattern)
        for x, y, radius in wing("72,34,5 88,38,3.5"):
            brush.disc(x, y, radius, coat.light)
        brush.stroke(wing("50,24 56,10 64,4"), 0.018, BLACK)
        brush.disc(*wing("64,5")[0], 0.022, BLACK)
    brush.ellipse((0.455, 0.24, 0.545, 0.90), brown)
    brush.disc(0.5, 0.24, 0.062, brown)


def fish(brush: Brush, coat: Coat) -> None:
    brush.blob(path("40,24 44,0 64,4 78,26"), coat.dark, coat.edge)
    brush.blob(path("46,78 42,100 60,96 68,76"), coat.dark, coat.edge)
    brush.blob(path("30,50 10,10 0,10 5,50 0,90 10,90"), coat.base, coat.edge)
    brush.line(path("5,24 18,46"), 0.015, coat.dark)
    brush.line(path("5,76 18,54"), 0.015, coat.dark)
    brush.blob(path("20,50 38,22 62,12 86,26 100,52 86,76 62,88 38,78"), coat.base, coat.edge)
    brush.blob(path("40,72 62,70 90,64 78,78 60,84"), coat.pattern)
    brush.blob(path("42,30 62,18 80,26 62,28"), coat.light)
    for x, y in ((0.34, 0.50), (0.44, 0.36), (0.44, 0.62), (0.54, 0.49)):
        brush.stroke([(x - 0.02, y - 0.08), (x + 0.025, y), (x - 0.02, y + 0.08)], 0.015, coat.dark)
    brush.disc(0.80, 0.42, 0.068, WHITE, coat.edge)
    brush.disc(0.815, 0.42, 0.036, BLACK)
    brush.stroke(path("89,66 93,63 96,56"), 0.015, coat.edge)


def cat(brush: Brush, coat: Coat) -> None:
    for width, ink in ((0.13, coat.edge), (0.09, coat.dark)):
        brush.stroke(path("60,93 88,92 93,72 86,56 92,46"), width, ink)
    brush.blob(path("28,46 56,46 72,66 74,94 42,100 8,94 12,66"), coat.base, coat.edge)
    brush.blob(path("34,56 50,56 56,74 42,86 28,74"), coat.pattern)
    for left in (0.19, 0.42):
        brush.ellipse((left, 0.88, left + 0.22, 1.0), coat.light, coat.edge)
    for ear, inside in (
        ("4,30 6,0 36,12", "9,21 11,6 26,12"),
        ("80,30 78,0 48,12", "75,21 73,6 58,12"),
    ):
        brush.polygon(path(ear), coat.base, coat.edge)
        brush.polygon(path(inside), (250, 176, 186))
    brush.ellipse((0.01, 0.08, 0.83, 0.58), coat.base, coat.edge)
    for stripe in ("34,10 36,19", "42,10 42,20", "50,10 48,19"):
        brush.line(path(stripe), 0.03, coat.dark)
    for x in (0.25, 0.59):
        brush.ellipse((x - 0.075, 0.26, x + 0.075, 0.41), WHITE, coat.edge)
        brush.ellipse((x - 0.045, 0.275, x + 0.045, 0.40), BLACK)
        brush.disc(x - 0.015, 0.31, 0.017, WHITE)
    brush.polygon(path("37,41 47,41 42,46"), (236, 110, 130), coat.edge)
    brush.stroke(path("33,48 38,51 42,46 46,51 51,48"), 0.018, coat.edge)
    for whisker in ("22,45 1,41", "22,47 1,50", "62,45 83,41", "62,47 83,50"):
        brush.line(path(whisker), 0.010, coat.edge)


def tree(brush: Brush, coat: Coat) -> None:
    chance, bark = brush.chance, (104, 68, 40)
    brush.polygon(path("44,50 56,50 58,90 68,100 32,100 42,90"), WOOD, (86, 56, 34))
    brush.line(path("50,76 68,58"), 0.05, WOOD)
    brush.polygon(path("51,60 55,60 57,92 60,100 52,100"), bark)
    crown = path("24,46,22.5 76,46,22.5 50,54,22 30,26,23 70,26,23 50,20,26 50,38,30")
    lumps = [
        (x, y + chance.uniform(-0.015, 0.015), r + chance.uniform(-0.01, 0)) for x, y, r in crown
    ]
    for lift, shrink, ink in (
        (0, -0.015, coat.edge),
        (0, 0.01, coat.dark),
        (0.025, 0.04, coat.base),
    ):
        for x, y, radius in lumps:
            brush.disc(x - lift, y - lift, radius - shrink, ink)
    for x, y, radius in lumps[3:6] + lumps[:1]:
        brush.disc(x - 0.07, y - 0.05, radius * 0.38, coat.light)
    for _ in range(14):
        angle, reach = chance.uniform(0, math.tau), chance.uniform(0.05, 0.38)
        x, y = 0.5 + reach * math.cos(angle), 0.36 + 0.6 * reach * math.sin(angle)
        brush.ellipse((x, y, x + 0.05, y + 0.022), chance.choice((coat.dark, coat.light)))


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
    brush.disc(0.46, y0 - 0.025, 0.06, mix(heart, WHITE, 0.3))


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
        brush.disc(x, y, radius, dots, mix(dots, coat.edge, 0.3))
