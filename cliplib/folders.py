"""Where pictures lie: in a data set's Images/, or in a folder that it names, at any depth."""

from __future__ import annotations

import json
import os
from pathlib import Path

from cliplib.pictures import DataError

PLACE = "pictures.json"  # stands in for Images/ where the pictures lie elsewhere
SHARDS = "shards.json"  # stands in a folder of tar files, which `shards` writes and reads
PICTURE_SUFFIXES = {
    ".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff",
}  # fmt: skip
FOREIGN_SUFFIXES = {".heic", ".heif", ".avif", ".dng", ".cr2", ".nef", ".arw", ".psd", ".svg"}


def is_picture(name: str) -> bool:
    """Whether a file is one, by its name; a hidden one is not."""
    return Path(name).suffix.lower() in PICTURE_SUFFIXES and not name.startswith(".")


def pictures_folder(folder: Path) -> Path:
    """Where a data set's pictures lie: its Images/, or the folder that its pictures.json names.

    Raises: DataError when pictures.json cannot be read or that folder is gone.
    """
    if not (folder / PLACE).is_file():
        return folder / "Images"
    try:
        place = Path(json.loads((folder / PLACE).read_text(encoding="utf-8"))["folder"])
    except (ValueError, KeyError, TypeError):
        raise DataError(f'{folder / PLACE} is damaged; expected {{"folder": …}}.') from None
    if not place.is_dir():
        raise DataError(
            f"{place}, whose pictures {folder} describes, is not there. Was it moved, or is its "
            "disk not plugged in?"
        )
    return place


def is_data_set(folder: Path) -> bool:
    """Whether a folder has captions.txt, and Images/ or pictures.json."""
    inner = (folder / "Images").is_dir() or (folder / PLACE).is_file()
    return inner and (folder / "captions.txt").is_file()


def has_shards(folder: Path) -> bool:
    """Whether a folder has shards, perhaps such that are not whole."""
    return (folder / SHARDS).is_file() or (folder / "train-000000.tar").is_file()


def pictures_below(folder: Path) -> list[str]:
    """Of the `files_below` a folder the pictures, by their names."""
    return [name for name in files_below(folder) if is_picture(Path(name).name)]


def files_below(folder: Path) -> list[str]:
    """A folder's files and those of all folders inside it, hidden folders left out.

    Sorted paths within it, with / on every system.
    """
    names = []
    for here, inner, files in os.walk(folder):
        inner[:] = [name for name in inner if not name.startswith(".")]
        names += [Path(here, name).relative_to(folder).as_posix() for name in files]
    return sorted(names)
