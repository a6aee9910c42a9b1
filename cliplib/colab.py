"""What a lesson's set-up cell does once it has found or cloned the course, as on Colab.

Only the standard library is imported at the top, so that it can still say that torch is missing.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from cliplib.config import COURSE, Profile, get_profile
from cliplib.doctor import NOT_FOR_RUNNING, numbers, requirements

HOSTED = {  # a variable that each service sets, and where its menu offers a GPU
    "COLAB_RELEASE_TAG": "Runtime > Change runtime type",
    "KAGGLE_KERNEL_RUN_TYPE": "Settings > Accelerator",
}
MODULES = {"pillow": "PIL"}  # the others' modules are called as their packages are
README_COMMANDS = {  # by os.name
    "posix": "python3 -m venv .venv && .venv/bin/pip install -r requirements.txt && "
    ".venv/bin/jupyter lab notebooks/00_start_here.ipynb",
    "nt": r"py -m venv .venv && .venv\Scripts\pip install -r requirements.txt && "
    r".venv\Scripts\jupyter lab notebooks\00_start_here.ipynb",
}
# pip reads a file of constraints whole or not at all: a version that it cannot read stays out.
READABLE = re.compile(r"(\d+!)?\d+(\.\d+)*((a|b|rc)\d+)?(\.post\d+)?(\.dev\d+)?(\+\w+([._-]\w+)*)?")
PIPS_REASONS = re.compile(r"^(?:ERROR: | {4})(\w.*)$", re.MULTILINE)


def prepare(profile_name: str, cloned: bool) -> Profile:
    """The profile for a lesson, once all is here that lessons import; prints what was found.

    What is missing is installed where the set-up cell itself cloned the course, and on Colab and
    Kaggle; on your own computer nothing is.

    Raises: ValueError when there is no such profile; RuntimeError when something is missing that
    cannot, or must not, be installed.
    """
    profile = get_profile(profile_name)
    menu = next((menu for variable, menu in HOSTED.items() if variable in os.environ), "")
    wanted = missing()
    if wanted and not (cloned or menu):
        raise RuntimeError(
            f"{', '.join(wanted)} cannot be found by this kernel's Python ({sys.prefix}), and was "
            f"not installed. Type this in {COURSE}: {README_COMMANDS[os.name]}"
        )
    if wanted:
        print(f"Installing {', '.join(wanted)} ...", flush=True)
        install(wanted)
        print("Installed, and nothing that was here has changed.")

    from cliplib.encoders import pick_device

    device = pick_device().type
    found = "Fetched" if cloned else "Found"
    told = [f"{found} the course: profile {profile.name}, {profile.data}, {device}."]
    if too_old():
        told.append(f"Kept, though older than lessons expect: {', '.join(too_old())}.")
    if menu and device == "cpu" and profile.image_pretrained and not profile.image_frozen:
        told.append(f"No GPU is here, and this profile needs one: choose it in {menu}.")
    print(*told)
    return profile


def needed() -> dict[str, str]:
    """Floors of the packages that lessons import, by name."""
    floors = requirements()
    return {name: floor for name, floor in floors.items() if name not in NOT_FOR_RUNNING}


def missing() -> list[str]:
    """The packages, with their floors, whose modules cannot be found; nothing is imported."""
    return [
        f"{name}>={floor}"
        for name, floor in needed().items()
        if importlib.util.find_spec(MODULES.get(name, name)) is None
    ]


def too_old() -> list[str]:
    """The packages that are here below their floors, each with its version and its floor."""
    there = present()
    return [
        f"{name} {there[name]} (below {floor})"
        for name, floor in needed().items()
        if name in there and numbers(there[name]) < numbers(floor)
    ]


def present() -> dict[str, str]:
    """Versions of all that is installed, by name; the first found is the one that is imported."""
    versions: dict[str, str] = {}
    for distribution in importlib.metadata.distributions():
        name = distribution.metadata["Name"]
        if name and distribution.version:  # a half-removed package has neither
            versions.setdefault(re.sub(r"[-_.]+", "-", name).lower(), distribution.version)
    return versions


def install(wanted: Sequence[str]) -> None:
    """Adds packages beside what is here and exchanges nothing, because a kernel is alive.

    All that is installed is held at its version: pip takes what goes with it, or refuses.

    Raises: RuntimeError, with pip's reasons, when it refuses, or when a package is not found after.
    """
    held = [f"{name}=={v}" for name, v in present().items() if READABLE.fullmatch(v)]
    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder) / "constraints.txt"
        constraints.write_text("\n".join(held), encoding="utf-8")
        options = ["--no-input", "--disable-pip-version-check", "--progress-bar", "off"]
        command = [sys.executable, "-m", "pip", "install", *options, "-c", str(constraints)]
        pip = subprocess.run([*command, *wanted], capture_output=True, text=True)
    if pip.returncode:
        said = (pip.stdout + pip.stderr).strip()
        reasons = PIPS_REASONS.findall(said) or said.splitlines()[-1:]
        raise RuntimeError(
            f"{', '.join(wanted)} could not be installed beside what is here; what was here is as "
            f"it was. pip said: {'; '.join(reasons)}"
        )
    importlib.invalidate_caches()
    if missing():
        raise RuntimeError(
            f"{', '.join(missing())} was installed but cannot be found yet: restart the kernel "
            "and run this cell again."
        )
