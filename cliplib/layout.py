"""One layout for every data set: Images/ and captions.txt, and splits by picture.

captions.txt is a UTF-8 CSV with the header `image,caption`, one row a caption; an image is named
by its path in Images/. In place of Images/ a pictures.json may name a folder that is only read.
"""

from __future__ import annotations

import csv
import hashlib
import io
import warnings
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cliplib import config
from cliplib.folders import (
    PICTURE_SUFFIXES,
    files_below,
    has_shards,
    is_picture,
    pictures_below,
    pictures_folder,
)
from cliplib.looks import look_at
from cliplib.pictures import DataError, find_damaged, summarise
from cliplib.splits import draw_splits, write_lists

HEADER = ["image", "caption"]
SPLITS = ("train", "val", "test")  # a folder may have a fourth, "unseen"
PUBLISHED = config.COURSE / "data" / "splits" / "flickr8k"
REMEDY = "Mend them, or leave them out with load_pairs(…, skip_bad=True)."


@dataclass(frozen=True, eq=False)
class Pairs:
    """One split of a data set: N pictures and their M captions, grouped by picture."""

    folder: Path  # holds captions.txt, and Images/ or pictures.json
    split: str
    images: tuple[str, ...]  # (N,) names within Images/, in the split list's order
    captions: tuple[str, ...]  # (M,)
    caption_image: np.ndarray  # (M,) int64: the row in `images` that each caption belongs to
    skipped: tuple[str, ...]  # what skip_bad left out, a sentence each

    def captions_of(self, image_row: int) -> range:
        """The caption rows of one picture. Raises: IndexError."""
        if not 0 <= image_row < len(self.images):
            raise IndexError(f"Picture rows go from 0 to {len(self.images) - 1}, not {image_row}.")
        first, end = np.searchsorted(self.caption_image, [image_row, image_row + 1])
        return range(int(first), int(end))

    def paths(self) -> list[Path]:
        """The N picture files, in the order of `images`."""
        place = pictures_folder(self.folder)
        return [place / name for name in self.images]


def load_pairs(folder: Path, split: str, skip_bad: bool = False) -> Pairs:
    """The pictures and captions of one split: "train", "val", "test", "unseen" or "all".

    "all" is every captioned picture, sorted by name. With skip_bad=True, rows with a fault and
    pictures that cannot be decoded (each is opened to find out) are left out and told in `skipped`.
    Raises: DataError naming files and lines.
    """
    folder = Path(folder)
    captions, faults = read_captions(folder)
    if faults and not skip_bad:
        raise DataError(summarise(f"{folder} has {len(faults)} faults", faults, REMEDY))
    splits = {"all": sorted(captions)} if split == "all" else read_splits(folder, captions)
    if split not in splits:
        raise DataError(f"{folder} has no split {split!r}; it has {', '.join(splits)} and all.")
    absent = [name for name in splits[split] if name not in captions]
    if absent and not skip_bad:
        raise _without_captions(folder, absent)
    names = [name for name in splits[split] if name in captions]
    if skip_bad:
        place = pictures_folder(folder)
        damaged = find_damaged([place / name for name in names])
        names = [name for name in names if place / name not in damaged]
        faults += [f"{name} of split {split!r} has no caption." for name in absent]
        faults += damaged.values()
    if not names:
        raise DataError(f"{folder}: split {split!r} is empty; none of its pictures can be used.")
    return Pairs(
        folder=folder,
        split=split,
        images=tuple(names),
        captions=tuple(caption for name in names for caption in captions[name]),
        caption_image=np.repeat(np.arange(len(names)), [len(captions[name]) for name in names]),
        skipped=tuple(faults),
    )


def split_names(folder: Path) -> dict[str, tuple[str, ...]]:
    """The picture names of every split.

    They stand in folder/splits/; or are the published ones, when the pictures are Flickr8k's; or
    are drawn once, seeded, 80 / 10 / 10 % (`splits`), and kept under CLIPLIB_DATA/splits/.
    Raises: DataError when lists overlap or name a picture without captions.
    """
    captions, _ = read_captions(Path(folder))
    splits = read_splits(Path(folder), captions)
    absent = [name for names in splits.values() for name in names if name not in captions]
    if absent:
        raise _without_captions(Path(folder), absent)
    return splits


def list_images(folder: Path) -> list[Path]:
    """A data set's pictures, captioned or not, or those of any other folder, sorted by name.

    Raises: DataError when there is no folder, or no picture in it.
    """
    folder = Path(folder)
    inner = pictures_folder(folder)
    if inner.is_dir():
        paths = [inner / name for name in pictures_below(inner)]
    else:
        inner = folder
        if not inner.is_dir():
            raise DataError(f"There is no folder {folder}. Is the path right?")
        paths = sorted(path for path in inner.iterdir() if is_picture(path.name))
    if not paths:
        expected = " ".join(sorted(PICTURE_SUFFIXES))
        raise DataError(f"{inner} holds no picture; expected files that end in one of {expected}.")
    return paths


def fingerprint(folder: Path) -> str:
    """Sixteen hex digits that change with the captions and with any picture's name or size."""
    folder = Path(folder)
    digest = hashlib.sha256()
    if (folder / "captions.txt").is_file():
        digest.update((folder / "captions.txt").read_bytes())
    for path in list_images(folder):
        digest.update(f"\0{path.name}\0{path.stat().st_size}".encode())
    return digest.hexdigest()[:16]


def require_layout(folder: Path) -> None:
    missing = [folder, folder / "captions.txt", pictures_folder(folder)]
    missing = [path for path in missing if not path.exists()]
    if not missing:
        return
    remedy = "Is the path right, or does a folder inside it hold the data?"
    if missing[0] != folder:
        remedy += " Any folder of pictures can be made one: python -m cliplib.own_report FOLDER"
    if has_shards(folder):
        remedy = (
            "It holds shards, which only training reads: name the folder that they were made from."
        )
    if folder == config.data_folder("picturebook"):
        remedy = "`python -m cliplib.data picturebook` draws it."
    if folder == config.data_folder("flickr8k"):
        remedy = (
            "`python -m cliplib.data flickr8k` downloads it. Or set CLIPLIB_FLICKR8K to the folder "
            f"that holds the two, place them in {folder} by hand, or Kaggle's archive beside it as "
            "flickr8k.zip."
        )
    raise DataError(
        f"{missing[0]} is missing. A data set is a folder with Images/ and captions.txt "
        f"(header image,caption, one row a caption). {remedy}"
    )


def read_captions(folder: Path) -> tuple[dict[str, list[str]], list[str]]:
    """Each usable picture's captions, and a sentence for each row that is not usable."""
    require_layout(folder)
    there = set(files_below(pictures_folder(folder)))
    # A byte that is not UTF-8 becomes a lone surrogate, so that its row can be named.
    text = (folder / "captions.txt").read_bytes().decode("utf-8-sig", "surrogateescape")
    reader = csv.reader(io.StringIO(text, newline=""))
    captions: dict[str, list[str]] = {}
    faults = []
    try:
        header = next(reader, [])
        if [field.strip() for field in header] != HEADER:
            raise DataError(
                f"{folder / 'captions.txt'}, line 1: expected the header image,caption, got "
                f"{','.join(header)[:80]!r}. Was the first line lost, or saved with ; or tabs?"
            )
        line = reader.line_num + 1
        for row in reader:
            fault = _row_fault(row, there)
            if fault:
                faults.append(f"captions.txt, line {line}: {fault}")
            elif row:
                captions.setdefault(row[0].strip(), []).append(row[1].strip())
            line = reader.line_num + 1
    except csv.Error as error:
        faults.append(f"captions.txt, line {reader.line_num}: cannot be read further ({error}).")
    if not captions:
        summary = summarise(
            f"{folder} has no usable caption", faults, "Expected one row a caption."
        )
        raise DataError(summary)
    return captions, faults


def _row_fault(row: Sequence[str], there: Collection[str]) -> str:
    """What is wrong with a row of captions.txt; empty when nothing is."""
    text = ",".join(row)
    if any("\udc80" <= letter <= "\udcff" for letter in text):
        return "is not UTF-8. Save the file as UTF-8."
    if "\n" in text or "\r" in text:
        return "the caption runs over several lines. Is a quotation mark left open?"
    if row and len(row) != 2:
        return f"expected 2 fields, got {len(row)}. Put a caption with commas in quotation marks."
    if row and not row[1].strip():
        return f"the caption of {row[0]} is empty."
    if row and row[0].strip() not in there:
        return f"Images/{row[0].strip()} is missing."
    return ""


def _without_captions(folder: Path, names: Sequence[str]) -> DataError:
    return DataError(
        summarise(
            f"{folder}: {len(names)} pictures of the split lists have no caption", names, REMEDY
        )
    )


def read_splits(folder: Path, captions: Mapping[str, list[str]]) -> dict[str, tuple[str, ...]]:
    if (folder / "splits").is_dir():
        return _read_lists(folder / "splits")
    published = _read_lists(PUBLISHED)
    listed = {name for names in published.values() for name in names}
    here = listed & captions.keys()
    if len(here) < 0.9 * len(captions):  # 91 of Flickr8k's 8,091 pictures stand in no list
        return _read_lists(_drawn_lists(folder, sorted(captions)))
    if len(here) < len(listed):
        warnings.warn(
            f"{folder} holds {len(here):,} of the {len(listed):,} pictures in Flickr8k's published "
            "lists: each split is what is here of it, so recall does not compare with others'.",
            stacklevel=3,
        )
    return {split: tuple(n for n in names if n in here) for split, names in published.items()}


def _read_lists(folder: Path) -> dict[str, tuple[str, ...]]:
    """The lists in a folder of splits. Raises: DataError when a picture stands in two."""
    absent = [f"{split}.txt" for split in SPLITS if not (folder / f"{split}.txt").is_file()]
    if absent:
        raise DataError(f"{folder} lacks {', '.join(absent)}: expected a list for each split.")
    splits = {}
    for split in (*SPLITS, "unseen"):
        path = folder / f"{split}.txt"
        if path.is_file():
            lines = path.read_text(encoding="utf-8-sig").splitlines()
            splits[split] = tuple(line.strip() for line in lines if line.strip())
    counts = Counter(name for names in splits.values() for name in names)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        where = [f"{n}: {', '.join(s for s in splits if n in splits[s])}" for n in twice]
        remedy = "A picture belongs to one split, once; else the test is no test."
        raise DataError(summarise(f"{folder}: {len(twice)} pictures stand twice", where, remedy))
    return splits


def _drawn_lists(folder: Path, names: Sequence[str]) -> Path:
    """The folder of this data set's own drawn split, which is made when it is not there yet."""
    if len(names) < 3:
        raise DataError(f"{folder} has {len(names)} captioned pictures; three splits need 3.")
    short = hashlib.sha256("\n".join(names).encode()).hexdigest()[:8]
    lists = config.data_root() / "splits" / f"{folder.resolve().name}-{short}"
    if not lists.is_dir():
        looks = look_at([pictures_folder(folder) / name for name in names])
        write_lists(lists, draw_splits(names, [look.content for look in looks]))
    return lists
