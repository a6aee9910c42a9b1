"""What is searched, a split of a data set or all pictures of any folder, and what was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cliplib.data import ensure, list_images, load_pairs
from cliplib.folders import is_data_set, pictures_below, pictures_folder
from cliplib.layout import read_captions


@dataclass(frozen=True)
class Gallery:
    """Pictures to search; `captions` has a picture's own where there are any."""

    title: str
    folder: Path  # that holds them, some perhaps in folders of their own
    paths: list[Path]
    captions: dict[str, list[str]]  # by its path within the folder


@dataclass(frozen=True)
class Answer:
    """What was found, a picture's path or a caption, and its cosine to the query."""

    item: Path | str
    score: float


def find_gallery(data: str, folder: Path | None, split: str | None) -> Gallery:
    """A split of a data set, or all pictures of any folder, with or without captions.

    A folder that is no data set is searched with all folders inside it, hidden ones left out.
    Raises: DataError when there are none.
    """
    if folder is not None and split is None:
        if is_data_set(folder):
            captions = read_captions(folder)[0]
            return Gallery(str(folder), pictures_folder(folder), list_images(folder), captions)
        below = [folder / name for name in pictures_below(folder)]
        return Gallery(str(folder), folder, below or list_images(folder), {})  # says what is amiss
    pairs = load_pairs(folder or ensure(data), split or "test")
    captions = {
        name: [pairs.captions[row] for row in pairs.captions_of(image_row)]
        for image_row, name in enumerate(pairs.images)
    }
    title = f"{pairs.folder}, split {pairs.split}"
    return Gallery(title, pictures_folder(pairs.folder), pairs.paths(), captions)


def table(answers: Sequence[Answer], gallery: Gallery) -> str:
    """The answers as text; a picture's place in the folder, then its first caption, if any."""
    rows = []
    for rank, answer in enumerate(answers, start=1):
        name, caption = answer.item, ""
        if isinstance(answer.item, Path):
            name = answer.item.relative_to(gallery.folder).as_posix()
            caption = gallery.captions.get(name, [""])[0]
        rows.append((rank, answer.score, name, caption))
    width = max(len(name) for _, _, name, _ in rows)
    lines = [f"{r:4}  {score:5.2f}  {n:{width}}  {text}".rstrip() for r, score, n, text in rows]
    return "\n".join(["rank  score  answer", *lines])
