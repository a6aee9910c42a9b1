"""A folder of one's own pictures becomes a data set of the course; the pictures stay in place.

What is made lies under CLIPLIB_DATA/own: captions.txt, the three lists, and a pictures.json that
names the folder of the pictures. Nothing is copied, and no links are used, because sticks and
Windows have none. Nothing is ever written beside the pictures.
"""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cliplib.config import PROFILES, Profile, data_folder, data_root
from cliplib.data import ensure
from cliplib.folders import PLACE, has_shards, is_data_set, pictures_below, pictures_folder
from cliplib.layout import HEADER, load_pairs, read_captions, read_splits, split_names
from cliplib.looks import look_at
from cliplib.own_tables import (
    TEMPLATES,
    class_captions,
    class_names,
    find_table,
    match,
    read_table,
)
from cliplib.pictures import DataError, summarise
from cliplib.shards import count_pictures
from cliplib.splits import draw_splits, write_lists
from cliplib.storage import digest, files_digest, write_json

FEWEST = 4  # pictures to train on: two batches of two pairs
MEND = "Mend them, or leave them out with skip_bad=True (--skip-bad)."
EXPECTED = (
    "Expected pictures, and with them captions.txt or one table (.csv, .xlsx) with the columns "
    "image and caption, or two or more folders of pictures whose names say what is in them."
)


@dataclass(frozen=True)
class Captioned:
    """What a folder says about its pictures."""

    place: Path  # the names begin here
    captions: dict[str, list[str]]  # by the picture's path within `place`
    classes: dict[str, str]  # each picture's class, where folders are classes; else empty
    source: str  # of the captions, in words
    faults: list[str]  # a sentence each


def make_data_set(
    folder: Path, table: Path | None = None, skip_bad: bool = False,
    templates: Sequence[str] = TEMPLATES, phrases: Mapping[str, str] | None = None,
    progress: bool = True,
) -> Path:  # fmt: skip
    """The data set of a folder of pictures: itself, if it is one, else one under CLIPLIB_DATA/own.

    Captions come from `table`, else from captions.txt or the one table in the folder, else from
    the names of the folders in it (`class_captions` with `templates` and `phrases`). When pictures
    or captions change it is made anew, and a picture keeps the split that it had.
    Raises: DataError naming rows and pictures that cannot be used, unless `skip_bad` leaves them
    out; and when there are no captions or fewer than three different pictures.
    """
    folder = Path(folder)
    found = find_captions(folder, table, templates, phrases)
    names = list(found.captions)
    looks = look_at([found.place / name for name in names], progress)
    faults = [*found.faults, *(look.fault for look in looks if look.fault)]
    if faults and not skip_bad:
        raise DataError(summarise(f"{folder} has {len(faults)} faults", faults, MEND))
    if is_data_set(folder) and table is None and not faults:
        split_names(folder)  # draws them, where the folder has none
        return folder
    content = {n: look.content for n, look in zip(names, looks, strict=True) if not look.fault}
    if not content:
        raise DataError(f"{folder}: none of its captioned pictures can be used. {EXPECTED}")
    target = data_root() / "own" / data_set_name(folder)
    paths = [found.place / name for name in content]
    made_from = digest(
        os.fsencode(found.place), files_digest(paths), json.dumps([*content]),
        json.dumps([found.captions[name] for name in content]),
    )  # fmt: skip
    if _former(target).is_dir() and not target.exists():
        _former(target).rename(target)  # a call was ended while it exchanged the two
    if _made_from(target) != made_from:
        _write(target, found, content, made_from, _former_splits(target, folder))
    return target


def find_captions(
    folder: Path, table: Path | None = None, templates: Sequence[str] = TEMPLATES,
    phrases: Mapping[str, str] | None = None,
) -> Captioned:  # fmt: skip
    """The captions that belong to a folder's pictures, wherever they come from.

    Raises: DataError when there is no folder, no picture or nothing that could be a caption.
    """
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}. Is the path right?")
    if is_data_set(folder) and table is None:
        captions, faults = read_captions(folder)
        return Captioned(
            pictures_folder(folder), captions, read_classes(folder), "captions.txt", faults
        )
    names = pictures_below(folder)
    if not names:
        raise DataError(f"{folder} holds no picture. {EXPECTED}")
    faults = [f"{name!a}: its name is no text. Rename it." for name in names if not _is_text(name)]
    names = [name for name in names if _is_text(name)]
    if table := table or find_table(folder):
        rows, unreadable = read_table(table)
        captions, unclear = match(rows, names, table.name)
        if not captions:
            told = summarise(f"{table} has no caption for a picture in {folder}", unclear, EXPECTED)
            raise DataError(told)
        return Captioned(folder, captions, {}, table.name, [*faults, *unreadable, *unclear])
    classes = class_names(names)
    if len(set(classes.values())) < 2:
        raise DataError(f"{folder} has {len(names)} pictures and no captions. {EXPECTED}")
    captions = class_captions(classes, templates, phrases)
    return Captioned(folder, captions, classes, "names of folders", faults)


def _is_text(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def data_set_name(folder: Path) -> str:
    """A short name for a folder's data set and its runs, another for each folder."""
    folder = folder.resolve()
    known = [data_folder(profile.data).resolve() for profile in PROFILES.values()]
    called = folder.parent.name if folder.name == "Images" else folder.name
    plain = re.sub(r"[^\w-]+", "-", called).strip("-") or "pictures"
    if folder in known or folder.parent == (data_root() / "own").resolve():
        return plain
    return f"{plain}-{digest(os.fsencode(folder))[:6]}"


def read_classes(data_set: Path) -> dict[str, str]:
    """The class of each picture, where the data set was made from folders of them; else empty."""
    return _about(data_set).get("classes", {})


def _about(data_set: Path) -> dict[str, object]:
    try:
        return json.loads((data_set / PLACE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _made_from(target: Path) -> object:
    return _about(target).get("made_from")


def _former_splits(target: Path, folder: Path) -> dict[str, str]:
    """The split of each picture that had one: in this data set before, or in the folder itself."""
    splits: Mapping[str, Sequence[str]] = {}
    if (target / "splits").is_dir():
        splits = read_splits(target, {})
    elif is_data_set(folder):
        splits = read_splits(folder, read_captions(folder)[0])
    return {name: split for split, names in splits.items() for name in names}


def _former(target: Path) -> Path:
    return target.with_name(f"{target.name}.old")


def _write(
    target: Path, found: Captioned, content: Mapping[str, str], made_from: str,
    before: Mapping[str, str],
) -> None:  # fmt: skip
    """Writes a data set aside and puts it in the place of the one before."""
    aside, old = target.with_name(f"{target.name}.{os.getpid()}"), _former(target)
    classes = {name: found.classes[name] for name in content if name in found.classes}
    names = list(content)
    splits = draw_splits(names, list(content.values()), [classes[n] for n in classes], before)
    about = {"folder": str(found.place.resolve()), "captions_from": found.source}
    try:
        aside.mkdir(parents=True, exist_ok=True)
        with open(aside / "captions.txt", "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(HEADER)
            writer.writerows((name, caption) for name in names for caption in found.captions[name])
        write_lists(aside / "splits", splits)
        write_json(aside / PLACE, {**about, "made_from": made_from, "classes": classes})
        shutil.rmtree(old, ignore_errors=True)
        if target.exists():
            target.rename(old)
        aside.rename(target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def profile_for(profile: Profile, data_set: Path) -> Profile:
    """The profile on a data set of one's own, under a name of its own: PROFILE-DATASET.

    Of a small set at most half stands in a batch, so that an epoch has two steps at least; when
    that changes the batch size, a sentence is printed.
    Raises: DataError when the data set has fewer than four pictures to train on.
    """
    if has_shards(data_set):
        pictures = count_pictures(data_set, "train")
    else:
        pictures = len(load_pairs(data_set, "train").images)
    if pictures < FEWEST:
        raise DataError(f"{data_set} has {pictures} pictures to train on; the least is {FEWEST}.")
    pairs = batch_for(profile, pictures)
    if pairs < profile.batch_size:
        print(
            f"{pictures:,} pictures to train on: a batch has {pairs} pairs instead of "
            f"{profile.batch_size}, so that an epoch has two steps. A pair then has fewer to be "
            "told apart from."
        )
    name = f"{profile.name}-{data_set_name(data_set)}"
    return replace(profile, name=name, data=str(data_set.resolve()), batch_size=pairs)


def batch_for(profile: Profile, pictures: int) -> int:
    """The profile's batch size, or half of the pictures when that is less."""
    return min(profile.batch_size, pictures // 2)


def own_data(data: str, table: Path | None = None, skip_bad: bool = False) -> Path:
    """The data set that a command's --data means: "picturebook", "flickr8k", a folder or shards.

    Raises: DataError as `make_data_set` and `data.ensure`.
    """
    if data in {profile.data for profile in PROFILES.values()}:
        return ensure(data)
    if has_shards(Path(data)):
        if table is not None:
            raise DataError(
                f"{data} holds shards, with their captions: --table has no place there."
            )
        return ensure(data)
    return make_data_set(Path(data), table, skip_bad)
