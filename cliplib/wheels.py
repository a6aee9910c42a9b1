"""Every package that the course needs on another computer, as wheels, by `pip download`.

pip asks the computer it runs on, not the one it downloads for, which packages a system needs
besides (as Windows pywinpty, Python 3.10 tomli). So it downloads one package at a time here, and
what each needs on the other computer is read from the wheel.
"""

from __future__ import annotations

import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path
from zipfile import ZipFile

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

from cliplib.stick import BundleError

# (sys.platform, platform_system, os_name, platform_machine), then pip's name for each
SYSTEMS = {
    "linux": ("linux", "Linux", "posix", "x86_64"),
    "linux-arm": ("linux", "Linux", "posix", "aarch64"),
    "macos": ("darwin", "Darwin", "posix", "arm64"),
    "windows": ("win32", "Windows", "nt", "AMD64"),
}
PYTHON = "{}.{}".format(*sys.version_info)
GLIBC = range(28, 4, -1)  # 2.28 (2018) and what is older; pip wants each by name
ROUNDS = 40  # of asking what is still missing; the longest chain of needs has about ten


@dataclass(frozen=True)
class Target:
    """A computer to download for: `Target("windows", "3.12")`.

    Raises: BundleError, naming the argument, for another platform or a Python without two numbers.
    """

    platform: str  # a key of SYSTEMS
    python: str

    def __post_init__(self) -> None:
        if self.platform not in SYSTEMS:
            names = ", ".join(SYSTEMS)
            raise BundleError(f"platform must be one of {names}, not {self.platform!r}.")
        if not re.fullmatch(r"3\.\d+", self.python):
            raise BundleError(f"python must be such as '3.12', not {self.python!r}.")

    def tags(self) -> list[str]:
        """What pip calls the platform: all names whose wheels run there."""
        if self.platform == "windows":
            return ["win_amd64"]
        if self.platform == "macos":
            return ["macosx_14_0_arm64"]  # pip adds the older ones itself
        machine = SYSTEMS[self.platform][3]
        dated = [f"manylinux{year}_{machine}" for year in (2014, 2010, 1)]
        return [f"manylinux_2_{minor}_{machine}" for minor in GLIBC] + dated + [f"linux_{machine}"]

    def markers(self) -> dict[str, str]:
        """What the conditions of a wheel's needs ask, answered for that computer."""
        sys_platform, system, os_name, machine = SYSTEMS[self.platform]
        return {
            "sys_platform": sys_platform,
            "platform_system": system,
            "os_name": os_name,
            "platform_machine": machine,
            "python_version": self.python,
            "python_full_version": f"{self.python}.0",
            "implementation_name": "cpython",
            "platform_python_implementation": "CPython",
        }


def here() -> str:
    """The platform of this computer. Raises: BundleError when there are no wheels for it."""
    machine = platform.machine().lower().replace("arm64", "aarch64")
    for name, (system, _, _, wanted) in SYSTEMS.items():
        if (system, wanted.lower().replace("arm64", "aarch64")) == (sys.platform, machine):
            return name
    raise BundleError(
        f"This computer ({sys.platform}, {machine}) is none of {', '.join(SYSTEMS)}: name one with "
        "--platform."
    )


Run = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]


def run_pip(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """pip of this Python, what it says kept."""
    command = [sys.executable, "-m", "pip", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def download(folder: Path, roots: Sequence[str], target: Target, run: Run = run_pip) -> None:
    """Fills `folder` with the wheels of `roots` and of all that they need on the target.

    Which index is asked, pip's own settings say (PIP_INDEX_URL, PIP_EXTRA_INDEX_URL).
    Raises: BundleError with pip's last words; nothing is added to the folder then.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".wheels-", dir=folder.parent) as name:
        aside, asked = Path(name), [""]
        for _ in range(ROUNDS):
            wanted = missing(aside, roots, target)
            if not wanted or wanted == asked:
                break
            _download(aside, wanted, target, run)
            asked = wanted
        if wanted:
            told = ", ".join(wanted)
            raise BundleError(f"pip gave no wheels that agree with each other for {told}.")
        for wheel in aside.glob("*.whl"):  # one that two targets share is kept once
            wheel.replace(folder / wheel.name)


def _download(folder: Path, wanted: Sequence[str], target: Target, run: Run) -> None:
    for name in wanted:  # a version that does not agree with a need found later gives way
        for old in folder.glob("*.whl"):
            if project(old) == Requirement(name).name:
                old.unlink()
    platforms = [part for tag in target.tags() for part in ("--platform", tag)]
    answer = run(
        ["download", "--no-deps", "--only-binary=:all:", "--implementation", "cp",
         "--python-version", target.python, *platforms, "--dest", str(folder), *wanted]
    )  # fmt: skip
    if answer.returncode:
        told = "\n  ".join((answer.stderr or answer.stdout or "").strip().splitlines()[-4:])
        raise BundleError(
            f"pip had no wheels for {target.platform}, Python {target.python}:\n  {told}"
        )


def missing(folder: Path, roots: Sequence[str], target: Target) -> list[str]:
    """The needs that no wheel in the folder meets, one line a package as pip reads them."""
    wheels = {project(path): path for path in folder.glob("*.whl")}
    needs = needed(wheels, roots, target)
    lines = []
    for name, those in sorted(needs.items()):
        version = parse_wheel_filename(wheels[name].name)[1] if name in wheels else None
        if version is None or not all(one.specifier.contains(version, True) for one in those):
            lines.append(name + ",".join(sorted({str(one.specifier) for one in those} - {""})))
    return lines


def needed(
    wheels: Mapping[str, Path], roots: Sequence[str], target: Target
) -> dict[str, list[Requirement]]:
    """All that is asked of each package, by name, walking from the roots through the wheels."""
    found: dict[str, list[Requirement]] = {}
    ahead, seen = [Requirement(root) for root in roots], set()
    while ahead:
        one = ahead.pop()
        name = canonicalize_name(one.name)
        if str(one) in seen:
            continue
        seen.add(str(one))
        found.setdefault(name, []).append(one)
        if name in wheels:
            ahead += needs_of(wheels[name], one.extras, target)
    return found


def needs_of(wheel: Path, extras: set[str], target: Target) -> list[Requirement]:
    """What a wheel needs on the target, of itself and for its extras; conditions are answered."""
    with ZipFile(wheel) as archive:
        inside = (n for n in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", n))
        text = archive.read(next(inside)).decode()
    needs = []
    for line in HeaderParser().parsestr(text).get_all("Requires-Dist", []):
        need = Requirement(line)
        answers = [target.markers() | {"extra": extra} for extra in ("", *sorted(extras))]
        if need.marker is None or any(need.marker.evaluate(answer) for answer in answers):
            need.marker = None
            needs.append(need)
    return needs


def project(wheel: Path) -> str:
    """The name of a wheel's package, in its one spelling."""
    return str(parse_wheel_filename(wheel.name)[0])


def roots_of(requirements: str) -> list[str]:
    """The lines of a requirements file that name a package, and pip for the stick itself."""
    lines = (line.partition("#")[0].strip() for line in requirements.splitlines())
    return [line for line in lines if line] + ["pip"]
