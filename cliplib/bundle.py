"""The course for a room without internet, on a stick: `python -m cliplib.bundle FOLDER`."""

from __future__ import annotations

import argparse
import errno
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cliplib import data, shelf, stick, tracked, wheels
from cliplib.config import COURSE
from cliplib.pictures import DataError
from cliplib.stick import MANIFEST, BundleError
from cliplib.storage import sha256_of, write_json
from cliplib.wheels import Run, Target

UNSAFE = re.compile(r'[<>:"\\|?*\x00-\x1f]|[. ]$')
DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # of Windows
LONGEST = 180  # characters of a name with its folders: Windows allows 260 with those of the stick
WHEELS_OF_A_TARGET = 300_000_000  # bytes at least, with PyTorch's build for CPUs
SPARE = 100_000_000  # bytes that stay free

ABOUT = """\
Writes the course for a room without internet, on a stick or a disk: the course as last committed,
its lessons as pages, the picture book, the quick checkpoint, the packages for the platforms and
Pythons that you name, and scripts that install from it. Photographs never go in: their licence
does not let them be given on.
"""
INDEX = """\
On Linux, PyTorch's usual build brings GPU libraries (3 GB). The build for CPUs alone comes when
PIP_EXTRA_INDEX_URL is https://download.pytorch.org/whl/cpu.
"""

INSTALL_SH = """\
#!/bin/sh
# Linux and macOS:  sh install.sh FOLDER     (default: clip-course in your own folder)
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd) || exit 1
for python in {pythons} python3; do
    command -v "$python" >/dev/null 2>&1 && exec "$python" "$here/install.py" "$@"
done
echo "Python {wanted} is needed and was not found." >&2
exit 1
"""
INSTALL_BAT = """\
@echo off
rem Windows:  install.bat FOLDER     (default: clip-course in your own folder)
for %%v in ({versions}) do (
  py -%%v -c "" >nul 2>nul && set "PYTHON=py -%%v" && goto found
)
set "PYTHON=python"
:found
%PYTHON% "%~dp0install.py" %*
set "STATUS=%ERRORLEVEL%"
pause
exit /b %STATUS%
"""
READ_ME = """\
Build your own CLIP: the course, to be installed without internet.

Python {wanted} must be on the computer. For: {platforms}.

  Linux     sh install.sh FOLDER
  macOS     the same in the Terminal (this script was not run on macOS)
  Windows   install.bat FOLDER in the Command Prompt (not run on Windows)

It checks every file here, makes FOLDER with the course and its environment, and ends with what the
course's doctor says of the computer. Nothing is written on the stick.

To read only: open lessons/index.html.
To check this copy: python install.py --check
"""


@dataclass(frozen=True)
class Content:
    """What goes into a bundle beside the course, the picture book and the lessons as pages."""

    targets: tuple[Target, ...]  # computers to install on, each with its wheels
    hub: tuple[str, ...] = ()  # names of models in the hub's cache; "datasets/NAME" for data


def require_safe(names: Sequence[str]) -> None:
    """Raises: BundleError naming the files that an exFAT stick or Windows could not hold."""
    wrong, lower = [], {}
    for name in names:
        bad = [p for p in name.split("/") if UNSAFE.search(p) or DEVICES.fullmatch(p) or not p]
        if bad or len(name) > LONGEST:
            wrong.append(name)
        for path in map(str, (PurePosixPath(name), *PurePosixPath(name).parents)):
            other = lower.setdefault(path.lower(), path)
            if other != path:  # one would lie in the place of the other
                wrong.append(f"{path} beside {other}")
    if wrong:
        raise BundleError(
            f"These names cannot stand on an exFAT stick or in Windows: {'; '.join(wrong)}."
        )


def build(
    out: Path,
    content: Content,
    course: Path = COURSE,
    book: Path | None = None,
    run: Run = wheels.run_pip,
) -> None:
    """Writes a bundle, a folder or (when `out` ends in .zip) a zip with one folder in it.

    `book` is a drawn picture book; None for the course's own, drawn when it is not there. It is
    written aside, the manifest last, read back, and then renamed.
    Raises: BundleError; nothing stands at `out` then.
    """
    if out.exists():
        raise BundleError(f"{out} is there already. Remove it, or name another.")
    files = tracked.course_files(course)
    if changed := tracked.uncommitted(course):
        print(f"Changed since the last commit, and going in as committed: {', '.join(changed)}.")
    kept = shelf.files_of(content.hub)
    require_safe([f"course/{name}" for name in files] + [f"hub/{name}" for name in kept])
    book = book or data.ensure("picturebook")
    require_room(out, content, [*kept.values(), *book.rglob("*")], files)
    aside = out.with_name(out.name + ".aside")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        folder = aside / out.stem if out.suffix == ".zip" else aside
        fill(folder, content, files, kept, book, run)
        stick.require_whole(folder)
        if out.suffix == ".zip":
            zip_folder(folder, aside / out.name, inside=out.stem)
            (aside / out.name).rename(out)
        else:
            aside.rename(out)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise BundleError(f"The disk of {out} is full. Make room and ask again.") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def require_room(out: Path, content: Content, paths: list[Path], files: dict[str, bytes]) -> None:
    """Raises: BundleError when the disk has no room for what is known, twice for a zip."""
    needed = sum(path.stat().st_size for path in paths if path.is_file())
    needed += sum(map(len, files.values())) + WHEELS_OF_A_TARGET * len(content.targets)
    needed *= 2 if out.suffix == ".zip" else 1
    place = out.resolve()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < needed + SPARE:
        raise BundleError(
            f"The bundle takes at least {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free in "
            f"{place}. Make room, or name a folder on another disk."
        )


def fill(
    folder: Path,
    content: Content,
    files: dict[str, bytes],
    kept: dict[str, Path],
    book: Path,
    run: Run,
) -> None:
    """All parts of a bundle, then its manifest."""
    for name, text in files.items():
        path = folder / "course" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text)
    print(f"The course: {len(files)} files. Its lessons as pages …", flush=True)
    lessons_as_pages(folder / "course", folder / "lessons")
    zip_folder(book, folder / "picturebook.zip")
    for name, path in kept.items():
        stick.copy(path, folder / "hub" / name)
    (folder / "wheels").mkdir()
    roots = wheels.roots_of(files["requirements.txt"].decode())
    for target in content.targets:
        print(f"Packages for {target.platform}, Python {target.python} …", flush=True)
        wheels.download(folder / "wheels", roots, target, run)
    write_scripts(folder, content)
    write_manifest(folder, content)


def lessons_as_pages(course: Path, folder: Path) -> None:
    """Runs the course's own notebooks/website.py."""
    command = [sys.executable, "-B", str(course / "notebooks" / "website.py"), str(folder)]
    answer = subprocess.run(command, capture_output=True, text=True)
    if answer.returncode:
        last = answer.stderr.strip().rpartition("\n")[2]
        raise BundleError(f"notebooks/website.py made no pages of the lessons: {last}")


def zip_folder(folder: Path, file: Path, inside: str = "") -> None:
    """One archive, nothing compressed: small files are slow on a stick, and pictures are dense."""
    with zipfile.ZipFile(file, "w", strict_timestamps=False) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, PurePosixPath(inside, path.relative_to(folder).as_posix()))


def write_scripts(folder: Path, content: Content) -> None:
    """install.py is cliplib/stick.py; two small scripts find a Python for it."""
    shutil.copyfile(stick.__file__, folder / "install.py")
    pythons = sorted({target.python for target in content.targets}, key=minor, reverse=True)
    words = {
        "pythons": " ".join(f"python{python}" for python in pythons),
        "versions": " ".join(pythons),
        "wanted": " or ".join(pythons),
        "platforms": ", ".join(sorted({target.platform for target in content.targets})),
    }
    texts = {"install.sh": INSTALL_SH, "install.bat": INSTALL_BAT, "README.txt": READ_ME}
    for name, text in texts.items():
        end = "\n" if name == "install.sh" else "\r\n"
        (folder / name).write_text(text.format(**words), encoding="utf-8", newline=end)


def minor(python: str) -> int:
    return int(python.partition(".")[2])


def write_manifest(folder: Path, content: Content) -> None:
    """The size and SHA-256 of every file; it comes last, so that no bundle cut short has one."""
    paths = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*"))}
    files = {
        name: {"size": path.stat().st_size, "sha256": sha256_of(path)}
        for name, path in paths.items()
        if path.is_file()
    }
    require_safe(list(files))
    manifest = {
        "platforms": sorted({target.platform for target in content.targets}),
        "pythons": sorted({target.python for target in content.targets}, key=minor),
        "files": files,
    }
    write_json(folder / MANIFEST, manifest)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m cliplib.bundle", description=ABOUT, epilog=INDEX)
    parser.add_argument("out", type=Path, help="a new folder, or a new file that ends in .zip")
    parser.add_argument(
        "--platform",
        action="append",
        help=f"of {', '.join(wheels.SYSTEMS)}; may be given several times; "
        "default: this computer's",
    )
    parser.add_argument(
        "--python",
        action="append",
        help="as 3.12; may be given several times; default: this Python's",
    )
    parser.add_argument(
        "--hub",
        action="append",
        default=[],
        metavar="NAME",
        help="a model that the model hub's cache keeps here, or datasets/NAME; refused unless its "
        "card names a licence that lets it be given on",
    )
    parser.add_argument("--check", action="store_true", help="say whether the bundle OUT is whole")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.check:
            stick.require_whole(chosen.out)
            print(f"{chosen.out} is whole.")
            return 0
        platforms, pythons = chosen.platform or [wheels.here()], chosen.python or [wheels.PYTHON]
        targets = tuple(Target(platform, python) for platform in platforms for python in pythons)
        build(chosen.out, Content(targets, tuple(chosen.hub)))
    except KeyboardInterrupt:
        print("\nInterrupted. Nothing half-made is left.", file=sys.stderr)
        return 130
    except (BundleError, DataError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{chosen.out} is whole. Eject the stick before you pull it out.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
