"""Runs the tests with the oldest packages that are allowed: `python tests/floors.py [arguments]`.

requirements.txt says `torch>=2.6`; whether 2.6 is enough, only a run with 2.6 can say. So every
floor is installed at its word, into an environment of its own (.venv-floors, made anew each time),
and pytest runs there with the arguments given. What floors do not name, as numpy, pip chooses
beside them. What only tests need (tests/requirements.txt) is of today: those tools measure the
course and are no part of it, and the newest ones find the most.

Only the standard library is imported, for this runs before anything is installed. It takes the
Python that runs it: `python3.10 tests/floors.py` holds the floor of Python as well.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

COURSE = Path(__file__).resolve().parent.parent
ENVIRONMENT = COURSE / ".venv-floors"
# JupyterLab's half of ipywidgets 7, which does not say so itself: pip would take 3, and JupyterLab
# would show no widget.
BESIDE = "jupyterlab_widgets<3\n"
VERSIONS = """
import sys
from importlib.metadata import version
print(*(f"{name}=={version(name)}" for name in sys.argv[1:]), sep="\\n")
"""


def floors(text: str) -> dict[str, str]:
    """The floors of a requirements file, by package; comments and `-r FILE` are passed over.

    Raises: ValueError for a line that is not `name>=version`.
    """
    found = {}
    for number, written in enumerate(text.splitlines(), 1):
        line = written.partition("#")[0].strip()
        if not line or line.startswith("-r "):
            continue
        floor = re.fullmatch(r"([A-Za-z][\w.-]*)>=(\d+(?:\.\d+)*)", line)
        if floor is None:
            raise ValueError(f"line {number} must be such as 'torch>=2.6', not {line!r}.")
        found[floor[1]] = floor[2]
    return found


def pins(found: dict[str, str]) -> str:
    """The same as lines that pip takes no newer release for; to pip, 2.6 and 2.6.0 are the same."""
    return "".join(f"{name}=={version}\n" for name, version in found.items())


def released(version: str) -> str:
    """ "2.6.0+cu124" as "2.6": without zeros at the end, and without which build it is."""
    return re.sub(r"(\.0)+$", "", version.partition("+")[0])


def amiss(found: dict[str, str], installed: dict[str, str]) -> list[str]:
    """What stands there in another version than its floor, in words."""
    return [
        f"{name} {installed[name]} is not the floor {floor}"
        for name, floor in found.items()
        if released(installed[name]) != released(floor)
    ]


def install(found: dict[str, str]) -> Path:
    """A new environment with exactly these releases and the tests' tools; its Python."""
    # the pip that comes with an old Python would load whole packages to read what they need
    make = [sys.executable, "-m", "venv", "--clear", "--upgrade-deps", str(ENVIRONMENT)]
    subprocess.run(make, check=True)
    python = ENVIRONMENT / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    held = ENVIRONMENT / "floors.txt"
    held.write_text(pins(found) + BESIDE, encoding="utf-8")
    pip = [str(python), "-m", "pip", "install", "--quiet", "--constraint", str(held)]
    subprocess.run([*pip, "-r", str(COURSE / "tests" / "requirements.txt")], check=True)
    return python


def versions(python: Path, names: list[str]) -> dict[str, str]:
    """What that Python finds, by package."""
    command = [str(python), "-c", VERSIONS, *names]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return dict(line.split("==") for line in told.split())


def main(arguments: list[str]) -> int:
    found = floors((COURSE / "requirements.txt").read_text(encoding="utf-8"))
    tools = floors((COURSE / "tests" / "requirements.txt").read_text(encoding="utf-8"))
    print(f"Installing {', '.join(pins(found).split())} into {ENVIRONMENT.name} ...", flush=True)
    try:
        python = install(found)
    except subprocess.CalledProcessError:
        print("A floor cannot be installed beside the others: pip says above which one.")
        return 1
    installed = versions(python, [*found, "numpy", *tools])
    standing = ", ".join(f"{name} {version}" for name, version in installed.items())
    print(f"Python {platform.python_version()}, {standing}", flush=True)
    wrong = amiss(found, installed)
    if wrong:
        print(f"{'; '.join(wrong)}.")
        return 1
    return subprocess.run([str(python), "-m", "pytest", *arguments], cwd=COURSE).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
