"""What the script beside it reads and pins; it is run by hand, for it installs gigabytes."""

import re
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import floors
import pytest

from cliplib import doctor

COURSE = Path(__file__).resolve().parent.parent
NEEDS = (COURSE / "requirements.txt").read_text(encoding="utf-8")


def test_floors_are_read_and_comments_passed_over() -> None:
    text = "# first\n-r ../other.txt\n\ntorch>=2.6   # all\nopen_clip-torch>=3.0.1\n"
    assert floors.floors(text) == {"torch": "2.6", "open_clip-torch": "3.0.1"}


@pytest.mark.parametrize(
    "line", ["torch", "torch==2.6", "torch>2.6", "torch>=2.6,<3", "torch>=", "torch >= new"]
)
def test_a_line_without_a_plain_floor_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=rf"^line 2 must be .*, not '{re.escape(line)}'\.$"):
        floors.floors(f"timm>=1.0\n{line}  # torch>=2.6\n")


def test_the_pins_are_requirements_txt_at_its_word() -> None:
    pinned = floors.pins(floors.floors(NEEDS)).splitlines()
    written = [line.partition("#")[0].strip() for line in NEEDS.splitlines()]
    assert pinned == [line.replace(">=", "==") for line in written if line]
    assert floors.floors(NEEDS) == doctor.requirements()


def test_what_is_no_floor_is_named() -> None:
    wanted = {"torch": "2.6", "timm": "1.0.20", "pillow": "11.0", "nbval": "0.11"}
    there = {"torch": "2.6.0+cu124", "timm": "1.0.2", "pillow": "11.0.0", "nbval": "0.11.1"}
    assert floors.amiss(wanted, there) == [
        "timm 1.0.2 is not the floor 1.0.20",
        "nbval 0.11.1 is not the floor 0.11",
    ]


def test_a_line_that_is_no_floor_installs_nothing(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    script = shutil.copy(COURSE / "tests" / "floors.py", tmp_path / "tests")
    (tmp_path / "requirements.txt").write_text("torch\n")
    result = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert result.returncode == 1 and "must be such as 'torch>=2.6'" in result.stderr
    assert not (tmp_path / ".venv-floors").exists()


class Started(Exception):
    """Where pytest would have run."""


def run_main(monkeypatch: pytest.MonkeyPatch, there: dict[str, str]) -> int:
    """The script's own run, as if that stood in its environment."""

    def start(command: list[str], cwd: Path) -> None:
        raise Started(*command)

    monkeypatch.setattr(floors, "install", lambda found: Path("its-python"))
    monkeypatch.setattr(floors, "versions", lambda python, names: there)
    monkeypatch.setattr(floors.subprocess, "run", start)
    return floors.main(["-m", "not slow"])


def test_pytest_runs_where_floors_stand_and_gets_the_arguments(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Started) as started:
        run_main(monkeypatch, floors.floors(NEEDS))
    assert started.value.args == ("its-python", "-m", "pytest", "-m", "not slow")
    told = capsys.readouterr().out
    assert f"Installing {floors.pins(floors.floors(NEEDS)).split()[0]}, " in told
    assert f"torch {floors.floors(NEEDS)['torch']}" in told


def test_no_test_runs_where_something_else_stands(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main(monkeypatch, floors.floors(NEEDS) | {"torch": "99.0"}) == 1
    assert "torch 99.0 is not the floor" in capsys.readouterr().out


def test_a_floor_that_cannot_be_installed_ends_the_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(found: dict[str, str]) -> Path:
        raise subprocess.CalledProcessError(1, "pip")

    monkeypatch.setattr(floors, "install", refuse)
    assert floors.main([]) == 1 and "cannot be installed" in capsys.readouterr().out


def test_the_environment_is_ignored_by_git() -> None:
    ignored = (COURSE / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert any(fnmatch(f"{floors.ENVIRONMENT.name}/", line) for line in ignored)


def test_the_lowest_python_is_the_same_everywhere() -> None:
    project = (COURSE / "pyproject.toml").read_text(encoding="utf-8")
    lowest = ".".join(map(str, doctor.PYTHON))
    assert f'requires-python = ">={lowest}"' in project
    for page in ("README.md", "notebooks/TEACHING.md"):
        told = (COURSE / page).read_text(encoding="utf-8")
        assert set(re.findall(r"Python (3\.\d+) or newer", told)) == {lowest}, page
