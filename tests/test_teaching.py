"""The teacher's page is true of the lessons: minutes, headings, answers, votes and links."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
from test_notebooks import BANNED, anchor, headings, of_type, prose

from cliplib import doctor

COURSE = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(COURSE / "notebooks"))

import exercises  # noqa: E402
import rebuild  # noqa: E402
import teaching  # noqa: E402

PAGE = teaching.PAGE.read_text(encoding="utf-8")
LESSONS = {path.name: rebuild.read(path) for path in rebuild.lessons()}
OPTION = re.compile(r"^- ([a-d])\) (.+)$", re.MULTILINE)
ANSWER = re.compile(
    r"^\*\*(\d\db?\.\d) · ([^\n]+?)\*\*\n\n([^\n]+)\n\n```python\n(.+?)\n```$", re.M | re.S
)

lesson = pytest.mark.parametrize("path", rebuild.lessons(), ids=lambda path: path.stem)


def section(title: str, level: str = "##") -> str:
    """The text below a heading, up to the next of its level or above."""
    text = PAGE.partition(f"\n{level} {title}\n")[2]
    return re.split(rf"^#{{2,{len(level)}}} ", text, maxsplit=1, flags=re.MULTILINE)[0]


def has_heading(name: str, heading: str) -> bool:
    """Whether a lesson has it, with or without what its brackets say."""
    there = headings(prose(LESSONS[name]))
    return any(h == heading or h.startswith(f"{heading} (") for h in there)


@dataclass(frozen=True)
class Line:
    """A printed line of a plan: its clock as minutes, its text, its three kinds of minutes."""

    start: int
    what: str
    minutes: tuple[int, ...]


def tables(text: str) -> list[list[Line]]:
    """The plans that a text prints, each a list of lines, its end the last."""
    found: list[list[Line]] = []
    for hours, past, what, *numbers in re.findall(
        r"^\| (\d+):(\d\d) \| (.+?) \| (\S*) \| (\S*) \| (\S*) \|$",
        re.sub(r"\|  (?=\|)", "| - ", text),
        re.MULTILINE,
    ):
        start = 60 * int(hours) + int(past)
        if start == 0:
            found.append([])
        kinds = tuple(int(number.strip("*").replace("-", "0")) for number in numbers)
        found[-1].append(Line(start, what, kinds))
    return found


PLANS = {
    name: tables(section(name, "###")) for name in ("90 minutes", "Half a day", "A day", "Two days")
}
TABLES = [rows for plan in PLANS.values() for rows in plan]
plan = pytest.mark.parametrize("name", PLANS)


def test_the_page_is_what_its_script_writes() -> None:
    assert teaching.written(PAGE) == PAGE
    assert set(teaching.plans()) == {name for _, name, _ in teaching.BLOCK.findall(PAGE)}


@plan
def test_a_plan_adds_up_and_begins_with_half_an_hour_for_installing(name: str) -> None:
    assert len(PLANS[name]) == (2 if name == "Two days" else 1)
    first = PLANS[name][0][0]
    assert first.what.startswith("install") and first.minutes == (0, 0, 30)
    for *rows, end in PLANS[name]:
        assert end.what == "**end**"
        starts = [row.start for row in (*rows, end)]
        assert [b - a for a, b in pairwise(starts)] == [sum(row.minutes) for row in rows]
        assert end.minutes == tuple(map(sum, zip(*(row.minutes for row in rows), strict=True)))
    assert re.findall(r"In all (\d+) minutes of content, (\d+) of exercises, (\d+) of", PAGE) == [
        tuple(map(str, rows[-1].minutes)) for rows in TABLES
    ]


@plan
def test_a_plan_takes_the_time_that_its_name_says(name: str) -> None:
    least, most = {
        "90 minutes": (80, 90),
        "Half a day": (180, 270),
        "A day": (360, 480),
        "Two days": (360, 480),  # each
    }[name]
    assert all(least <= rows[-1].start <= most for rows in PLANS[name])


def test_no_stretch_without_a_break_is_longer_than_ninety_minutes() -> None:
    said = re.findall(r"the longest stretch is (\d+) minutes", PAGE)
    for rows, longest in zip(TABLES, said, strict=True):
        stretches, since = [], 0
        for row in rows[:-1]:
            since = 0 if row.what == "break" else since + sum(row.minutes)
            stretches.append(since)
        assert max(stretches) == int(longest) <= 90


def test_a_plan_that_is_too_long_for_one_stretch_is_refused() -> None:
    rows = [teaching.Row("a", content=60), teaching.Row("b", exercises=31)]
    with pytest.raises(ValueError, match="'long' has 91 minutes without a break"):
        teaching.table("long", rows)
    assert "31" in teaching.table("short", [rows[0], teaching.pause(5), rows[1]])


def test_a_whole_lesson_in_a_plan_has_the_lessons_own_minutes() -> None:
    taken = set()
    for row in (row for rows in TABLES for row in rows):
        if link := re.fullmatch(r"\[.+\]\((.+\.ipynb)\)", row.what):
            assert row.minutes == (*rebuild.minutes(LESSONS[link[1]]), 0), row.what
            taken.add(link[1])
    assert len(taken) > 5


def test_a_part_of_a_lesson_names_headings_that_are_there_and_is_called_an_estimate() -> None:
    parts = [row for rows in TABLES for row in rows if row.what.startswith("of ")]
    assert len(parts) >= 4
    for row in parts:
        name = re.search(r"\]\((.+\.ipynb)\)", row.what)[1]
        named = re.findall(r"\*([^*]+)\*", row.what)
        assert named and all(has_heading(name, heading) for heading in named), row.what
        assert row.what.endswith("(our estimate)")
        assert row.minutes[0] >= least_minutes(name, named)


def least_minutes(name: str, named: list[str]) -> float:
    """Words and code cells of some headings by the lessons' own formula."""
    total, counts = 0.0, False
    for cell in LESSONS[name].cells:
        if cell.cell_type == "code":
            total += counts
            continue
        for piece in re.split(r"^(?=#+ )", cell.source, flags=re.MULTILINE):
            if heading := re.match(r"#+ (.+)", piece):
                counts = any(re.match(rf"{re.escape(h)}( \(|$)", heading[1]) for h in named)
            total += counts * len(piece.split()) / rebuild.WORDS_A_MINUTE
    return total


@lesson
def test_every_lesson_has_a_section_with_its_minutes_its_votes_and_what_to_skip(path: Path) -> None:
    text = section(rebuild.title(path), "###")
    content, of_exercises = rebuild.minutes(LESSONS[path.name])
    line = f"{content} minutes of content, {of_exercises} of exercises."
    assert f"[{path.name}]({path.name}): {line}\n" in text
    for part in ("**Aim.** ", "**What goes wrong, and what to say.** ", "**Skip.** "):
        assert text.count(part) == 1
    assert text.count("**Vote.** ") >= 2
    skipped = re.findall(r"\*([^*]+)\*", text.partition("**Skip.** ")[2])
    assert skipped and all(has_heading(path.name, heading) for heading in skipped), skipped
    named = {int(number) for number in re.findall(r"[Ee]xercise (\d)", text)}
    assert named <= set(range(1, len(exercises.exercises_of(path)) + 1))


@lesson
def test_each_wrong_answer_of_a_vote_names_a_misconception(path: Path) -> None:
    for vote in section(rebuild.title(path), "###").split("**Vote.** ")[1:]:
        options = OPTION.findall(vote.partition("**Skip.**")[0])
        assert "".join(letter for letter, _ in options) == "abcd"
        right = [text for _, text in options if re.match(r"\*\*.+\*\*", text)]
        wrong = [text for _, text in options if re.fullmatch(r"[^*]+: \*[^*]{15,}\*", text)]
        assert len(right) == 1 and len(wrong) == 3, vote


def test_the_right_letter_of_the_votes_is_not_always_the_same() -> None:
    right = re.findall(r"^- ([a-d])\) \*\*", section("Lesson by lesson"), re.MULTILINE)
    assert max(right.count(letter) for letter in "abcd") <= len(right) // 2


def solution(path: Path, at: int) -> str:
    """The folded solution of a lesson's exercise."""
    text = prose(LESSONS[path.name]).partition(f"### Exercise {at} · ")[2]
    return text.partition("<summary>Solution</summary>")[2].partition("</details>")[0]


def test_every_exercise_has_a_printed_answer_whose_lines_stand_in_its_solution() -> None:
    answers = ANSWER.findall(section("Answers to print"))
    listed = [(e.name, e.title) for path in rebuild.lessons() for e in exercises.exercises_of(path)]
    assert [(name, title) for name, title, _, _ in answers] == listed
    paths = {rebuild.number(path): path for path in rebuild.lessons()}
    for name, _, idea, code in answers:
        number, _, at = name.partition(".")
        lines = {line.strip() for line in solution(paths[number], int(at)).splitlines()}
        assert len(idea.split()) >= 6
        assert set(code.splitlines()) <= lines, name


def test_links_lead_somewhere() -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", PAGE)
    assert len(targets) > 20
    for target in targets:
        file, _, fragment = target.partition("#")
        assert not file or (teaching.NOTEBOOKS / file).exists(), target
        assert not fragment or fragment in map(anchor, headings(PAGE)), target


def test_words_and_length() -> None:
    assert not BANNED.findall(PAGE)
    to_read = PAGE.partition("## Answers to print")[0]
    assert 4000 <= len(re.findall(r"[^\W_][\w'’-]*", re.sub(r"\]\([^)]*\)", "", to_read))) <= 6300


def test_what_the_page_says_of_every_lesson_is_so() -> None:
    for name, notebook in LESSONS.items():
        assert any(cell.source == "checks.summary()" for cell in of_type(notebook, "code")[-2:])
        assert "## See it first" in prose(notebook) and "## What you learned" in prose(notebook)
        predictions = re.findall(r"\*\*Predict", prose(notebook))
        assert len(predictions) >= 2, name
    numbers = [rebuild.number(path) for path in rebuild.lessons()]
    assert f"work on today? {' · '.join(numbers)}\n" in section("Feedback form")
    seconds = LESSONS["04_training.ipynb"].metadata["course"]["seconds"]
    assert 180 <= seconds <= 300, "the page says that lesson 04 runs in about four minutes"


def test_variables_and_commands_that_the_page_names_are_there() -> None:
    config = (COURSE / "cliplib" / "config.py").read_text(encoding="utf-8")
    variables = set(re.findall(r"CLIPLIB_[A-Z0-9]+", PAGE))
    assert variables == {"CLIPLIB_DATA", "CLIPLIB_FLICKR8K", "CLIPLIB_PROFILE"}
    assert all(f'os.environ.get("{name}")' in config for name in variables)
    scripts = re.findall(r"python notebooks/(\w+)\.py", PAGE)
    modules = re.findall(r"-m cliplib\.(\w+)", PAGE)
    assert len(scripts) >= 2 and len(modules) >= 3
    assert all((COURSE / "notebooks" / f"{name}.py").is_file() for name in scripts)
    assert all((COURSE / "cliplib" / f"{name}.py").is_file() for name in modules)


def test_the_rooms_table_has_the_columns_of_the_doctors_line() -> None:
    columns = ["name", "verdict", *doctor.LINE, "what to do"]
    assert f"\n    {','.join(columns)}\n" in PAGE
