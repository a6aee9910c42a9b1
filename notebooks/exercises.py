"""Lists every exercise of the course in one table: `python notebooks/exercises.py` writes it.

The table is EXERCISES.md, beside the lessons: exercise, the skill that it trains, level, minutes.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

from rebuild import NOTEBOOKS, lessons, number, read, title

from cliplib.storage import write_text

TABLE = NOTEBOOKS / "EXERCISES.md"
HEADING = re.compile(r"^### Exercise (\d) · (.+) \(level ([123]), (\d+) minutes?\)$", re.MULTILINE)
GOALS = re.compile(r"^## You will be able to\n+(.*?)\n\n(?!\d)", re.MULTILINE | re.DOTALL)
LEVELS = {1: "a few lines by a recipe", 2: "needs a thought", 3: "needs paper and time"}


@dataclass(frozen=True)
class Exercise:
    """One exercise: its number as in `checks`, such as "03.2", and what stands in its lesson."""

    name: str
    title: str
    skill: str
    level: int
    minutes: int


def exercises_of(path: Path) -> list[Exercise]:
    """A lesson's exercises; the skill of each is the goal of the same number.

    Raises: ValueError when an exercise has no goal of its number.
    """
    text = "\n\n".join(c.source for c in read(path).cells if c.cell_type == "markdown")
    found = GOALS.search(text)
    goals = dict(re.findall(r"^(\d)\. (.+?)[;.]$", found[1] if found else "", re.MULTILINE))
    exercises = []
    for at, name, level, minutes in HEADING.findall(text):
        if at not in goals:
            raise ValueError(f"{path.name}: exercise {at} trains no goal of the lesson's list.")
        which = f"{number(path)}.{at}"
        exercises.append(Exercise(which, name, goals[at], int(level), int(minutes)))
    return exercises


def table() -> str:
    """The whole page."""
    of_lessons = {path: exercises_of(path) for path in lessons()}
    every = [exercise for group in of_lessons.values() for exercise in group]
    lines = [
        "# Every exercise",
        "",
        f"{len(every)} exercises, {sum(e.minutes for e in every)} minutes by the lessons' own "
        "estimates. Levels: "
        + ", ".join(f"{level} {meaning}" for level, meaning in LEVELS.items())
        + ". Made by `python notebooks/exercises.py`.",
        "",
        "| exercise | in it you | level | minutes |",
        "|---|---|---|---|",
    ]
    for path, group in of_lessons.items():
        lines.append(f"| **[{title(path)}]({path.name})** | | | {sum(e.minutes for e in group)} |")
        lines += [f"| {e.name} {e.title} | {e.skill} | {e.level} | {e.minutes} |" for e in group]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    write_text(TABLE, table())
    print(f"Written: {TABLE.name}.")
    sys.exit()
