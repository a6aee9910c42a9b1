"""The table of exercises is what its script writes; a teacher sees what a room has passed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import nbformat
import pytest

from cliplib import checks

COURSE = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(COURSE / "notebooks"))

import exercises  # noqa: E402
import rebuild  # noqa: E402


def test_the_page_is_what_the_script_writes() -> None:
    assert exercises.TABLE.read_text(encoding="utf-8") == exercises.table()


def test_every_exercise_that_has_a_checker_is_listed_with_a_skill() -> None:
    listed = {rebuild.number(path): exercises.exercises_of(path) for path in rebuild.lessons()}
    assert {lesson: len(group) for lesson, group in listed.items()} == checks.EXERCISES
    names = [exercise.name for group in listed.values() for exercise in group]
    assert len(set(names)) == len(names) == sum(checks.EXERCISES.values())
    minutes = {path: rebuild.minutes(rebuild.read(path))[1] for path in rebuild.lessons()}
    for path, whole in minutes.items():
        group = listed[rebuild.number(path)]
        assert sum(exercise.minutes for exercise in group) == whole
        assert all(len(exercise.skill.split()) >= 3 for exercise in group)


LESSON = """\
# 12 · A lesson

## You will be able to

1. draw a boat;
2. draw it at night.

There is one exercise for each.

### Exercise 1 · A boat (level 1, 5 minutes)

### Exercise {second} · By night (level 3, 1 minute)
"""


def write_lesson(folder: Path, second: int) -> Path:
    path = folder / "12_a_lesson.ipynb"
    cell = nbformat.v4.new_markdown_cell(LESSON.format(second=second))
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)
    return path


def test_an_exercise_trains_the_goal_of_its_number(tmp_path: Path) -> None:
    assert exercises.exercises_of(write_lesson(tmp_path, 2)) == [
        exercises.Exercise("12.1", "A boat", "draw a boat", 1, 5),
        exercises.Exercise("12.2", "By night", "draw it at night", 3, 1),
    ]
    with pytest.raises(ValueError, match="exercise 3 trains no goal"):
        exercises.exercises_of(write_lesson(tmp_path, 3))


def test_a_teacher_sees_what_a_room_has_passed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, done in (("anna", ["03.1", "03.2"]), ("ben", ["03.1"]), ("cem", [])):
        (tmp_path / f"{name}.json").write_text(json.dumps({"passed": done}))
    (tmp_path / "dora.json").write_text("{")
    checks.room(tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Passed by how many of 3:"
    assert "  03.1: 2, 03.2: 1, 03.3: 0, 03.4: 0" in lines
    whole = sum(checks.EXERCISES.values())
    assert lines[-4:] == [
        f"anna: 2 of {whole}",
        f"ben: 1 of {whole}",
        f"cem: 0 of {whole}",
        "Cannot be read: dora.json",
    ]


def test_an_empty_room_is_told_what_to_collect(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"collect each one's progress\.json"):
        checks.room(tmp_path)
