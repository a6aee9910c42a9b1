"""The checkers' common part; every lesson's own stubs and solutions through its own checkers."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from test_notebooks import LESSONS, namespace, of_type, prose, rebuild

from cliplib import checks
from cliplib.config import data_root

NUMBERS = {path.name: rebuild.number(path) for path in rebuild.lessons()}

lesson = pytest.mark.parametrize("name", [n for n in LESSONS if NUMBERS[n] in checks.EXERCISES])


@pytest.fixture(autouse=True)
def own_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPLIB_DATA", str(tmp_path))


def wrong_answers(*of_checkers: tuple[Callable, dict[str, Callable]]) -> pytest.MarkDecorator:
    """One test for each wrong answer to a checker, with words of the hint that it must get."""
    cases = [
        (checker, hint, wrong)
        for checker, answers in of_checkers
        for hint, wrong in answers.items()
    ]
    return pytest.mark.parametrize(("checker", "hint", "wrong"), cases)


def expect_hint(
    checker: Callable, hint: str, wrong: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    checker(wrong)
    verdict = capsys.readouterr().out
    assert verdict.startswith("[!]") and hint in verdict


def namespace_of(name: str) -> dict[str, object]:
    """What a lesson's import cell brings, so that its stubs and solutions can be defined."""
    cells = {cell.id: cell for cell in LESSONS[name].cells}
    names: dict[str, object] = {}
    exec(cells["imports"].source, names)
    return names


def checker_calls(name: str) -> list[str]:
    """The cells that call a checker, in order: `lesson03.clip_loss(clip_loss)`."""
    call = re.compile(rf"^lesson{NUMBERS[name]}\.\w+\(\w+\)$", re.MULTILINE)
    return [found for cell in of_type(LESSONS[name], "code") for found in call.findall(cell.source)]


def stubs(name: str) -> list[str]:
    cells = of_type(LESSONS[name], "code")
    return [cell.source for cell in cells if cell.source.endswith("    return None")]


def solutions(name: str) -> list[str]:
    folded = r"<summary>Solution</summary>\s*```python\n(.*?)```"
    return re.findall(folded, prose(LESSONS[name]), re.DOTALL)


def taught_by(name: str) -> dict[str, object]:
    """The functions of a lesson's cells, its stubs replaced by its solutions."""
    names = namespace(LESSONS[name])
    for solution in solutions(name):
        exec(solution, names)
    return names


@lesson
def test_untouched_stubs_are_not_attempted(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    for stub, call in zip(stubs(name), checker_calls(name), strict=True):
        names = namespace_of(name)
        exec(stub, names)
        exec(call, names)
        assert capsys.readouterr().out == "[ ] not attempted yet\n", call
    assert checks.passed() == set()


@lesson
def test_the_lessons_solutions_pass(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    calls = checker_calls(name)
    assert len(calls) == checks.EXERCISES[NUMBERS[name]]
    for solution, call in zip(solutions(name), calls, strict=True):
        names = namespace_of(name)
        exec(solution, names)
        exec(call, names)
        assert re.fullmatch(r"\[x\] passed (\d+) of \1\n", capsys.readouterr().out), call
    expected = {f"{NUMBERS[name]}.{i + 1}" for i in range(len(calls))}
    assert checks.passed() == expected


def at_least_two(yours: checks.Yours) -> str:
    return "" if yours() >= 2 else f"it gave {yours()}. Did you count both?"


def test_the_verdicts_lines(capsys: pytest.CaptureFixture[str]) -> None:
    def wrong() -> int:
        return 1

    def right() -> int:
        return 2

    def broken() -> int:
        return [][0]

    def empty() -> None:
        right()

    for yours in (wrong, right, broken, empty):
        checks.check("03.1", yours, [at_least_two])
    assert capsys.readouterr().out.splitlines() == [
        "[!] 0 of 1: it gave 1. Did you count both?",
        "[x] passed 1 of 1",
        "[!] 0 of 1: your function stopped with IndexError: list index out of range. "
        "Do the shapes at that line fit?",
        "[!] 0 of 1: your function gave back None. Does its last line say return?",
    ]


def test_progress_is_kept_summed_up_and_forgotten(capsys: pytest.CaptureFixture[str]) -> None:
    checks.check("03.2", lambda: 2, [at_least_two])
    checks.check("03.2", lambda: 3, [at_least_two])
    capsys.readouterr()
    checks.summary()
    assert "lesson 03: 1 of 4" in capsys.readouterr().out
    checks.reset()
    assert checks.passed() == set()


@pytest.mark.parametrize("damaged", ["", "{", "[]", '{"passed": 3}'])
def test_damaged_progress_counts_as_none(damaged: str) -> None:
    (data_root() / "progress.json").write_text(damaged)
    assert checks.passed() == set()
