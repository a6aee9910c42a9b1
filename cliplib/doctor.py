"""Looks at this computer and trains twenty real steps on it: `python -m cliplib.doctor`.

Only the standard library is imported at the top, so that it can still say that torch is missing.
"""

from __future__ import annotations

import argparse
import csv
import importlib.metadata
import io
import os
import platform
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cliplib.config import COURSE, data_root

NOT_FOR_RUNNING = ("jupyterlab", "nbval")  # to open lessons, and to run them as tests
PYTHON = (3, 10)
MEMORY_GB = (1.0, 2.0)  # below the first training fails, below the second it may
DISK_GB = (0.5, 4.0)  # the picture book and a run; Flickr8k as archive and as files
MARKS = {"ok": "[ok]  ", "note": "[note]", "stop": "[stop]"}
SLOW = 600  # seconds of training from which on a class would wait
FEWER_EPOCHS = 3  # of the 8; README says what they reach
LINE = ("Python", "device", "memory", "disk", "training")  # what a room's line has of each computer
BEGIN = 20  # column at which a finding's text stands


@dataclass(frozen=True)
class Finding:
    """What was found: "ok"; "note", which stops nothing; or "stop", with what to do."""

    name: str
    text: str
    level: str = "ok"
    remedy: str = ""
    short: str = ""  # for a room's table

    def __str__(self) -> str:
        begin = f"{MARKS[self.level]} {self.name:12} "
        lines = textwrap.wrap(
            self.text, 98, initial_indent=begin, subsequent_indent=" " * BEGIN,
            break_on_hyphens=False, break_long_words=False,
        )  # fmt: skip
        # A remedy can be a command: never wrapped, so that it can be copied.
        return "\n".join([*lines, " " * BEGIN + self.remedy] if self.remedy else lines)


def diagnose() -> bool:
    """Prints every finding as it comes, then "ready" or what stops; whether it is ready."""
    stops = []
    for finding in examine():
        print(finding, flush=True)
        if finding.level == "stop":
            stops.append(finding.name)
    print(
        f"not ready: {', '.join(stops)}. Do what stands there, then ask again."
        if stops
        else "ready"
    )
    return not stops


def line() -> tuple[str, bool]:
    """This computer as a row of CSV: name, verdict, what LINE names, what to do; if it is ready."""
    findings = list(examine())
    short = {finding.name: finding.short for finding in findings}
    others = [f"{f.name}: {f.text}. {f.remedy}".strip() for f in findings if f.level != "ok"]
    stops = any(finding.level == "stop" for finding in findings)
    row = [platform.node(), "not ready" if stops else "ready"]
    written = io.StringIO()
    csv.writer(written).writerow([*row, *(short.get(n, "") for n in LINE), " ".join(others)])
    return written.getvalue().rstrip(), not stops


def examine() -> Iterator[Finding]:
    """One finding after the other; torch is touched, and a model trained, only when it can be."""
    findings = [python(), interpreter(), *packages(), disk()]
    yield from findings
    if any(finding.level == "stop" for finding in findings):
        return
    for name, look in (("device", device), ("memory", memory), ("training", training)):
        finding = guarded(name, look)
        yield finding
        if finding.level == "stop":
            return


def guarded(name: str, look: Callable[[], Finding]) -> Finding:
    """A finding; whatever is raised instead, as by a half-installed package, becomes a sentence."""
    try:
        return look()
    except Exception as error:
        told = f"{type(error).__name__}: {error}".rstrip(": ")
        remedy = "Install the packages of requirements.txt anew; is cliplib's folder whole?"
        return Finding(name, f"failed with {told}", "stop", remedy)


def python() -> Finding:
    found = platform.python_version()
    if sys.version_info < PYTHON:
        wanted = ".".join(map(str, PYTHON))
        remedy = f"Install Python {wanted} or newer and make the environment with it."
        return Finding("Python", f"{found} is too old", "stop", remedy)
    return Finding("Python", f"{found} on {platform.system()}", short=found)


def interpreter(prefix: str = sys.prefix, course: Path = COURSE) -> Finding:
    """Whether this Python, and so this Jupyter kernel, is the environment of the course."""
    here, own = Path(prefix).resolve(), course / ".venv"
    kind = "kernel" if "ipykernel" in sys.modules else "interpreter"
    if here == own.resolve() or here.parent == course.resolve():
        return Finding(kind, f"the course's own environment, {Path(prefix).name}")
    if own.is_dir():
        text = f"{here} is not the course's own environment, .venv"
        return Finding(kind, text, "note", how_to_change(own, kind))
    is_environment = here != Path(sys.base_prefix).resolve() or "CONDA_PREFIX" in os.environ
    return Finding(kind, "an environment" if is_environment else "the system's own Python")


def how_to_change(environment: Path, kind: str) -> str:
    python = environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if kind == "kernel":
        return f"Close this JupyterLab and start the course's own: {python} -m jupyterlab"
    return f"Type: {python} -m cliplib.doctor"


def requirements(file: Path = COURSE / "requirements.txt") -> dict[str, str]:
    """The floors that requirements.txt names, by package."""
    return dict(re.findall(r"^([\w-]+)>=([\d.]+)", file.read_text(encoding="utf-8"), re.MULTILINE))


def packages() -> list[Finding]:
    """One finding for what is there, and one each for what stops lessons and what does not."""
    there, faults = [], {}
    floors = requirements()
    for name, floor in floors.items():
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            faults[name] = f"{name} is missing"
            continue
        there.append(f"{name} {version}")
        if numbers(version) < numbers(floor):
            faults[name] = f"{name} {version} is older than {floor}"
    findings = [Finding("packages", ", ".join(there) or "none")]
    for level in ("stop", "note"):
        names = [name for name in faults if (name in NOT_FOR_RUNNING) == (level == "note")]
        if names:
            told = ", ".join(faults[name] for name in names)
            wanted = [f"{name}>={floors[name]}" for name in names]
            findings.append(Finding("packages", told, level, how_to_install(wanted)))
    return findings


def numbers(version: str) -> list[int]:
    """ "2.14.0+cu130" as [2, 14], to be compared: zeros at the end do not count."""
    found = [int(number) for number in re.findall(r"\d+", version.partition("+")[0])]
    while found and not found[-1]:
        found.pop()
    return found


def how_to_install(wanted: Sequence[str]) -> str:
    wrong_one = interpreter()
    if wrong_one.level != "ok":  # the course's own environment may have them
        return wrong_one.remedy
    return " ".join([f'Type: "{sys.executable}" -m pip install', *(f'"{w}"' for w in wanted)])


def device() -> Finding:
    """Where training would run, and with how many cores."""
    import torch

    from cliplib.encoders import pick_device

    chosen = pick_device()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    text = f"{chosen.type}, {cores} CPU cores, {torch.get_num_threads()} threads"
    short = f"{chosen.type}, {cores} cores"
    if chosen.type == "cuda":
        gpu = torch.cuda.get_device_properties(chosen)
        text = f"{gpu.name} with {gpu.total_memory / 1e9:.0f} GB, {cores} CPU cores"
    if wanting_a_core() > cores:  # threads that wait for each other can take many times as long
        text += f"; busy: {wanting_a_core():.1f} programs wanted a core in the last minute"
        remedy = "The forecast may be far too long: close other programs and ask again."
        return Finding("device", text, "note", remedy, short)
    return Finding("device", text, short=short)


def wanting_a_core() -> float:
    """The mean over the last minute; 0 where nobody counts, as on Windows."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):
        return 0.0


def memory() -> Finding:
    from cliplib.memory import free_memory

    return measured("memory", free_memory() / 1e9, MEMORY_GB, "Close other programs.")


def disk() -> Finding:
    """Free disk where everything lands, and whether anything can be written there."""
    folder = data_root()
    while not folder.exists():
        folder = folder.parent
    if not (folder.is_dir() and os.access(folder, os.W_OK)):
        remedy = "Set CLIPLIB_DATA to a folder that is yours."
        return Finding("disk", f"nothing can be written to {folder}", "stop", remedy)
    remedy = "Make room, or set CLIPLIB_DATA to a folder on another disk."
    return measured("disk", shutil.disk_usage(folder).free / 1e9, DISK_GB, remedy)


def measured(name: str, free: float, wanted: tuple[float, float], remedy: str) -> Finding:
    """Free gigabytes against what the lessons need at least, and what is comfortable."""
    least, comfortable = wanted
    text = f"{free:.1f} GB free"
    if free < least:
        return Finding(name, f"{text}, {least:g} GB are needed", "stop", remedy, text)
    if free < comfortable:
        return Finding(name, f"{text}, {comfortable:g} GB are comfortable", "note", remedy, text)
    return Finding(name, text, short=text)


def training() -> Finding:
    """Twenty real steps, how long lesson 04 takes here, and what to set where that is long."""
    from cliplib.forecast import twenty_steps
    from cliplib.meter import in_words

    forecast = twenty_steps()
    if not forecast.loss[1] < forecast.loss[0]:
        remedy = "Install torch anew: it computes something else here than elsewhere."
        return Finding("training", f"{forecast.sentences()} It did not learn.", "stop", remedy)
    short = in_words(forecast.training)
    if forecast.training > SLOW:
        remedy = (
            f"In lesson 04, below the imports: profile = replace(profile, epochs={FEWER_EPOCHS})"
        )
        return Finding("training", forecast.sentences(), "note", remedy, short)
    return Finding("training", forecast.sentences(), short=short)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        "python -m cliplib.doctor",
        description="Looks at Python, packages, disk, device and memory, trains twenty real steps "
        "of the quick profile in memory, and says how long lesson 04 takes here. Ends in "
        '"ready" (exit status 0), or says what to do (1). Writes nothing.',
    )
    parser.add_argument(
        "--line",
        action="store_true",
        help="one line for a teacher's table instead (CSV): name, verdict, Python, device, free "
        "memory, free disk, length of lesson 04's training, what to do",
    )
    if parser.parse_args(arguments).line:
        row, ready = line()
        print(row)
        return 0 if ready else 1
    return 0 if diagnose() else 1


if __name__ == "__main__":
    sys.exit(main())
