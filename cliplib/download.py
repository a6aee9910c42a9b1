"""Flickr8k's photographs: where they are looked for, in order, and how they come.

A folder that is there; an archive placed beside it; a Kaggle notebook's mount; what Kaggle's
library has kept; a download from Kaggle, or from the model hub when that is asked for.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from cliplib import flickr8k
from cliplib.config import data_folder, data_root, found_elsewhere
from cliplib.flickr8k import Damaged, require_space, require_whole, unpack
from cliplib.layout import fingerprint
from cliplib.pictures import DataError
from cliplib.storage import write_json

ARCHIVES = ("flickr8k.zip", "archive.zip")  # a browser saves Kaggle's download as the second
SOURCES = ("kaggle", "hub")
MIRROR = "shivangibithel/Flickr8k"  # on the model hub: the same pictures and captions
MIRROR_FILES = ("Images.zip", "captions.txt")


def find_archive(folder: Path) -> Path | None:
    """An archive that was placed beside the folder in which the photographs belong."""
    beside = (folder.parent / name for name in ARCHIVES)
    return next((archive for archive in beside if archive.is_file()), None)


def places() -> dict[str, bool]:
    """Where `fetch` looks before it downloads, in order, and whether anything is there."""
    from cliplib import kaggle  # here, for its library takes long to import

    folder = data_folder("flickr8k")
    return {
        "CLIPLIB_FLICKR8K, or flickr8k/ in the data folder": folder.exists(),
        f"{' or '.join(ARCHIVES)} beside it": find_archive(folder) is not None,
        "the mount of a Kaggle notebook": kaggle.mounted() is not None,
        "the cache of Kaggle's library": kaggle.cached() is not None,
    }


def fetch(source: str = "kaggle", progress: bool = True) -> Path:
    """Flickr8k's folder: the one that is there, else brought from `source`, "kaggle" or "hub".

    What is brought is checked once: counted, and every picture opened. A mount or a cache is used
    where it is; CLIPLIB_DATA/flickr8k.json remembers it, so later calls need no network.
    Raises: DataError that says what is missing or wrong, and the ways out.
    """
    folder = data_folder("flickr8k")
    if folder.exists():
        if folder == found_elsewhere() and not _was_checked(folder):
            _check_and_remember(folder, progress)
    elif archive := find_archive(folder):
        unpack(archive, folder, progress)
    elif not os.environ.get("CLIPLIB_FLICKR8K"):  # else a wrong path would start a download
        if source == "hub":
            _from_hub(folder, progress)
        else:
            from cliplib import kaggle  # here, for its library takes long to import

            folder = kaggle.mounted() or kaggle.download()
            _check_and_remember(folder, progress)
    return folder


def _was_checked(folder: Path) -> bool:
    """Whether a mount or cache is still what was found whole."""
    noted = json.loads((data_root() / "flickr8k.json").read_text(encoding="utf-8"))
    return noted.get("fingerprint") == fingerprint(folder)


def _check_and_remember(folder: Path, progress: bool) -> None:
    remedy = f"Remove {folder} and ask again, or name another folder with CLIPLIB_FLICKR8K."
    require_whole(folder, str(folder), remedy, progress)
    noted = {"folder": str(folder.resolve()), "fingerprint": fingerprint(folder)}
    write_json(data_root() / "flickr8k.json", noted)


def _from_hub(folder: Path, progress: bool) -> None:
    """Downloads the mirror's two files beside `folder` and unpacks them; a cut download goes on."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

    aside = folder.with_name("flickr8k.hub")
    size = flickr8k.CONTENTS.archive + flickr8k.CONTENTS.files
    require_space(aside, size, f"Flickr8k from {MIRROR}, archive and files,")
    if progress:
        print(f"Flickr8k comes from {MIRROR} on the model hub: {size / 1e9:.1f} GB with its files.")
    try:
        # Without a network this ends at once; hf_hub_download goes on asking for half a minute.
        get_hf_file_metadata(hf_hub_url(MIRROR, MIRROR_FILES[0], repo_type="dataset"), timeout=10)
        images, captions = (
            Path(hf_hub_download(MIRROR, name, repo_type="dataset", local_dir=aside))
            for name in MIRROR_FILES
        )
    except Exception as error:  # the hub's client and its transports raise many kinds
        first = str(error).strip().partition("\n")[0]
        raise DataError(
            f"{MIRROR} cannot be had from the model hub ({type(error).__name__}: {first}). Is this "
            "computer online, and HF_HUB_OFFLINE not set? What came is kept: the next call goes on "
            f"from there. Without it: download {flickr8k.PAGE} in a browser and place the archive "
            f"as {folder.with_name('flickr8k.zip')}."
        ) from None
    try:
        unpack(images, folder, progress, captions)
    except Damaged:
        shutil.rmtree(aside)  # else the next call would take it for whole
        raise
    shutil.rmtree(aside)
