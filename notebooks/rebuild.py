"""Remakes lessons: writes set-up cells, runs from top to bottom, measures, writes facts lines and
the README's table.

    python notebooks/rebuild.py            every lesson
    python notebooks/rebuild.py 03 04b     these
    python notebooks/rebuild.py --frame    set-up cells and facts lines only, nothing is run

A lesson is replaced when its run is whole, and not before.
"""

from __future__ import annotations

import argparse
import base64
import io
import os
import re
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode
from PIL import Image

NOTEBOOKS = Path(__file__).resolve().parent
COURSE = NOTEBOOKS.parent
sys.path.insert(0, str(COURSE))

from cliplib.data import ensure  # noqa: E402
from cliplib.storage import write_text  # noqa: E402

SETUP = """\
# Set-up, the same in every lesson. PROFILE is "quick", "laptop" or "original".
PROFILE = "quick"
REPOSITORY, TAG = "{repository}", "{tag}"

import subprocess
import sys
from pathlib import Path

here = Path.cwd()
places = [here, *here.parents, here / "course"]
course = next((place for place in places if (place / "cliplib").is_dir()), None)
cloned = course is None
if cloned:  # this notebook was opened alone, as on Colab
    if not REPOSITORY:
        raise SystemExit("cliplib is not here, and no address to fetch it from is known yet.")
    git = "git -c core.askPass=true clone -q --depth 1"  # it never waits for a password
    failed, said = subprocess.getstatusoutput(f"{{git}} -b {{TAG}} {{REPOSITORY}} course.partial")
    if failed:
        raise SystemExit(f"No clone came; delete course.partial, if it is there. Git: {{said}}")
    course = Path("course.partial").rename(here / "course")
sys.path.insert(0, str(course))

from cliplib.colab import prepare

profile = prepare(PROFILE, cloned)
"""
WORDS_A_MINUTE = 200
FEW_COLOURS = 4000
NO_ADDRESS = "the course has no public address yet"
README_COLAB = "**On Colab.** "
README_TABLE = "| lesson | reading and trying | exercises | runs in |"
EXERCISE = re.compile(r"^#+ Exercise \d.*\(level [123], (\d+) minutes?\)$", re.MULTILINE)


def lessons() -> list[Path]:
    """Every lesson, in order."""
    return sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def course_address() -> tuple[str, str]:
    """Address and tag of the repository, from pyproject.toml's [tool.course]; "": not known yet."""
    text = (COURSE / "pyproject.toml").read_text(encoding="utf-8")
    table = text.partition("[tool.course]")[2].partition("\n[")[0]
    values = dict(re.findall(r'^(\w+) = "(.*)"', table, re.MULTILINE))
    repository, tag = values.get("repository", ""), values.get("tag", "")
    if bool(repository) != bool(tag):
        raise SystemExit(
            "pyproject.toml's [tool.course] must name repository and tag, or neither; it has "
            f"repository {repository!r} and tag {tag!r}."
        )
    return repository, tag


def colab_link(path: Path) -> str:
    """Where Colab opens a lesson; "" while the course has no address on GitHub, which it needs."""
    repository, tag = course_address()
    place = repository.removesuffix("/").removesuffix(".git").partition("https://github.com/")[2]
    colab = "https://colab.research.google.com/github"
    return f"{colab}/{place}/blob/{tag}/notebooks/{path.name}" if place else ""


def setup_cell() -> str:
    repository, tag = course_address()
    return SETUP.format(repository=repository, tag=tag).rstrip()


def words(notebook: NotebookNode) -> int:
    """The words to read: Markdown without its code, tags, and addresses."""
    text = "\n".join(
        cell.source
        for cell in notebook.cells
        if cell.cell_type == "markdown" and cell.id != "facts"
    )
    for unread in (r"```.*?```", r"\$\$.*?\$\$", r"<[^>]+>", r"\]\([^)]*\)"):
        text = re.sub(unread, " ", text, flags=re.DOTALL)
    return len(re.findall(r"[^\W_][\w'’-]*", text))


def minutes(notebook: NotebookNode) -> tuple[int, int]:
    """Minutes to read and try (200 words a minute, a minute a code cell), and of exercises."""
    code_cells = sum(cell.cell_type == "code" for cell in notebook.cells)
    exercises = [
        int(found)
        for cell in notebook.cells
        if cell.cell_type == "markdown"
        for found in EXERCISE.findall(cell.source)
    ]
    return round(words(notebook) / WORDS_A_MINUTE + code_cells), sum(exercises)


def facts_line(path: Path, notebook: NotebookNode) -> str:
    """What a reader wants to know first, from the lesson's text and its `course` metadata."""
    course = notebook.metadata["course"]
    reading, exercises = minutes(notebook)
    facts = [
        f"**{reading} minutes** to read and try, **{exercises} minutes** of exercises "
        f"(an estimate: {WORDS_A_MINUTE} words a minute, a minute a code cell)",
        f"runs in **{course['seconds']} seconds** on 2 cores",
        str(course["needs"]),
    ]
    before, after = neighbours(path)
    facts += [f"before: {_link(before)}"] if before else []
    facts += [f"next: {_link(after)}"] if after else []
    link = colab_link(path)
    facts.append(f"[open in Colab]({link})" if link else f"Colab: {NO_ADDRESS}")
    return " · ".join(facts)


def neighbours(path: Path) -> tuple[Path | None, Path | None]:
    """The lessons before and after, where they are there."""
    in_order = [None, *lessons(), None]
    at = in_order.index(path)
    return in_order[at - 1], in_order[at + 1]


def title(path: Path) -> str:
    return read(path).cells[0].source.splitlines()[0].removeprefix("# ")


def number(path: Path) -> str:
    """As the title has it: "03", or "04b" for a lesson's second half."""
    return title(path).partition(" · ")[0]


def _link(path: Path) -> str:
    return f"[{title(path)}]({path.name})"


def readme_rows() -> list[str]:
    """A row of the README's table for each lesson: link, minutes, seconds."""
    rows = []
    for path in lessons():
        notebook = read(path)
        reading, exercises = minutes(notebook)
        seconds = notebook.metadata["course"]["seconds"]
        link = f"[{title(path)}](notebooks/{path.name})"
        rows.append(f"| {link} | {reading} min | {exercises} min | {seconds} s |")
    return rows


def readme_on_colab() -> str:
    """The first line of the README's paragraph on Colab: a link to each lesson, or why none."""
    links = [f"[{number(path)}]({colab_link(path)})" for path in lessons() if colab_link(path)]
    told = f"Open a lesson there: {', '.join(links)}." if links else f"No links: {NO_ADDRESS}."
    return README_COLAB + told


def write_readme() -> None:
    """Exchanges the rows of lessons in the README's table, and its links to Colab."""
    readme = NOTEBOOKS.parent / "README.md"
    lines = readme.read_text(encoding="utf-8").splitlines()
    others = [
        readme_on_colab() if line.startswith(README_COLAB) else line
        for line in lines
        if "](notebooks/" not in line or not line.startswith("| [")
    ]
    at = others.index(README_TABLE) + 2
    write_text(readme, "\n".join([*others[:at], *readme_rows(), *others[at:]]) + "\n")


def write_frame(path: Path, notebook: NotebookNode) -> None:
    """Writes the set-up cell and the facts line into their cells, named `setup` and `facts`."""
    cells = {cell.id: cell for cell in notebook.cells}
    cells["setup"].source = setup_cell()
    cells["facts"].source = facts_line(path, notebook)


def run(notebook: NotebookNode) -> int:
    """Runs a lesson as a newcomer would, in the quick profile, and gives the seconds it took.

    Its data folder is a temporary one that holds the drawn picture book and nothing else: so
    neither your runs nor your passed exercises get into what is stored.
    """
    book = ensure("picturebook").resolve()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "picturebook").symlink_to(book, target_is_directory=True)
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("CLIPLIB_") and name != "MPLBACKEND"
        }
        environment["CLIPLIB_DATA"] = folder
        client = NotebookClient(
            notebook,
            timeout=900,
            kernel_name="python3",
            record_timing=False,
            resources={"metadata": {"path": str(NOTEBOOKS)}},
        )
        started = time.perf_counter()
        client.execute(env=environment)
        return round(time.perf_counter() - started)


def normalise(notebook: NotebookNode) -> None:
    """Leaves nothing in a lesson that differs from run to run or that only a live kernel shows."""
    notebook.metadata = {
        "course": notebook.metadata["course"],
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        tags = cell.metadata.get("tags")
        cell.metadata = {"tags": tags} if tags else {}
        if cell.cell_type == "code":
            cell.outputs = _joined([o for o in cell.outputs if not _is_widget(o)])
            _describe_pictures(cell)


def _is_widget(output: NotebookNode) -> bool:
    return "application/vnd.jupyter.widget-view+json" in output.get("data", {})


def _joined(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Neighbouring pieces of one stream as one: how a kernel cuts them is chance."""
    joined: list[NotebookNode] = []
    for output in outputs:
        stream = output.output_type == "stream"
        if stream and joined and joined[-1].get("name") == output.name:
            joined[-1].text += output.text
        else:
            joined.append(output)
    return joined


def _describe_pictures(cell: NotebookNode) -> None:
    """Makes a cell's figures small files, and what the cell printed their alternative text."""
    printed = "".join(o.text for o in cell.outputs if o.output_type == "stream").strip()
    for output in cell.outputs:
        if "image/png" in output.get("data", {}):
            output.data["image/png"] = _smaller(output.data["image/png"])
            output.metadata = {"image/png": {"alt": " ".join(printed.split())}}


def _smaller(png: str) -> str:
    """A PNG in base64 with 256 colours: a heat map keeps its rare ones, a drawing its commonest."""
    picture = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
    if picture.getcolors(FEW_COLOURS):
        small = picture.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    else:
        small = picture.quantize(256, kmeans=1, dither=Image.Dither.NONE)
    file = io.BytesIO()
    small.save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def write(path: Path, notebook: NotebookNode) -> None:
    """Replaces a lesson, whole, when something in it changed."""
    nbformat.validate(notebook)
    text = nbformat.writes(notebook).rstrip("\n") + "\n"
    if text != path.read_text(encoding="utf-8"):
        write_text(path, text)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python notebooks/rebuild.py", description=__doc__)
    parser.add_argument("numbers", nargs="*", help="lessons to run, such as 03; default: all")
    parser.add_argument("--frame", action="store_true", help="run nothing, write frames only")
    chosen = parser.parse_args(arguments)
    there = {number(path) for path in lessons()}
    unknown = sorted(set(chosen.numbers) - there)
    if unknown:
        print(f"There is no lesson {', '.join(unknown)}; there are {', '.join(sorted(there))}.")
        return 1
    for path in lessons():
        notebook = read(path)
        if not chosen.frame and (not chosen.numbers or number(path) in chosen.numbers):
            write_frame(path, notebook)
            notebook.metadata["course"]["seconds"] = run(notebook)
            normalise(notebook)
        write_frame(path, notebook)
        write(path, notebook)
        print(f"{path.name}: {notebook.metadata['course']['seconds']} seconds")
    write_readme()
    return 0


if __name__ == "__main__":
    sys.exit(main())
