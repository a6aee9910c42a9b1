"""What is searched: a split of a data set, or all pictures of any folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cliplib.data import ensure, list_images, load_pairs
from cliplib.layout import read_captions


@dataclass(frozen=True)
class Gallery:
    """Pictures to search; `captions` has a picture's own where there are any."""

    title: str
    paths: list[Path]
    captions: dict[str, list[str]]  # by file name


def find_gallery(data: str, folder: Path | None, split: str | None) -> Gallery:
    """A split of a data set, or all pictures of any folder, with or without captions.

    Raises: DataError when there are none.
    """
    if folder is not None and split is None:
        has_captions = (folder / "captions.txt").is_file() and (folder / "Images").is_dir()
        captions = read_captions(folder)[0] if has_captions else {}
        return Gallery(str(folder), list_images(folder), captions)
    pairs = load_pairs(folder or ensure(data), split or "test")
    captions = {
        name: [pairs.captions[row] for row in pairs.captions_of(image_row)]
        for image_row, name in enumerate(pairs.images)
    }
    return Gallery(f"{pairs.folder}, split {pairs.split}", pairs.paths(), captions)
