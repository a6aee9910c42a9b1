"""Exercises that check themselves: a file a lesson, and here what all of them share.

A checker hands your function to some properties and prints one line: not attempted yet, passed, or
how many hold, what was seen at the first that does not, and the likely mistake as a question.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from cliplib.config import data_root
from cliplib.storage import write_json

EXERCISES = {
    "00": 2,
    "01": 4,
    "02": 4,
    "03": 4,
    "04": 4,
    "04b": 3,
    "05": 4,
    "06": 4,
    "07": 4,
    "08": 4,
    "09": 4,
    "10": 4,
    "11": 3,
}  # of each lesson

Yours = Callable[..., object]
Property = Callable[[Yours], str]  # "" when it holds, else "<what was seen>. <likely mistake>?"


def _stub() -> None:
    return None


def _documented_stub() -> None:
    """Returns None, like the stub of every exercise."""
    return None


def _body(function: Yours) -> tuple[bytes, object] | None:
    code = getattr(function, "__code__", None)
    return (code.co_code, code.co_consts[-1]) if code else None


UNTOUCHED = {_body(_stub), _body(_documented_stub)}


class NothingReturned(Exception):
    """The function has a body, and came to its end without a result."""


def check(exercise: str, yours: Yours, properties: Sequence[Property]) -> None:
    """Prints the verdict on a function, never raises, and keeps a pass: exercise "03.2" is the
    second of lesson 03.
    """
    if _body(yours) in UNTOUCHED:
        print("[ ] not attempted yet")
        return
    faults = [fault for fault in (_fault(holds, yours) for holds in properties) if fault]
    if faults:
        print(f"[!] {len(properties) - len(faults)} of {len(properties)}: {faults[0]}")
        return
    _keep(passed() | {exercise})
    print(f"[x] passed {len(properties)} of {len(properties)}")


def _fault(holds: Property, yours: Yours) -> str:
    def answer(*arguments: object) -> object:
        result = yours(*arguments)
        if result is None:
            raise NothingReturned
        return result

    try:
        return holds(answer)
    except NothingReturned:
        return "your function gave back None. Does its last line say return?"
    except Exception as error:  # whatever a learner's function can raise becomes a sentence
        message = (str(error).splitlines() or [""])[0].rstrip(".")
        told = f"{type(error).__name__}: {message}" if message else type(error).__name__
        return f"your function stopped with {told}. Do the shapes at that line fit?"


def _progress() -> Path:
    return data_root() / "progress.json"


def _keep(exercises: set[str]) -> None:
    write_json(_progress(), {"passed": sorted(exercises)})


def passed() -> set[str]:
    """The exercises that were passed so far; a damaged file counts as none."""
    return _passed_in(_progress()) or set()


def _passed_in(progress: Path) -> set[str] | None:
    try:
        kept = json.loads(progress.read_text(encoding="utf-8"))["passed"]
        return {exercise for exercise in kept if isinstance(exercise, str)}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def summary() -> None:
    """Prints in one line what you have passed so far."""
    done = passed()
    lessons = [
        f"lesson {lesson}: {sum(f'{lesson}.{i + 1}' in done for i in range(count))} of {count}"
        for lesson, count in EXERCISES.items()
    ]
    print(f"Exercises passed so far: {', '.join(lessons)}.")


def room(folder: Path) -> None:
    """A teacher's view of `summary`: how many of a room have passed each exercise.

    folder: each learner's progress.json, collected under any names that end in .json.
    Raises: FileNotFoundError when there is none.
    """
    found = {path: _passed_in(path) for path in sorted(folder.glob("*.json"))}
    learners = {path.stem: done for path, done in found.items() if done is not None}
    if not learners:
        raise FileNotFoundError(
            f"No learner's progress lies in {folder}: collect each one's progress.json there, from "
            "the data folder of their course, under a name of its own."
        )
    print(f"Passed by how many of {len(learners)}:")
    for lesson, count in EXERCISES.items():
        names = [f"{lesson}.{i + 1}" for i in range(count)]
        by = [sum(name in done for done in learners.values()) for name in names]
        print("  " + ", ".join(f"{name}: {n}" for name, n in zip(names, by, strict=True)))
    whole = sum(EXERCISES.values())
    for learner, done in learners.items():
        print(f"{learner}: {len(done)} of {whole}")
    if broken := [path.name for path, done in found.items() if done is None]:
        print(f"Cannot be read: {', '.join(broken)}")


def reset() -> None:
    """Forgets what was passed."""
    _progress().unlink(missing_ok=True)
    print("Nothing is marked as passed any more.")
