"""Checks a bundle and installs the course from it, with no network.

    python install.py                      into clip-course in your own folder
    python install.py FOLDER               into a new folder of your choice
    python install.py --check              only says whether the bundle is whole

This file lies on the stick as install.py, beside what it installs; install.sh and install.bat start
it. It needs Python and nothing else, and writes nothing on the stick.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import zipfile
from functools import partial
from pathlib import Path

MANIFEST = "MANIFEST.json"
UNDER_WAY = ".installing"
UNPACKED = 2.5  # times the wheels' size, at least, is what they take on a disk


class BundleError(Exception):
    """What is wrong with a bundle or stops an installation, as a sentence."""


def contents(bundle: Path) -> dict:
    """A function that opens it for each file, by name; a zip's names without its one folder."""
    if bundle.is_dir():
        files = (path for path in sorted(bundle.rglob("*")) if path.is_file())
        return {path.relative_to(bundle).as_posix(): partial(open, path, "rb") for path in files}
    archive = zipfile.ZipFile(bundle)
    return {
        entry.filename.partition("/")[2]: partial(archive.open, entry)
        for entry in archive.infolist()
        if not entry.is_dir()
    }


def check(bundle: Path) -> list[str]:
    """What is wrong with a bundle, folder or zip, a sentence each; it is whole when none is.

    Every byte is read. What a system or a person leaves beside the files does not count, but for
    packages; nor do hidden files, which macOS lays beside every file on a stick.
    """
    if not bundle.exists():
        return [f"There is no {bundle}."]
    try:
        files = contents(bundle)
        manifest = json.loads(files[MANIFEST]().read().decode())["files"]
    except KeyError:
        return [f"{MANIFEST} is missing: it is written last, so this bundle was cut short."]
    except (zipfile.BadZipFile, ValueError) as error:
        return [f"It was cut short or changed: {error}."]
    # Of course and hub only what the manifest names is copied, but pip looks at every wheel.
    many = [
        name
        for name in sorted(set(files) - set(manifest))
        if name.startswith("wheels/") and not name.startswith("wheels/.")
    ]
    wrong = [f"{name} does not belong to it." for name in many]
    for name in sorted(manifest):
        fault = compare(files[name], manifest[name]) if name in files else "is missing"
        wrong += [f"{name} {fault}."] if fault else []
    return wrong


def compare(opened, noted: dict) -> str:
    """How a file differs from what the manifest notes of it; "" when it is the same."""
    size, digest = 0, hashlib.sha256()
    try:
        with opened() as file:
            for piece in iter(partial(file.read, 2**20), b""):
                size += len(piece)
                digest.update(piece)
    except (OSError, zipfile.BadZipFile) as error:
        return f"cannot be read ({error})"
    if size != noted["size"]:
        return f"has {size:,} bytes instead of {noted['size']:,}"
    return "" if digest.hexdigest() == noted["sha256"] else "was changed"


def require_whole(bundle: Path) -> None:
    """Raises: BundleError that calls the bundle broken and names its first faults."""
    wrong = check(bundle)
    if wrong:
        more = [f"and {len(wrong) - 10} more."] if len(wrong) > 10 else []
        told = "\n  ".join(wrong[:10] + more)
        raise BundleError(f"{bundle} is broken and is not used:\n  {told}\nCopy it again.")


def install(bundle: Path, folder: Path) -> int:
    """Course, picture book, environment and encoders, then the doctor; gives its exit status.

    Raises: BundleError saying what stops it and what to do.
    """
    require_new(bundle, folder)
    print(f"Checking every file of {bundle} …", flush=True)
    require_whole(bundle)
    manifest = json.loads((bundle / MANIFEST).read_text(encoding="utf-8"))
    require_wheels(bundle, manifest)
    require_room(bundle, manifest, folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / UNDER_WAY).touch()
    for name in manifest["files"]:  # not what else a system may have left among them
        if name.startswith("course/"):
            copy(bundle / name, folder / name[len("course/") :])
    unpack_book(bundle / "picturebook.zip", folder / "data")
    python = environment(bundle, manifest, folder)
    lay_hub(bundle, manifest)
    (folder / UNDER_WAY).unlink()
    print(f"The course is in {folder}.", flush=True)
    status = subprocess.call([str(python), "-m", "cliplib.doctor"], cwd=str(folder))
    lesson = Path("notebooks") / "00_start_here.ipynb"
    print(f'Open it:  cd "{folder}"  then  "{python}" -m jupyterlab {lesson}')
    return status


def require_new(bundle: Path, folder: Path) -> None:
    if bundle == folder or bundle in folder.parents:
        raise BundleError(f"{folder} is in the bundle. Name a folder on your own disk.")
    if not folder.exists() or (folder / UNDER_WAY).exists():
        return  # one that was broken off is made again
    if not folder.is_dir() or any(folder.iterdir()):
        raise BundleError(f"{folder} is there already. Name a new folder.")


def require_wheels(bundle: Path, manifest: dict) -> None:
    here = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if not any((bundle / "wheels").glob("pip-*.whl")):
        raise BundleError(
            "This bundle has no packages. Read the lessons in lessons/index.html, or install the "
            "folder course with the internet, as its README.md says."
        )
    if here not in manifest["pythons"]:
        wanted = " or ".join(manifest["pythons"])
        raise BundleError(
            f"This is Python {here}, and the bundle has packages for {wanted}. Start install.py "
            "with that one."
        )


def require_room(bundle: Path, manifest: dict, folder: Path) -> None:
    """Raises: BundleError when what is surely needed is not free on the folder's disk."""
    wheels = sum(path.stat().st_size for path in (bundle / "wheels").iterdir())
    share = wheels / (len(manifest["platforms"]) * len(manifest["pythons"]))
    needed = UNPACKED * share + (bundle / "picturebook.zip").stat().st_size
    place = folder
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(str(place)).free
    if free < needed:
        raise BundleError(
            f"At least {needed / 1e9:.1f} GB are needed, and {free / 1e9:.1f} GB are free in "
            f"{place}. Make room, or name a folder on another disk."
        )


def copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(str(source), str(target))


def unpack_book(archive: Path, data: Path) -> None:
    """The picture book's folder: whole or not there."""
    print("Unpacking the picture book …", flush=True)
    aside = data / "picturebook.partial"
    shutil.rmtree(str(aside), ignore_errors=True)
    shutil.rmtree(str(data / "picturebook"), ignore_errors=True)
    with zipfile.ZipFile(str(archive)) as book:
        book.extractall(str(aside))
    aside.rename(data / "picturebook")


def environment(bundle: Path, manifest: dict, folder: Path) -> Path:
    """Makes .venv with the stick's own pip (Debian's Python brings none) and gives its Python."""
    print("Installing the packages …", flush=True)
    wheels = bundle / "wheels"
    pip = sorted(wheels.glob("pip-*.whl"))[-1]
    place = folder / ".venv"
    python = place / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    # No index, constraint or target of the learner's own settings comes in.
    own = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    own.update(PIP_CONFIG_FILE=os.devnull, PIP_DISABLE_PIP_VERSION_CHECK="1")
    made = [sys.executable, "-m", "venv", "--clear", "--without-pip", str(place)]
    filled = [str(python), str(pip / "pip"), "install", "--no-index", "--no-cache-dir", "-q"]
    filled += ["--find-links", str(wheels), "-r", str(folder / "requirements.txt"), "pip"]
    for command in (made, filled):
        if subprocess.call(command, env=own):
            offered = ", ".join(manifest["platforms"])
            raise BundleError(
                "The environment could not be made; what stands above says why. The bundle has "
                f"packages for {offered}; this is {platform.system()} {platform.machine()}."
            )
    return python


def lay_hub(bundle: Path, manifest: dict) -> None:
    """Copies pretrained encoders to where the hub's client looks, those that are not there yet."""
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    cache = Path(os.environ.get("HF_HUB_CACHE") or home / "hub")
    inside = [name for name in manifest["files"] if name.startswith("hub/")]
    missing = [name for name in inside if not (cache / name[len("hub/") :]).exists()]
    # What names a revision comes last: without it a copy cut short is not found.
    for name in sorted(missing, key=lambda name: "/refs/" in name):
        copy(bundle / name, cache / name[len("hub/") :])
    if missing:
        print(f"{len(missing)} files of encoders and data went to {cache}.")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        "install.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path, default=Path.home() / "clip-course")
    parser.add_argument("--check", action="store_true", help="only say whether it is whole")
    chosen = parser.parse_args(arguments)
    bundle = Path(__file__).resolve().parent
    try:
        if chosen.check:
            require_whole(bundle)
            print(f"{bundle} is whole.")
            return 0
        return install(bundle, chosen.folder.resolve())
    except (BundleError, OSError) as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
