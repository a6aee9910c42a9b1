"""What each picture file holds: its size, its content as a digest, or what is wrong with it."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from PIL import Image
from tqdm.auto import tqdm

from cliplib.config import data_root
from cliplib.pictures import WORKERS, DataError, open_rgb
from cliplib.storage import files_digest, write_json

WHOLE = 2**31  # pixels of the shorter side: nothing is reduced while it is decoded


@dataclass(frozen=True)
class Look:
    """One picture file: pixels as they stand upright, or a fault."""

    width: int  # pixels
    height: int  # pixels
    content: str  # the same for the same pixels, whatever the file's name or format
    fault: str  # a sentence; empty for a sound picture


def look_at(paths: Sequence[Path], progress: bool = False) -> list[Look]:
    """Decodes every picture once; what was seen is kept under CLIPLIB_DATA/looks.

    It is found again as long as names, sizes and times of change of the files are the same.
    """
    if not paths or not all(path.is_file() for path in paths):
        return [_look(path) for path in paths]
    kept = data_root() / "looks" / f"{files_digest(paths)}.json"
    try:
        return [Look(**seen) for seen in json.loads(kept.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError):
        pass  # not looked at yet, or not by this version
    with ThreadPoolExecutor(WORKERS) as pool:
        bar = tqdm(
            pool.map(_look, paths), total=len(paths), desc="looking at pictures",
            disable=not progress,
        )  # fmt: skip
        looks = list(bar)
    write_json(kept, [asdict(look) for look in looks])
    return looks


def _look(path: Path) -> Look:
    try:
        picture = open_rgb(path, WHOLE)
    except DataError as error:
        return Look(0, 0, "", str(error))
    return Look(picture.width, picture.height, _content(picture), "")


def _content(picture: Image.Image) -> str:
    hashed = hashlib.sha256(f"{picture.size}".encode())
    hashed.update(picture.tobytes())
    return hashed.hexdigest()[:32]


def alike(names: Sequence[str], looks: Sequence[Look]) -> list[list[str]]:
    """The names of pictures with equal pixels, a list for each group of two or more."""
    groups = defaultdict(list)
    for name, look in zip(names, looks, strict=True):
        if not look.fault:
            groups[look.content].append(name)
    return sorted(sorted(own) for own in groups.values() if len(own) > 1)
