"""Remaking a lesson: a whole one or none; and a kernel that dies is noticed."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from test_notebooks import COURSE, rebuild


def small_lesson(*code: str, title: str = "98 · A lesson") -> NotebookNode:
    frame = [new_markdown_cell(f"# {title}", id="title"), new_markdown_cell("", id="facts")]
    cells = [new_code_cell("", id="setup"), *map(new_code_cell, code)]
    exercise = new_markdown_cell("### Exercise 1 · Add (level 1, 7 minutes)")
    course = {"needs": "no GPU", "seconds": 0}
    return new_notebook(cells=[*frame, *cells, exercise], metadata={"course": course})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    notebooks = tmp_path / "notebooks"
    notebooks.mkdir()
    (tmp_path / "cliplib").symlink_to(COURSE / "cliplib", target_is_directory=True)
    monkeypatch.setattr(rebuild, "NOTEBOOKS", notebooks)
    readme = (
        f"# A course\n\n{rebuild.README_TABLE}\n|---|---|---|---|\n\n**On Colab.** Old.\nThe end.\n"
    )
    (tmp_path / "README.md").write_text(readme, encoding="utf-8")
    monkeypatch.setattr(rebuild, "ensure", lambda data: tmp_path)  # no book is needed here
    return notebooks


def put(folder: Path, lesson: NotebookNode, name: str = "98_small.ipynb") -> Path:
    path = folder / name
    path.touch()
    rebuild.write(path, lesson)
    return path


def test_a_lesson_is_run_measured_and_framed(folder: Path) -> None:
    path = put(folder, small_lesson("print('a')\nprint('b')", "1 + 1"))
    assert rebuild.main(["98"]) == 0
    made = rebuild.read(path)
    cells = {cell.id: cell for cell in made.cells}
    assert cells["setup"].source == rebuild.setup_cell()
    assert cells["setup"].outputs[0].text.startswith("Found the course: profile quick")
    assert "**7 minutes** of exercises" in cells["facts"].source
    seconds = made.metadata["course"]["seconds"]
    assert f"in **{seconds} seconds**" in cells["facts"].source
    assert [cell.execution_count for cell in made.cells if cell.cell_type == "code"] == [1, 2, 3]
    row = f"| [98 · A lesson](notebooks/98_small.ipynb) | 3 min | 7 min | {seconds} s |"
    assert row in (folder.parent / "README.md").read_text(encoding="utf-8").splitlines()
    assert "a\nb\n" in path.read_text().replace('",\n      "', "").replace("\\n", "\n")


def test_a_lesson_that_breaks_is_left_as_it_was(folder: Path) -> None:
    path = put(folder, small_lesson("print(1)", "1 / 0"))
    before = path.read_bytes()
    with pytest.raises(Exception, match="ZeroDivisionError"):
        rebuild.main(["98"])
    assert path.read_bytes() == before and list(folder.iterdir()) == [path]


def test_the_second_half_of_a_lesson_has_its_own_number_and_place(folder: Path) -> None:
    first = put(folder, small_lesson("1"))
    second = put(folder, small_lesson("1", title="98b · More"), "98_small_more.ipynb")
    third = put(folder, small_lesson("1", title="99 · The end"), "99_end.ipynb")
    assert rebuild.main(["98b"]) == 0
    ran = {path: rebuild.read(path).cells[3].execution_count for path in (first, second, third)}
    assert ran == {first: None, second: 2, third: None}
    facts = [rebuild.read(path).cells[1].source for path in (first, second, third)]
    assert "next: [98b · More](98_small_more.ipynb)" in facts[0] and "before" not in facts[0]
    assert (
        "before: [98 · A lesson](98_small.ipynb) · next: [99 · The end](99_end.ipynb)" in facts[1]
    )
    assert "before: [98b · More](98_small_more.ipynb)" in facts[2] and "next" not in facts[2]


def test_an_unknown_number_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(folder, small_lesson())
    assert rebuild.main(["97"]) == 1
    assert "no lesson 97; there are 98" in capsys.readouterr().out


def test_what_only_a_live_kernel_shows_is_dropped() -> None:
    lesson = small_lesson("1")
    view = {"application/vnd.jupyter.widget-view+json": {"model_id": "x"}, "text/plain": "Box()"}
    lesson.metadata["widgets"] = {}
    cell = lesson.cells[3]
    cell.metadata = {"execution": {}, "tags": ["nbval-check-output"]}
    cell.outputs = [
        new_output("display_data", data=view),
        new_output("stream", name="stdout", text="a\n"),
        new_output("stream", name="stdout", text="b\n"),
    ]
    rebuild.normalise(lesson)
    assert set(lesson.metadata) == {"course", "kernelspec", "language_info"}
    assert cell.metadata == {"tags": ["nbval-check-output"]}
    assert [output.text for output in cell.outputs] == ["a\nb\n"]


def test_an_address_gets_into_set_up_cells_badges_and_readme(tmp_path: Path) -> None:
    """In a copy of the course, by the command that a maintainer types."""
    for name in ("cliplib", "notebooks"):
        shutil.copytree(COURSE / name, tmp_path / name, ignore=lambda *_: {"__pycache__"})
    shutil.copy(COURSE / "README.md", tmp_path)
    address = "https://github.com/someone/course.git"
    table = f'[tool.course]\nrepository = "{address}"\ntag = "v1.0"\n\n[tool.ruff]\n'
    (tmp_path / "pyproject.toml").write_text(table, encoding="utf-8")
    command = [sys.executable, tmp_path / "notebooks" / "rebuild.py", "--frame"]
    subprocess.run(command, check=True, capture_output=True)

    colab = "https://colab.research.google.com/github/someone/course/blob/v1.0/notebooks/"
    readme = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert rebuild.NO_ADDRESS not in readme and "\n**On Colab.** Open a lesson" in readme
    made = sorted((tmp_path / "notebooks").glob("*.ipynb"))
    assert len(made) == len(rebuild.lessons()) >= 6
    for path in made:
        cells = {cell.id: cell.source for cell in rebuild.read(path).cells}
        assert f'\nREPOSITORY, TAG = "{address}", "v1.0"\n' in cells["setup"]
        assert cells["facts"].endswith(f" · [open in Colab]({colab}{path.name})")
        assert f"[{rebuild.number(path)}]({colab}{path.name})" in readme


@pytest.mark.parametrize("end", ["", "/", ".git"])
def test_the_end_of_an_address_does_not_matter(end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebuild, "course_address", lambda: (f"https://github.com/a/b{end}", "v1"))
    link = "https://colab.research.google.com/github/a/b/blob/v1/notebooks/x.ipynb"
    assert rebuild.colab_link(Path("x.ipynb")) == link


@pytest.mark.parametrize("address", ["", "https://example.org/someone/course"])
def test_without_an_address_on_github_there_is_no_badge(
    folder: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuild, "course_address", lambda: (address, "v1" if address else ""))
    path = put(folder, small_lesson())
    assert rebuild.main(["--frame"]) == 0
    facts = rebuild.facts_line(path, rebuild.read(path))
    assert facts.endswith(f" · Colab: {rebuild.NO_ADDRESS}")
    readme = (folder.parent / "README.md").read_text(encoding="utf-8")
    assert f"\n**On Colab.** No links: {rebuild.NO_ADDRESS}.\nThe end.\n" in readme


def test_half_an_address_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebuild, "COURSE", tmp_path)
    half = '[tool.course]\nrepository = "https://github.com/someone/course"\ntag = ""\n'
    (tmp_path / "pyproject.toml").write_text(half, encoding="utf-8")
    with pytest.raises(SystemExit, match="must name repository and tag, or neither"):
        rebuild.setup_cell()


def run_setup_cell(folder: Path) -> str:
    """What it says where it fails."""
    command = [sys.executable, "-c", rebuild.setup_cell()]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert result.returncode == 1 and not list(folder.rglob("cliplib"))
    return result.stderr


def test_the_set_up_cell_says_when_there_is_no_course(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuild, "course_address", lambda: ("", ""))
    told = "cliplib is not here, and no address to fetch it from is known yet.\n"
    assert run_setup_cell(tmp_path) == told


def test_the_set_up_cell_says_why_no_clone_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = (tmp_path / "gone").as_uri()
    monkeypatch.setattr(rebuild, "course_address", lambda: (gone, "v1"))
    told = run_setup_cell(tmp_path)
    assert told.startswith("No clone came; ") and "gone" in told and "Traceback" not in told


def test_a_kernel_that_dies_is_noticed_at_once(tmp_path: Path) -> None:
    path = tmp_path / "dies.ipynb"
    path.touch()
    rebuild.write(path, new_notebook(cells=[new_code_cell("import os\nos._exit(1)")]))
    options = ["-p", "conftest", "--rootdir", str(tmp_path), "-c", "/dev/null", "--nbval-lax"]
    started = time.monotonic()
    result = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "--nbval-current-env", str(path)],
        cwd=COURSE, capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode == 1 and "The kernel died while this cell ran" in result.stdout
    assert time.monotonic() - started < 90
