"""What is painted around the things: sky, ground and weather."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
from PIL import Image

from cliplib.brush import FULL_LIGHT, PAGE, WHITE, Brush, Ink, Light, Point, arc, mix, path
from cliplib.scenes import Scene


def sun_place(scene: Scene) -> tuple[float, float]:
    """Where the sun or moon stands, even if clouds hide it."""
    chance = Random(f"{scene.decoration_seed} sun")
    x = chance.uniform(0.10, 0.36) if chance.random() < 0.5 else chance.uniform(0.64, 0.90)
    return x, scene.horizon - 0.05 if scene.sky == "sunset" else chance.uniform(0.11, 0.18)


def _cloud(brush: Brush, x: float, y: float, width: float, body: Ink, shade: Ink) -> None:
    lumps = [
        (x + width * offset, y - width * lift * brush.chance.uniform(0.6, 1.2), width * radius)
        for offset, lift, radius in path("-34,2,14 -14,12,19 10,16,22 32,4,15")
    ]
    for ink, sink in ((shade, 0.05 * width), (body, 0.0)):
        for lump_x, lump_y, radius in lumps:
            brush.disc(lump_x, lump_y + sink, radius - sink / 3, ink)
        low = y + sink
        brush.ellipse((x - width / 2, low - width * 0.08, x + width / 2, low + width * 0.11), ink)


def _clouds(brush: Brush, lowest: float, number: int, body: Ink, shade: Ink) -> None:
    for i in range(number):
        x, y = (i + brush.chance.uniform(0.1, 0.9)) / number, brush.chance.uniform(0.07, lowest)
        _cloud(brush, x, y, brush.chance.uniform(0.16, 0.30), body, shade)


def _star(x: float, y: float, radius: float, rays: int, waist: float) -> list[Point]:
    turns = [(i * math.pi / rays, radius * (waist if i % 2 else 1.0)) for i in range(2 * rays)]
    return [(x + r * math.cos(a), y + r * math.sin(a)) for a, r in turns]


def _day(brush: Brush, horizon: float, x: float, y: float) -> None:
    brush.glow(x, y, (0.30, 0.30), (255, 246, 200), 220)
    brush.polygon(_star(x, y, 0.115, 14, 0.6), (255, 226, 110))
    brush.disc(x, y, 0.072, (255, 210, 60), (255, 238, 160))
    _clouds(brush, 0.75 * horizon, brush.chance.randint(2, 4), WHITE, (206, 226, 244))


def _sunset(brush: Brush, horizon: float, x: float, y: float) -> None:
    brush.glow(x, y, (0.55, 0.42), (255, 236, 140), 230)
    _clouds(brush, 0.6 * horizon, brush.chance.randint(2, 4), (250, 160, 140), (176, 92, 134))
    brush.disc(x, y, 0.125, (255, 172, 46), (255, 226, 120))


def _night(brush: Brush, horizon: float, x: float, y: float) -> None:
    chance, moon = brush.chance, (252, 246, 214)
    for _ in range(60):
        ink = (255, 250, 215, chance.randint(140, 255))
        brush.disc(chance.random(), chance.uniform(0, horizon), chance.uniform(0.002, 0.006), ink)
    for _ in range(6):
        star = _star(chance.random(), chance.uniform(0, 0.8 * horizon), 0.02, 4, 0.35)
        brush.polygon(star, (255, 248, 200))
    brush.glow(x, y, (0.28, 0.28), (190, 200, 255), 160)
    if chance.random() < 0.5:
        brush.disc(x, y, 0.078, moon)
        brush.disc(x - 0.02, y - 0.015, 0.02, (228, 220, 186))
        brush.disc(x + 0.022, y + 0.02, 0.025, (228, 220, 186))
    else:
        brush.disc(x, y, 0.083, (40, 50, 104))
        inner = arc(x + 0.033, y - 0.022, 0.068, 0.677, 0.136)
        brush.polygon([*arc(x, y, 0.083, 0.057, 0.755), *inner], moon)


def _rain(brush: Brush, horizon: float, x: float, y: float) -> None:
    chance, puffs = brush.chance, []
    for i in range(12):
        puffs.append(((i + chance.random()) / 12, chance.uniform(0.03, 0.13), 0.05 + i % 3 / 50))
    for lift, ink in ((0.0, (90, 98, 112)), (0.016, (122, 130, 143)), (0.045, (138, 145, 157))):
        for puff_x, puff_y, radius in puffs:
            brush.disc(puff_x, puff_y - lift, radius - 0.3 * lift, ink)


def _snowfall(brush: Brush, horizon: float, x: float, y: float) -> None:
    _clouds(brush, 0.75 * horizon, 3, (200, 198, 220), (168, 166, 196))


def _rainbow(brush: Brush, horizon: float, x: float, y: float) -> None:
    _clouds(brush, 0.5 * horizon, 2, WHITE, (198, 210, 224))
    middle, outer, band = 0.7 - 0.4 * x, brush.chance.uniform(0.40, 0.48), 0.023
    inks = ((232, 60, 60), (250, 150, 50), (252, 226, 80), (84, 190, 90), (70, 130, 226))
    for i, ink in enumerate((*inks, (150, 84, 196))):
        (x, y), r = brush.at(middle, horizon + 0.06), brush.wide(outer - i * band)
        box, width = (x - r, y - r, x + r, y + r), round(brush.wide(band)) + 1
        brush.pen.arc(box, 180, 360, (*ink, 215), width)
    for foot in (middle - outer + 0.07, middle + outer - 0.07):
        _cloud(brush, foot, horizon - 0.02, 0.26, WHITE, (206, 218, 230))


def _rolling(brush: Brush, y: float, height: float) -> list[Point]:
    """A hilly line from the left to the right border, and the lower corners of the page."""
    start, more, pace = (brush.chance.uniform(0, math.tau) for _ in range(3))
    line = []
    for x in np.linspace(0, 1, 33).tolist():
        hill = 0.7 * math.sin(start + (3 + pace / 2) * x) + 0.3 * math.sin(more + 9 * x)
        line.append((x, y - height * hill))
    return [*line, (1.0, 1.0), (0.0, 1.0)]


def _below(y: float) -> list[Point]:
    return [(0.0, y), (1.0, y), (1.0, 1.0), (0.0, 1.0)]


def _wavelet(x: float, y: float, width: float, height: float) -> list[Point]:
    return [(x + width * i / 4, y - height * (i % 2)) for i in range(5)]


def _somewhere(brush: Brush, horizon: float) -> tuple[float, float, float]:
    """A place on the ground, and how near it is to the viewer, from 0.3 to 1."""
    depth = brush.chance.random() ** 0.8
    return brush.chance.random(), horizon + 0.03 + (0.97 - horizon) * depth, 0.3 + 0.7 * depth


def _flecks(brush: Brush, horizon: float, number: int, size: float, inks: Sequence[Ink]) -> None:
    for _ in range(number):
        x, y, near = _somewhere(brush, horizon)
        brush.ellipse((x, y, x + size * near, y + 0.7 * size * near), brush.chance.choice(inks))


def _grass(brush: Brush, horizon: float) -> None:
    chance = brush.chance
    far = mix((120, 184, 116), (156, 190, 84), chance.random())
    hills = _rolling(brush, horizon - 0.02, chance.uniform(0.03, 0.06))
    brush.fade(hills, (mix(far, (190, 220, 220), 0.35), far))
    meadow = mix((104, 184, 74), (134, 190, 60), chance.random())
    brush.fade(_rolling(brush, horizon + 0.02, 0.018), (meadow, mix(meadow, (48, 128, 54), 0.7)))
    brush.polygon(_rolling(brush, (1 + horizon) / 2, 0.03), (60, 140, 50, 70))
    for _ in range(34):
        x, y, near = _somewhere(brush, horizon)
        blades = ((x + dx * near, y - dy * near) for dx, dy in path("-1.2,2 0,0 0,3 0,0 1.3,1.8"))
        brush.line(list(blades), 0.005, chance.choice(((46, 118, 44), (156, 206, 96))))
    petals = (WHITE, (255, 236, 120), (255, 200, 220))
    _flecks(brush, horizon, chance.randint(10, 20), 0.017, petals)


def _sand(brush: Brush, horizon: float) -> None:
    dunes = _rolling(brush, horizon - 0.015, brush.chance.uniform(0.02, 0.04))
    brush.fade(dunes, ((226, 200, 150), (214, 184, 130)))
    sand = mix((248, 224, 166), (242, 208, 146), brush.chance.random())
    brush.fade(_rolling(brush, horizon + 0.025, 0.018), (sand, mix(sand, (224, 180, 114), 0.8)))
    for _ in range(16):
        x, y, near = _somewhere(brush, horizon)
        ripple = _wavelet(x - 0.1, y, brush.chance.uniform(0.10, 0.20) * near, 0.010 * near)
        brush.stroke(ripple, 0.006 * near, (206, 164, 104))
    _flecks(brush, horizon, 26, 0.012, ((196, 156, 104), (255, 244, 220), (182, 150, 120)))


def _snow(brush: Brush, horizon: float) -> None:
    heights = [brush.chance.uniform(0.03, 0.055) if i % 2 else 0.01 for i in range(41)]
    firs = [(i / 40, horizon - height) for i, height in enumerate(heights)]
    brush.polygon([*firs, (1.0, 1.0), (0.0, 1.0)], (120, 146, 182))
    brush.fade(_rolling(brush, horizon, 0.018), ((206, 220, 242), (190, 208, 236)))
    brush.fade(_rolling(brush, horizon + 0.035, 0.022), ((248, 251, 255), (222, 233, 250)))
    drift = _rolling(brush, horizon + brush.chance.uniform(0.4, 0.6) * (1 - horizon), 0.04)
    brush.fade(drift, ((252, 254, 255), (214, 228, 248)))
    brush.line(drift[:-2], 0.006, (200, 217, 243))


def _sea(brush: Brush, horizon: float) -> None:
    chance = brush.chance
    water = mix((64, 158, 200), (54, 140, 206), chance.random())
    far, near = mix(water, (190, 226, 236), 0.45), mix(water, (14, 70, 140), 0.65)
    brush.fade(_below(horizon), (far, water, near))
    row, gap = horizon + 0.03, 0.022
    while row < 1.0:
        for _ in range(max(2, round(0.2 / gap))):
            x, y = chance.uniform(-0.05, 1.0), row + chance.uniform(0, gap)
            ink = chance.choice(((176, 222, 240), (220, 242, 250), (30, 96, 166)))
            brush.stroke(_wavelet(x, y, gap * chance.uniform(1.4, 2.2), gap / 6), gap / 9, ink)
        row, gap = row + gap, gap * 1.25


def _town(brush: Brush, horizon: float) -> None:
    left = -0.03
    while left < 1.0:
        width, top = brush.chance.uniform(0.07, 0.15), horizon - brush.chance.uniform(0.03, 0.12)
        wall = brush.chance.choice(((172, 178, 196), (158, 166, 188), (184, 184, 198)))
        brush.rectangle((left, top, left + width, horizon + 0.02), wall)
        for x in np.arange(left + 0.012, left + width - 0.02, 0.03).tolist():
            for y in np.arange(top + 0.012, horizon - 0.02, 0.03).tolist():
                brush.rectangle((x, y, x + 0.012, y + 0.014), (226, 226, 220))
        left += width


def _road(brush: Brush, horizon: float) -> None:
    _town(brush, horizon)
    kerb, joint = horizon + brush.chance.uniform(0.09, 0.12), (176, 170, 164)
    brush.rectangle((0.0, horizon, 1.0, kerb), (206, 200, 192))
    for x in np.arange(-0.2, 1.2, 0.09).tolist():
        brush.line([(x, horizon), (x + 0.12 * (x - 0.5), kerb)], 0.005, joint)
    brush.fade(_below(kerb), ((128, 130, 136), (98, 100, 108)))
    brush.rectangle((0.0, kerb, 1.0, kerb + 0.018), (232, 228, 220))
    y, shift = kerb + 0.03 + 0.5 * (0.97 - kerb), brush.chance.uniform(-0.2, 0.0)
    for x in np.arange(shift, 1.0, 0.22).tolist():
        dash = [(x + dx, y + dy) for dx, dy in path("1.2,-1.3 13.2,-1.3 12,1.3 0,1.3")]
        brush.polygon(dash, (250, 246, 226))


def _glitter(brush: Brush, horizon: float, x: float, ink: Ink) -> None:
    for i in range(16):
        depth = (i + brush.chance.random()) / 16
        y, wide = horizon + 0.01 + depth * 0.6 * (1 - horizon), 0.04 + 0.10 * depth
        left = x - wide / 2 + brush.chance.uniform(-0.06, 0.06) * (0.5 + depth)
        brush.ellipse((left, y, left + wide, y + 0.004 + 0.008 * depth), (*ink, 190))


def _puddles(brush: Brush, horizon: float) -> None:
    for _ in range(4):
        x, y, near = _somewhere(brush, horizon + 0.04)
        wide = brush.chance.uniform(0.06, 0.12) * near
        brush.ellipse((x - wide, y - wide / 4, x + wide, y + wide / 4), (186, 200, 214, 180))


def _raindrops(brush: Brush) -> None:
    for _ in range(85):
        x, y = brush.chance.uniform(0, 1.1), brush.chance.uniform(-0.05, 1)
        length = brush.chance.uniform(0.04, 0.08)
        brush.line([(x, y), (x - 0.35 * length, y + length)], 0.006, (226, 236, 246, 165))


def _snowflakes(brush: Brush, number: int, largest: float, stars: int) -> None:
    chance = brush.chance
    for _ in range(number):
        brush.disc(chance.random(), chance.random(), chance.uniform(0.4, 1) * largest, WHITE)
    for _ in range(stars):
        brush.polygon(_star(chance.random(), chance.random(), 0.03, 6, 0.3), WHITE)


@dataclass(frozen=True)
class Sky:
    """How a sky looks, from the top down to the horizon, and the light that it sheds."""

    paint: Callable[[Brush, float, float, float], None]
    stops: tuple[Ink, ...]
    on_ground: Light
    on_things: Light
    glitter: Ink | None


DAY = ((58, 140, 228), (120, 190, 245), (205, 233, 252))
SUNSET = ((112, 74, 150), (236, 112, 104), (255, 206, 116))
NIGHT = ((12, 16, 50), (24, 34, 84), (58, 72, 130))
RAIN = ((84, 94, 110), (122, 132, 146), (166, 174, 182))
SNOWFALL = ((150, 150, 184), (178, 176, 206), (208, 205, 226))
RAINBOW = ((126, 178, 222), (176, 210, 234), (232, 240, 240))
SKY_LOOKS = {
    "day": Sky(_day, DAY, FULL_LIGHT, FULL_LIGHT, (255, 250, 214)),
    "sunset": Sky(_sunset, SUNSET, (1.0, 0.80, 0.72), (1.0, 0.96, 0.92), (255, 214, 120)),
    "night": Sky(_night, NIGHT, (0.47, 0.48, 0.65), (1.0, 0.97, 0.98), (214, 220, 250)),
    "rain": Sky(_rain, RAIN, (0.76, 0.80, 0.84), (0.92, 0.93, 0.95), None),
    "snowfall": Sky(_snowfall, SNOWFALL, (0.94, 0.95, 0.98), (0.98, 0.98, 1.0), None),
    "rainbow": Sky(_rainbow, RAINBOW, FULL_LIGHT, FULL_LIGHT, None),
}
LIGHT_ON_GROUND: dict[tuple[str, str], Light] = {  # where the sky's own would mislead
    ("sunset", "road"): (0.94, 0.87, 0.86),
    ("night", "sand"): (0.73, 0.82, 1.12),
    ("night", "snow"): (0.60, 0.65, 0.84),
}
GROUND_PAINTERS = {"grass": _grass, "sand": _sand, "snow": _snow, "sea": _sea, "road": _road}


def paint_backdrop(image: Image.Image, scene: Scene) -> None:
    """Paint the sky and the ground of the scene."""
    look, horizon, (sun_x, sun_y) = SKY_LOOKS[scene.sky], scene.horizon, sun_place(scene)
    air = Brush(image, PAGE, FULL_LIGHT, False, Random(f"{scene.decoration_seed} sky"))
    air.fade([(0, 0), (1, 0), (1, horizon + 0.05), (0, horizon + 0.05)], look.stops)
    look.paint(air, horizon, sun_x, sun_y)
    light = LIGHT_ON_GROUND.get((scene.sky, scene.ground), look.on_ground)
    earth = Brush(image, PAGE, light, False, Random(f"{scene.decoration_seed} ground"))
    GROUND_PAINTERS[scene.ground](earth, horizon)
    if scene.ground == "sea" and look.glitter:
        _glitter(air, horizon, sun_x, look.glitter)
    if scene.sky == "rain" and scene.ground != "sea":
        _puddles(air, horizon)
    elif scene.sky == "snowfall":  # the larger flakes stay behind the things
        _snowflakes(air, 60, 0.015, 14)


def paint_weather(image: Image.Image, scene: Scene) -> None:
    """Paint what falls in front of the things."""
    air = Brush(image, PAGE, FULL_LIGHT, False, Random(f"{scene.decoration_seed} weather"))
    if scene.sky == "rain":
        _raindrops(air)
    elif scene.sky == "snowfall":
        _snowflakes(air, 24, 0.008, 0)
