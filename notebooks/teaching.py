"""Writes what is computed in TEACHING.md, the teacher's page: `python notebooks/teaching.py`.

That is each plan's table, with minutes from the lessons' own estimates, and each lesson's minutes.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

from rebuild import NOTEBOOKS, lessons, minutes, number, read, title

from cliplib.storage import write_text

PAGE = NOTEBOOKS / "TEACHING.md"
LONGEST = 90  # minutes in one stretch
INSTALL = 30  # minutes at the beginning of every plan
BLOCK = re.compile(r"(<!-- plan: (.+?) -->\n).*?(<!-- end -->)", re.DOTALL)
LESSON_LINE = re.compile(r"^\[(\d\d_\w+\.ipynb)\]\(\1\): .*$", re.MULTILINE)


@dataclass(frozen=True)
class Row:
    """A line of a plan; minutes of content, of exercises, and of neither."""

    what: str
    content: int = 0
    exercises: int = 0
    other: int = 0
    is_break: bool = False

    @property
    def minutes(self) -> int:
        return self.content + self.exercises + self.other


def _path(which: str) -> Path:
    return next(path for path in lessons() if number(path) == which)


def whole(which: str) -> Row:
    """A whole lesson, with the minutes that it states itself."""
    path = _path(which)
    content, exercises = minutes(read(path))
    return Row(f"[{title(path)}]({path.name})", content, exercises)


def part(which: str, estimate: int, *headings: str) -> Row:
    """Some headings of a lesson; the minutes are an estimate of this page."""
    path = _path(which)
    named = ", ".join(f"*{heading}*" for heading in headings)
    return Row(f"of [{title(path)}]({path.name}): {named} (our estimate)", estimate)


def pause(length: int) -> Row:
    return Row("break", other=length, is_break=True)


def plans() -> dict[str, list[Row]]:
    """Every plan, by the name that its place in TEACHING.md has; two days are two tables."""
    install = Row("install, doctor, first lesson open", other=INSTALL)
    return {
        "90 minutes": [
            install,
            whole("00"),
            part("08", 13, "See it first", "Left and right, whose colour, how many", "Can CLIP …?"),
            Row("feedback form", other=7),
        ],
        "half a day": [
            install,
            whole("00"),
            part("02", 10, "One space for both"),
            pause(15),
            whole("03"),
            pause(15),
            part("04", 24, "See it first", "The first test of any loop: 128 pairs",
                 "The whole training"),
            part("05", 16, "See it first", "Recall@k, by hand", "The gallery makes the figure",
                 "A softmax over what you typed is no confidence"),
            Row("feedback form", other=7),
        ],
        "a day": [
            install,
            whole("00"),
            part("02", 10, "One space for both"),
            pause(15),
            whole("03"),
            pause(60),
            whole("04"),
            pause(15),
            whole("05"),
            Row("feedback form", other=10),
        ],
        "two days, the first": [
            install,
            whole("00"),
            pause(15),
            whole("01"),
            pause(60),
            whole("02"),
            pause(15),
            whole("03"),
        ],
        "two days, the second": [
            whole("04"),
            pause(15),
            whole("05"),
            pause(60),
            whole("06"),
            pause(15),
            whole("08"),
            Row("feedback form", other=10),
        ],
    }  # fmt: skip


def longest_stretch(rows: list[Row]) -> int:
    """The most minutes between two breaks."""
    stretches = [0]
    for row in rows:
        if row.is_break:
            stretches.append(0)
        else:
            stretches[-1] += row.minutes
    return max(stretches)


def clock(after: int) -> str:
    return f"{after // 60}:{after % 60:02d}"


def table(name: str, rows: list[Row]) -> str:
    """A plan as Markdown.

    Raises: ValueError when a stretch without a break is too long.
    """
    if longest_stretch(rows) > LONGEST:
        raise ValueError(
            f"The plan {name!r} has {longest_stretch(rows)} minutes without a break; at most "
            f"{LONGEST} are allowed. Move a lesson, or take a part of one."
        )
    lines = ["| from | what | content | exercises | other |", "|---|---|---|---|---|"]
    after = 0
    for row in rows:
        numbers = [str(n or "") for n in (row.content, row.exercises, row.other)]
        lines.append(f"| {clock(after)} | {row.what} | {' | '.join(numbers)} |")
        after += row.minutes
    sums = [sum(getattr(row, kind) for row in rows) for kind in ("content", "exercises", "other")]
    lines.append(f"| {clock(after)} | **end** | {' | '.join(f'**{n}**' for n in sums)} |")
    told = f"{sums[0]} minutes of content, {sums[1]} of exercises, {sums[2]} of breaks and the rest"
    lines += ["", f"In all {told}; the longest stretch is {longest_stretch(rows)} minutes."]
    return "\n".join(lines) + "\n"


def lesson_line(name: str) -> str:
    content, exercises = minutes(read(NOTEBOOKS / name))
    return f"[{name}]({name}): {content} minutes of content, {exercises} of exercises."


def written(text: str) -> str:
    """The page with every table and every lesson's minutes made anew."""
    every = plans()
    text = BLOCK.sub(lambda f: f"{f[1]}\n{table(f[2], every[f[2]])}\n{f[3]}", text)
    return LESSON_LINE.sub(lambda found: lesson_line(found[1]), text)


if __name__ == "__main__":
    write_text(PAGE, written(PAGE.read_text(encoding="utf-8")))
    print(f"Written: {PAGE.name}.")
    sys.exit()
