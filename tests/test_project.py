"""What holds for the project as a whole: style, secrets, commands as the README prints them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

COURSE = Path(__file__).resolve().parent.parent


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=COURSE, capture_output=True, text=True)


@pytest.mark.parametrize("check", [["check"], ["format", "--check"]])
def test_ruff(check: list[str]) -> None:
    result = run(sys.executable, "-m", "ruff", *check, ".")
    assert result.returncode == 0, result.stdout + result.stderr


def test_secrets_are_ignored_by_git() -> None:
    lines = (COURSE / ".gitignore").read_text().splitlines()
    assert {"kaggle.json", ".env"} <= set(lines)


def test_ci_runs_exactly_the_readmes_test_command() -> None:
    readme = (COURSE / "README.md").read_text(encoding="utf-8")
    command = re.search(r"^    (.* -m pytest)$", readme, re.MULTILINE)
    assert command is not None
    assert (COURSE / ".ci" / "run").read_text().splitlines()[-1] == command[1]


def test_the_readme_names_what_is_there() -> None:
    readme = (COURSE / "README.md").read_text(encoding="utf-8")
    modules = set(re.findall(r"python -m cliplib\.(\w+)", readme))
    assert modules == {"train", "search", "data", "own_report", "doctor", "film", "bundle"}
    assert all((COURSE / "cliplib" / f"{name}.py").is_file() for name in modules)
    opened = re.findall(r"jupyter lab (\S+)", readme)
    assert len(opened) == 2 and {path.replace("\\", "/") for path in opened} == {
        "notebooks/00_start_here.ipynb"
    }
    targets = re.findall(r"\]\(([^)#]+)\)", readme)
    local = [target for target in targets if not target.startswith("http")]
    assert len(local) > 8 and all((COURSE / target).exists() for target in local)
    tree = readme.partition("## The tree")[2].partition("## Tests")[0]
    for module in (COURSE / "cliplib").glob("[a-z]*.py"):
        assert re.search(rf"\b{module.stem}\b", tree), f"the tree does not name {module.stem}"


def test_no_module_is_too_long_and_imports_point_one_way() -> None:
    order = [
        "config",
        "scenes",
        "captions",
        "two_way",
        "brush",
        "backdrop",
        "things",
        "drawing",
        "picturebook",
        "storage",
        "album",
        "measured",
        "hub",
        "memory",
        "pictures",
        "folders",
        "looks",
        "splits",
        "store",
        "layout",
        "flaws",
        "flickr8k",
        "shards",
        "kaggle",
        "download",
        "data",
        "gallery",
        "encoders",
        "blockwise",
        "loss",
        "hard_negatives",
        "model",
        "optimizer",
        "augment",
        "precision",
        "meter",
        "processes",
        "checkpoint",
        "theirs",
        "features",
        "index",
        "nearest",
        "retrieval",
        "threshold",
        "plots",
        "plots_scores",
        "plots_training",
        "plots_classes",
        "plots_inside",
        "plots_own",
        "plots_clinic",
        "plots_scale",
        "zeroshot",
        "probe",
        "regions",
        "space",
        "search",
        "pair_encoder",
        "streaming",
        "trainer",
        "evaluate",
        "fitting",
        "finetune",
        "fewer",
        "own_tables",
        "own_pictures",
        "own_measures",
        "train",
        "own_report",
        "clinic",
        "film",
        "widgets",
        "widgets_matrix",
        "widgets_film",
        "widgets_search",
        "forecast",
        "doctor",
        "colab",
        "stick",
        "wheels",
        "tracked",
        "shelf",
        "bundle",
    ]
    modules = {path.stem: path.read_text(encoding="utf-8") for path in COURSE.glob("cliplib/*.py")}
    assert set(modules) - {"__init__", "__main__"} == set(order)
    for name, text in modules.items():
        assert len(text.splitlines()) <= 300, f"{name} passes 300 lines: split it by idea"
        imported = re.findall(r"^ *from cliplib\.(\w+) import", text, re.MULTILINE)
        for names in re.findall(r"^ *from cliplib import ([\w, ]+)", text, re.MULTILINE):
            imported += names.split(", ")
        for other in set(imported) & set(order):
            assert order.index(other) < order.index(name), f"{name} imports {other}, which is above"


def test_bare_module_lists_the_commands() -> None:
    result = run(sys.executable, "-m", "cliplib")
    assert result.returncode == 0
    for command in (
        "cliplib.data",
        "cliplib.own_report",
        "cliplib.train",
        "cliplib.search",
        "cliplib.doctor",
        "cliplib.bundle",
        "checks.summary()",
    ):
        assert command in result.stdout


@pytest.mark.parametrize(
    "module", ["data", "own_report", "train", "search", "film", "doctor", "bundle"]
)
def test_every_command_has_help(module: str) -> None:
    result = run(sys.executable, "-m", f"cliplib.{module}", "--help")
    assert result.returncode == 0 and "usage: python -m cliplib." in result.stdout


def test_what_only_a_download_needs_is_not_imported_at_the_start() -> None:
    """Kaggle's library takes 0.15 s to import."""
    told = run(sys.executable, "-c", "import sys, cliplib.train; print('kagglehub' in sys.modules)")
    assert told.stdout == "False\n", told.stderr
