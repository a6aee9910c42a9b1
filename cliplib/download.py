"""Flickr8k's photographs: from Kaggle's archive to a folder that is whole or not there.

The archive is Kaggle's `adityajn105/flickr8k`, with `Images/` and `captions.txt` inside.
"""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

from tqdm.auto import tqdm

from cliplib.layout import read_captions
from cliplib.pictures import DataError

ARCHIVES = ("flickr8k.zip", "archive.zip")  # a browser saves Kaggle's download as the second
PICTURES, CAPTIONS = 8091, 40455  # of Flickr8k, five captions a picture
SPARE = 100_000_000  # bytes that stay free on the disk


def find_archive(folder: Path) -> Path | None:
    """An archive that was placed beside the folder in which the photographs belong."""
    beside = (folder.parent / name for name in ARCHIVES)
    return next((archive for archive in beside if archive.is_file()), None)


def unpack(archive: Path, folder: Path, progress: bool = True) -> None:
    """Unpacks Flickr8k beside `folder`, counts what came, and renames it: so it is whole or absent.

    Raises: DataError for a damaged or foreign archive, and when the disk is too full for it.
    """
    aside = Path(tempfile.mkdtemp(prefix=f"{folder.name}.partial-", dir=folder.parent))
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [m for m in opened.infolist() if "__MACOSX" not in m.filename]
            root = _root_of(archive, members)
            _require_space(archive, folder, sum(member.file_size for member in members))
            for member in tqdm(members, f"unpacking {archive.name}", disable=not progress):
                opened.extract(member, aside)  # its checksum is compared on the way
        _require_all(archive, aside / root)
        (aside / root).rename(folder)
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        raise DataError(
            f"{archive} cannot be unpacked ({error}): it is damaged, cut off or no zip, or the "
            "disk is full. Nothing of it was kept. Download it again, and compare its size with "
            "the one that its page states."
        ) from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _root_of(archive: Path, members: list[zipfile.ZipInfo]) -> PurePosixPath:
    """The folder inside the archive in which captions.txt stands; mostly the archive itself."""
    found = [PurePosixPath(m.filename) for m in members if m.filename.endswith("captions.txt")]
    if len(found) != 1:
        raise DataError(
            f"{archive} holds {len(found)} files captions.txt, expected one beside Images/: is it "
            "Flickr8k from Kaggle (adityajn105/flickr8k)?"
        )
    return found[0].parent


def _require_space(archive: Path, folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder.parent).free
    if free < needed + SPARE:
        raise DataError(
            f"Unpacking {archive} takes {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free. "
            "Make room, or set CLIPLIB_DATA to a folder on another disk."
        )


def _require_all(archive: Path, folder: Path) -> None:
    captions, faults = read_captions(folder)
    total = sum(map(len, captions.values()))
    if (len(captions), total) != (PICTURES, CAPTIONS) or faults:
        told = f" The first fault: {faults[0]}" if faults else ""
        raise DataError(
            f"{archive} holds {len(captions):,} captioned pictures and {total:,} captions, "
            f"expected {PICTURES:,} and {CAPTIONS:,}.{told} Nothing of it was kept."
        )
