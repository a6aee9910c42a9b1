"""The executed lessons as a small web site for those who cannot run anything.

    python notebooks/website.py            into data/site
    python notebooks/website.py FOLDER

Open its index.html with any browser, from a disk or a USB stick: nothing is loaded from elsewhere.
"""

from __future__ import annotations

import argparse
import html
import re
import sys
from pathlib import Path

from nbconvert import HTMLExporter
from rebuild import lessons, minutes, read, title

from cliplib.config import data_root
from cliplib.storage import write_text

SCRIPT = re.compile(r"<script.*?</script>", re.DOTALL)
LINK_TO_LESSON = re.compile(r'href="([0-9][0-9]_\w+)\.ipynb(#[^"]*)?"')
LINK_ELSEWHERE = re.compile(r'<a href="\.\./[^"]*">(.*?)</a>', re.DOTALL)  # into the course
HOME = '<p style="margin:1em"><a href="index.html">All lessons</a></p>'
INDEX = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Build your own CLIP</title>
<style>
body {{ font: 1.05em/1.5 sans-serif; max-width: 44em; margin: 2em auto; padding: 0 1em; }}
li {{ margin: 1em 0; list-style: none; }}
small {{ color: #555; }}
</style>
</head>
<body>
<h1>Build your own CLIP</h1>
<p>The lessons as they ran, to read without installing anything. Widgets and exercises need the
course itself; each shows a picture here instead.</p>
<ul>
{lessons}
</ul>
</body>
</html>
"""


def page(path: Path) -> str:
    """A lesson with its outputs as a page that needs no script and no other file."""
    exporter = HTMLExporter(template_name="classic", exclude_input_prompt=True)
    about = {"metadata": {"name": title(path)}}
    body, _ = exporter.from_notebook_node(read(path), resources=about)
    body = SCRIPT.sub("", body)  # for formulas, diagrams and widgets: the lessons hold none
    body = LINK_TO_LESSON.sub(lambda link: f'href="{link[1]}.html{link[2] or ""}"', body)
    body = LINK_ELSEWHERE.sub(r"\1", body)
    return re.sub(r"(<body[^>]*>)", rf"\1{HOME}", body, count=1)


def index() -> str:
    """The page that lists them, each with its question."""
    rows = []
    for path in lessons():
        notebook = read(path)
        question = notebook.cells[0].source.partition("\n")[2].strip().strip("*")
        reading, exercises = minutes(notebook)
        rows.append(
            f'<li><a href="{path.stem}.html">{html.escape(title(path))}</a><br>'
            f"{html.escape(question)}<br>"
            f"<small>{reading} minutes to read, {exercises} of exercises</small></li>"
        )
    return INDEX.format(lessons="\n".join(rows))


def build(folder: Path) -> None:
    """Writes a page for each lesson, then the index."""
    for path in lessons():
        write_text(folder / f"{path.stem}.html", page(path))
    write_text(folder / "index.html", index())


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python notebooks/website.py", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=data_root() / "site")
    folder = parser.parse_args(arguments).folder
    build(folder)
    print(f"Open {folder / 'index.html'} in a browser.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
