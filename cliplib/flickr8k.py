"""Flickr8k's archive: what it must hold, and from a zip to a folder that is whole or not there."""

from __future__ import annotations

import errno
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm.auto import tqdm

from cliplib.folders import PICTURE_SUFFIXES
from cliplib.layout import read_captions
from cliplib.pictures import DataError, check_pictures, summarise

PAGE = "https://www.kaggle.com/datasets/adityajn105/flickr8k"
SPARE = 100_000_000  # bytes that stay free on the disk
BROKEN_ZIP = (zipfile.BadZipFile, zlib.error, EOFError)


class Damaged(DataError):
    """An archive or a folder that is not what it should be; no room or rights would mend it."""


@dataclass(frozen=True)
class Contents:
    """What a data set holds, and the bytes that it takes."""

    pictures: int
    captions_each: int
    archive: int  # bytes
    files: int  # bytes


CONTENTS = Contents(pictures=8091, captions_each=5, archive=1_100_000_000, files=1_100_000_000)


def unpack(
    archive: Path, folder: Path, progress: bool = True, captions: Path | None = None
) -> None:
    """Unpacks Flickr8k beside `folder`, checks what came, and renames it: so it is whole or absent.

    captions: the captions.txt, where it does not lie in the archive.
    Raises: Damaged for a damaged or foreign archive, DataError when the disk is too full for it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f"{folder.name}.partial-", dir=folder.parent))
    try:
        with zipfile.ZipFile(archive) as opened:
            pictures, text = _members(archive, opened.infolist(), captions)
            members = pictures if text is None else [*pictures, text]
            require_space(folder, sum(m.file_size for m in members), f"Unpacking {archive}")
            for member in tqdm(members, f"unpacking {archive.name}", disable=not progress):
                opened.extract(member, aside)  # its checksum is compared on the way
        whole = aside / "whole"
        whole.mkdir()
        (aside / pictures[0].filename).parent.rename(whole / "Images")
        shutil.copyfile(captions or aside / text.filename, whole / "captions.txt")
        require_whole(whole, str(archive), "Nothing of it was kept.", progress)
        whole.rename(folder)
    except BROKEN_ZIP as error:
        raise Damaged(
            f"{archive} cannot be unpacked ({error}): it is damaged, cut off or no zip. Nothing of "
            "it was kept. Download it again, and compare its size with the one that its page "
            "states."
        ) from None
    except OSError as error:
        raise DataError(f"{disk_fault(error, folder.parent)} Nothing was kept.") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _members(
    archive: Path, members: Sequence[zipfile.ZipInfo], captions: Path | None
) -> tuple[list[zipfile.ZipInfo], zipfile.ZipInfo | None]:
    """The pictures, which stand in one folder, and captions.txt unless it lies elsewhere."""
    members = [m for m in members if "__MACOSX" not in m.filename]
    pictures = [m for m in members if Path(m.filename).suffix.lower() in PICTURE_SUFFIXES]
    texts = [m for m in members if Path(m.filename).name == "captions.txt"]
    folders = {Path(m.filename).parent for m in pictures}
    if len(folders) != 1 or (captions is None and len(texts) != 1):
        raise Damaged(
            f"{archive} holds {len(texts)} files captions.txt and {len(folders)} folders of "
            "pictures, expected one of each: is it Flickr8k from Kaggle (adityajn105/flickr8k)?"
        )
    return pictures, None if captions else texts[0]


def require_space(place: Path, needed: int, what: str) -> None:
    """Raises: DataError when the disk on which `place` will stand has no room for it."""
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < needed + SPARE:
        raise DataError(
            f"{what} takes {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free in {place}. "
            "Make room, or choose another disk: CLIPLIB_DATA names the folder for all data, "
            "KAGGLEHUB_CACHE the one into which Kaggle's library downloads."
        )


def disk_fault(error: OSError, folder: Path) -> str:
    """A sentence for what the disk answered."""
    if error.errno == errno.ENOSPC:
        return f"The disk of {folder} is full. Make room and ask again."
    return f"{error}. Is {folder} yours to write to, and its disk sound?"


def require_whole(folder: Path, named: str, remedy: str, progress: bool = True) -> None:
    """Counts pictures and captions, and opens every picture.

    Raises: Damaged, beginning with `named` and ending with `remedy`, when anything is amiss.
    """
    captions, faults = read_captions(folder)
    total, each = sum(map(len, captions.values())), CONTENTS.captions_each
    expected = (CONTENTS.pictures, CONTENTS.pictures * each)
    uneven = [f"{name} has {len(own)}" for name, own in captions.items() if len(own) != each]
    if (len(captions), total) != expected or faults or uneven:
        first = [*faults, *(f"{told} captions, not {each}." for told in uneven)][:1]
        told = f" The first fault: {first[0]}" if first else ""
        raise Damaged(
            f"{named} holds {len(captions):,} captioned pictures and {total:,} captions, "
            f"expected {expected[0]:,} and {expected[1]:,}, {each} each.{told} {remedy}"
        )
    damaged = check_pictures([folder / "Images" / name for name in captions], progress=progress)
    if damaged:
        raise Damaged(
            summarise(f"{named}: {len(damaged)} pictures cannot be opened", damaged, remedy)
        )
