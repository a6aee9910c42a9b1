"""The lessons' structure: closes the holes that nbval leaves, and holds budgets and words."""

import ast
import base64
import io
import re
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode
from PIL import Image

COURSE = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(COURSE / "notebooks"))

import rebuild  # noqa: E402

LESSONS = {path.name: rebuild.read(path) for path in rebuild.lessons()}
KNOWN_TAGS = {"nbval-check-output"}
BANNED = re.compile(r"\b(simply|just|obviously)\b", re.IGNORECASE)

lesson = pytest.mark.parametrize("name", LESSONS)


def of_type(notebook: NotebookNode, cell_type: str) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == cell_type]


def prose(notebook: NotebookNode) -> str:
    return "\n\n".join(cell.source for cell in of_type(notebook, "markdown"))


def namespace(notebook: NotebookNode) -> dict[str, object]:
    """What a lesson imports and the functions that its cells define; nothing else is run."""
    names: dict[str, object] = {}
    for cell in of_type(notebook, "code"):
        if cell.id == "setup":
            continue  # it finds cliplib, which is here
        kept = [
            statement
            for statement in ast.parse(cell.source).body
            if isinstance(statement, ast.Import | ast.ImportFrom | ast.FunctionDef)
        ]
        exec(compile(ast.Module(kept, []), cell.id, "exec"), names)
    return names


def headings(text: str) -> list[str]:
    without_code = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return re.findall(r"^#+ (.+)$", without_code, re.MULTILINE)


def anchor(heading: str) -> str:
    """As Jupyter and GitHub make them, near enough: words joined by hyphens."""
    return re.sub(r"\s+", "-", heading.strip())


@lesson
def test_ran_once_from_top_to_bottom_without_an_error(name: str) -> None:
    cells = of_type(LESSONS[name], "code")
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [o for cell in cells for o in cell.outputs if o.output_type == "error"]


@lesson
def test_a_checked_cell_has_an_output_and_tags_are_known(name: str) -> None:
    for cell in LESSONS[name].cells:
        tags = set(cell.metadata.get("tags", []))
        assert tags <= KNOWN_TAGS, f"{tags - KNOWN_TAGS} would be ignored in silence"
        if tags:
            assert cell.outputs, f"nothing to compare:\n{cell.source}"


@lesson
def test_some_cells_are_checked(name: str) -> None:
    assert any(cell.metadata.get("tags") for cell in LESSONS[name].cells)


@lesson
def test_no_magics_and_no_shell(name: str) -> None:
    for cell in of_type(LESSONS[name], "code"):
        assert not re.search(r"^\s*[%!]", cell.source, re.MULTILINE), cell.source


@lesson
def test_the_frame_is_what_rebuild_writes(name: str) -> None:
    cells = {cell.id: cell for cell in LESSONS[name].cells}
    assert cells["setup"].source == rebuild.setup_cell()
    path = COURSE / "notebooks" / name
    assert cells["facts"].source == rebuild.facts_line(path, LESSONS[name])


@lesson
def test_one_title_that_names_the_number(name: str) -> None:
    text = re.sub(r"```.*?```", "", prose(LESSONS[name]), flags=re.DOTALL)
    titles = re.findall(r"^# (.+)$", text, re.MULTILINE)
    assert len(titles) == 1 and re.match(rf"{name[:2]}b? · \w", titles[0])


def test_each_lesson_has_a_number_of_its_own_and_they_stand_in_order() -> None:
    numbers = [rebuild.number(path) for path in rebuild.lessons()]
    assert numbers == sorted(set(numbers))


@lesson
def test_budget(name: str) -> None:
    notebook = LESSONS[name]
    assert 25 <= len(notebook.cells) <= 60
    assert max(len(cell.source.splitlines()) for cell in of_type(notebook, "code")) <= 25
    assert rebuild.words(notebook) <= 2500
    assert (COURSE / "notebooks" / name).stat().st_size <= 500_000
    assert notebook.metadata["course"]["seconds"] <= (420 if name == "04_training.ipynb" else 90)


@lesson
def test_words(name: str) -> None:
    found = BANNED.findall(prose(LESSONS[name]))
    assert not found


@lesson
def test_images_in_prose_have_alternative_text(name: str) -> None:
    text = prose(LESSONS[name])
    assert not re.search(r"!\[\s*\]\(", text)
    assert all("alt=" in tag for tag in re.findall(r"<img[^>]*>", text))


@lesson
def test_links_resolve(name: str) -> None:
    text = prose(LESSONS[name])
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http://", "https://")):
            continue
        file, _, fragment = target.partition("#")
        path = COURSE / "notebooks" / file if file else COURSE / "notebooks" / name
        assert path.exists(), f"{target} is not there"
        if fragment:
            there = map(anchor, headings(prose(rebuild.read(path))))
            assert fragment in there, f"{target}: no such heading"


@lesson
def test_outputs_hold_nothing_of_the_machine_that_made_them(name: str) -> None:
    notebook = LESSONS[name]
    assert set(notebook.metadata) == {"course", "kernelspec", "language_info"}
    for cell in of_type(notebook, "code"):
        for output in cell.outputs:
            data = output.get("data", {})
            assert not any("widget" in mime for mime in data)
            text = output.get("text", "") + str(data.get("text/plain", ""))
            assert not re.search(r"(^|[\s'\"(])/(home|root|tmp|work|usr)/|[A-Z]:\\", text), text
            assert not re.search(r"\d+%\||it/s|Warning", text), text


@lesson
def test_pictures_in_outputs_are_not_large_and_can_be_read_aloud(name: str) -> None:
    for cell in of_type(LESSONS[name], "code"):
        for output in cell.outputs:
            png = output.get("data", {}).get("image/png")
            if png:
                alt = output.metadata.get("image/png", {}).get("alt", "")
                assert len(alt) > 20, f"print a sentence that reads the figure of:\n{cell.source}"
                width, height = Image.open(io.BytesIO(base64.b64decode(png))).size
                assert width <= 1600 and height <= 1600


@lesson
def test_exercises_are_whole(name: str) -> None:
    """Each has a heading with level and minutes, a stub, a checker, a hint and a solution."""
    text = prose(LESSONS[name])
    exercises = rebuild.EXERCISE.findall(text)
    assert len(exercises) == len(re.findall(r"^#+ Exercise \d", text, re.MULTILINE)) >= 2
    assert text.count("<summary>Hint</summary>") == len(exercises)
    assert text.count("<summary>Solution</summary>") == len(exercises)
    code = "\n".join(cell.source for cell in of_type(LESSONS[name], "code"))
    assert len(re.findall(r"^    return None$", code, re.MULTILINE)) >= len(exercises)


@lesson
def test_two_predictions_with_their_answers(name: str) -> None:
    text = prose(LESSONS[name])
    assert len(re.findall(r"\*\*Predict", text)) >= 2
    assert len(re.findall(r"<summary>[^<]*(Answer|answer)[^<]*</summary>", text)) >= 2


def test_the_readmes_table_is_what_rebuild_writes() -> None:
    readme = (COURSE / "README.md").read_text(encoding="utf-8").splitlines()
    rows = [line for line in readme if re.match(r"\| \[\d\d", line)]
    assert rows == rebuild.readme_rows()


def test_every_notebook_is_valid() -> None:
    for notebook in LESSONS.values():
        nbformat.validate(notebook)
