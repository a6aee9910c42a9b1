"""The doctor: every fault made to happen, the forecast's arithmetic, and nothing written."""

from __future__ import annotations

import csv
import importlib.metadata
import os
import platform
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from cliplib import doctor, forecast
from cliplib.config import COURSE, QUICK
from cliplib.doctor import Finding
from cliplib.forecast import Forecast, drawing_seconds, in_words, training_seconds

FINE = Forecast(0.1, 120.0, 0.0, (5.0, 3.0))
TORCH_DOES_NOT_LOAD = """
import sys

class Broken:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            raise ImportError("libtorch.so: cannot open shared object file")

sys.meta_path.insert(0, Broken())
from cliplib.doctor import main
sys.exit(main([]))
"""


@pytest.fixture(autouse=True)
def own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CLIPLIB_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def right_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever runs these tests."""
    monkeypatch.setattr(doctor, "interpreter", lambda: Finding("interpreter", "the right one"))


@pytest.fixture
def quick_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forecast, "twenty_steps", lambda: FINE)


def found(name: str) -> list[Finding]:
    return [finding for finding in doctor.examine() if finding.name == name]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(COURSE)}
    return subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True
    )


def pretend_version(monkeypatch: pytest.MonkeyPatch, package: str, version: str) -> None:
    """`version` "" stands for a package that is not there."""
    real = importlib.metadata.version

    def pretended(name: str) -> str:
        if name == package and not version:
            raise importlib.metadata.PackageNotFoundError(name)
        return version if name == package else real(name)

    monkeypatch.setattr(importlib.metadata, "version", pretended)


@pytest.mark.usefixtures("right_interpreter")
def test_twenty_real_steps_end_in_ready_and_write_nothing(
    own_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = sorted((COURSE / "data" / "checkpoints").rglob("*"))
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    assert doctor.main([]) == 0
    told = capsys.readouterr().out
    assert told.endswith("\nready\n") and "Drawing the picture book" in told
    assert re.search(r"Training in lesson 04: about [\d.]+ (seconds|minutes)", told)
    assert str(own_data) not in told and str(COURSE) not in told
    assert list(own_data.rglob("*")) == []
    assert sorted((COURSE / "data" / "checkpoints").rglob("*")) == checkpoint
    assert torch.equal(torch.rand(3), expected)  # your own random numbers are left alone


def test_training_as_predicted() -> None:
    """62 steps in each of 8 epochs, and after each of them 1,000 pictures instead of 256."""
    assert training_seconds(0.1, 0.0) == pytest.approx(62 * 8 * 0.1)
    assert training_seconds(0.0, 0.256) == pytest.approx(8 * 1.0)
    assert QUICK.epochs == 8


def test_drawing_is_predicted_for_all_cores_unless_the_book_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    assert drawing_seconds(0.004) == pytest.approx(10_500 * 0.004 / 4)
    monkeypatch.setattr(forecast, "is_whole", lambda folder: True)
    assert drawing_seconds(0.004) == 0


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (2, "10 seconds"),
        (44, "40 seconds"),
        (89, "90 seconds"),
        (90, "1.5 minutes"),
        (132, "2 minutes"),
        (151, "2.5 minutes"),
        (1500, "25 minutes"),
    ],
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


def test_the_forecasts_sentences() -> None:
    told = FINE.sentences()
    assert "20 steps" in told and "0.10 s each" in told and "5.00" in told and "3.00" in told
    assert "Drawing" not in told and told.endswith("about 2 minutes.")


@pytest.mark.usefixtures("right_interpreter")
def test_a_missing_package_is_named_with_its_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pretend_version(monkeypatch, "timm", "")
    assert doctor.main([]) == 1
    told = capsys.readouterr().out
    assert "timm is missing" in told and 'pip install "timm>=1.0.20"' in told
    assert "not ready: packages" in told and "Training in" not in told


def test_a_package_that_is_too_old_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_version(monkeypatch, "transformers", "4.57.1")
    fault = found("packages")[-1]
    assert fault.level == "stop" and "transformers 4.57.1 is older than 5.0" in fault.text


@pytest.mark.usefixtures("quick_training")
def test_what_running_does_not_need_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_version(monkeypatch, "nbval", "")
    assert [finding.level for finding in found("packages")] == ["ok", "note"]
    assert doctor.main([]) == 0


def test_versions_are_compared_as_numbers() -> None:
    assert doctor.numbers("2.14.1+cu130") == [2, 14, 1]
    assert doctor.numbers("2.14") > doctor.numbers("2.6")
    assert doctor.numbers("11") == doctor.numbers("11.0.0")


def test_every_requirement_has_a_floor_that_is_read() -> None:
    lines = (COURSE / "requirements.txt").read_text().splitlines()
    assert len(doctor.requirements()) == sum(bool(re.match(r"\w", line)) for line in lines)


def test_a_python_that_is_too_old_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 7))
    assert doctor.python().level == "stop" and "3.10" in doctor.python().remedy


def test_the_courses_own_environment_is_known(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    course = tmp_path / "course"
    course.mkdir()
    (course / ".venv").symlink_to(elsewhere, target_is_directory=True)
    for prefix in (course / ".venv", elsewhere, course / ".venv-tests"):
        assert doctor.interpreter(str(prefix), course).level == "ok"


def test_another_interpreter_or_kernel_is_told_how_to_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "course" / ".venv"
    own.mkdir(parents=True)
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    finding = doctor.interpreter(str(tmp_path / "other"), own.parent)
    assert finding.level == "note" and finding.name == "interpreter"
    assert str(own) in finding.remedy and "-m cliplib.doctor" in finding.remedy
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    finding = doctor.interpreter(str(tmp_path / "other"), own.parent)
    assert finding.name == "kernel" and "-m jupyterlab" in finding.remedy


def test_a_package_that_only_the_wrong_kernel_lacks_sends_to_the_right_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretend_version(monkeypatch, "torch", "")
    wrong = Finding("kernel", "another", "note", "Close this JupyterLab.")
    monkeypatch.setattr(doctor, "interpreter", lambda: wrong)
    assert doctor.packages()[-1].remedy == "Close this JupyterLab."


def test_without_an_environment_of_its_own_any_will_do(tmp_path: Path) -> None:
    assert doctor.interpreter(str(tmp_path / "other"), tmp_path / "course").level == "ok"


@pytest.mark.usefixtures("quick_training")
@pytest.mark.parametrize(("free", "level"), [(0.9e9, "stop"), (1.5e9, "note"), (8e9, "ok")])
def test_memory(free: float, level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cliplib.memory.free_memory", lambda: free)
    (finding,) = found("memory")
    assert finding.level == level and bool(finding.remedy) == (level != "ok")
    assert doctor.main([]) == (1 if level == "stop" else 0)


@pytest.mark.usefixtures("quick_training")
@pytest.mark.parametrize(("free", "level"), [(0.4e9, "stop"), (2e9, "note"), (50e9, "ok")])
def test_disk(free: float, level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=free))
    (finding,) = found("disk")
    assert finding.level == level and bool(finding.remedy) == (level != "ok")
    assert doctor.main([]) == (1 if level == "stop" else 0)


def test_a_busy_computer_is_told_that_the_forecast_is_too_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (0.1, 99.0, 99.0), raising=False)
    assert doctor.device().level == "ok"
    monkeypatch.setattr(os, "getloadavg", lambda: (999.0, 0.0, 0.0))
    assert doctor.device().level == "note" and "too long" in doctor.device().remedy
    monkeypatch.delattr(os, "getloadavg")  # as on Windows
    assert doctor.device().level == "ok"


def test_a_data_folder_that_cannot_be_written_stops(
    own_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (own_data / "file").write_text("not a folder")
    monkeypatch.setenv("CLIPLIB_DATA", str(own_data / "file" / "data"))
    finding = doctor.disk()
    assert finding.level == "stop" and "nothing can be written" in finding.text
    monkeypatch.setenv("CLIPLIB_DATA", str(own_data / "data"))
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    finding = doctor.disk()
    assert finding.level == "stop" and "CLIPLIB_DATA" in finding.remedy


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RuntimeError("an odd wheel"), "failed with RuntimeError: an odd wheel"),
        (MemoryError(), "failed with MemoryError"),
    ],
)
def test_a_training_that_fails_becomes_a_sentence(
    error: Exception, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails() -> Forecast:
        raise error

    monkeypatch.setattr(forecast, "twenty_steps", fails)
    assert doctor.main([]) == 1
    printed = capsys.readouterr().out
    assert f"{told}\n" in printed and "not ready: training" in printed


def test_a_training_that_learns_nothing_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    stuck = Forecast(0.1, 120.0, 0.0, (5.0, 5.0))
    monkeypatch.setattr(forecast, "twenty_steps", lambda: stuck)
    (finding,) = found("training")
    assert finding.level == "stop" and "did not learn" in finding.text


def test_without_any_package_it_still_speaks() -> None:
    """-S hides everything that was ever installed."""
    result = run("-S", "-m", "cliplib.doctor")
    assert result.returncode == 1 and result.stderr == ""
    assert "torch is missing" in result.stdout and "not ready: packages" in result.stdout


def test_a_torch_that_does_not_load_gives_a_sentence() -> None:
    result = run("-c", TORCH_DOES_NOT_LOAD)
    assert result.returncode == 1 and result.stderr == ""
    assert "libtorch.so" in result.stdout and "Traceback" not in result.stdout
    assert "not ready: device" in result.stdout


def test_a_rooms_line_can_be_read_as_a_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(forecast, "twenty_steps", lambda: FINE)
    monkeypatch.setattr(doctor.platform, "node", lambda: "table 7, window")
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0), raising=False)
    monkeypatch.setattr(doctor, "interpreter", lambda: Finding("interpreter", "fine"))
    assert doctor.main(["--line"]) == 0
    ((name, verdict, python, device, memory, disk, training, to_do),) = csv.reader(
        capsys.readouterr().out.splitlines()
    )
    assert (name, verdict, training, to_do) == ("table 7, window", "ready", "2 minutes", "")
    assert python == platform.python_version() and "cores" in device
    assert memory.endswith("GB free") and disk.endswith("GB free")
    monkeypatch.setattr(forecast, "twenty_steps", lambda: replace(FINE, loss=(5.0, 5.0)))
    assert doctor.main(["--line"]) == 1
    ((_, verdict, *_, to_do),) = csv.reader(capsys.readouterr().out.splitlines())
    assert verdict == "not ready" and "did not learn" in to_do and "Install torch anew" in to_do


@pytest.mark.parametrize(("seconds", "level"), [(599.0, "ok"), (601.0, "note")])
def test_a_slow_computer_is_told_which_setting_to_take(
    seconds: float, level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forecast, "twenty_steps", lambda: replace(FINE, training=seconds))
    finding = doctor.training()
    assert finding.level == level
    assert ("epochs=3" in finding.remedy) == (level == "note")


def test_long_findings_are_wrapped_and_commands_are_not() -> None:
    command = "Type: " + "python " * 30
    lines = str(Finding("packages", "word " * 40, "stop", command)).splitlines()
    assert len(lines) > 2 and max(map(len, lines[:-1])) <= 98
    assert lines[-1].strip() == command.strip()
