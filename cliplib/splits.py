"""Drawing a split: by picture, seeded, equal pictures together, each class on every side."""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from cliplib.pictures import DataError

SPLIT_SEED = 0
FEWEST = 20  # pictures to measure on, as long as that is at most a fifth of all


def part_size(pictures: int) -> int:
    """How many pictures of a set validation gets, and the test as many.

    A tenth; of fewer than 200 pictures more, up to a fifth: recall among three pictures says
    nothing. 50 pictures become 30 + 10 + 10, and 1,000 become 800 + 100 + 100.
    """
    return max(pictures // 10, min(FEWEST, pictures // 5), 1)


def draw_splits(
    names: Sequence[str], contents: Sequence[str], classes: Sequence[str] = (),
    before: Mapping[str, str] | None = None, seed: int = SPLIT_SEED,
) -> dict[str, tuple[str, ...]]:  # fmt: skip
    """The names of train, val and test, in the order in which they were drawn.

    contents: equal for pictures that are the same, which then stay together, so that nothing
    trained on is measured on. classes: each is on every side, as long as it has three different
    pictures. before: the split of pictures that had one; they keep it, and the others fill up.
    Shapes: names, contents and classes (N,); classes may be empty.
    Raises: DataError for fewer than three different pictures.
    """
    groups = _groups(names, contents)
    if len(groups) < 3:
        raise DataError(f"{len(groups)} different pictures; three splits need 3.")
    shuffled = [groups[row] for row in np.random.default_rng(seed).permutation(len(groups))]
    class_of = dict(zip(names, classes, strict=True)) if classes else dict.fromkeys(names, "")
    by_class = defaultdict(list)
    for group in shuffled:
        by_class[class_of[group[0]]].append(group)
    share = part_size(len(names)) / len(names)
    splits: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for own in by_class.values():
        wanted = max(1, round(share * sum(map(len, own))))
        for split, drawn in _divide(own, wanted, before or {}).items():
            splits[split] += drawn
    _fill_empty(splits, groups)
    return {split: tuple(drawn) for split, drawn in splits.items()}


def _groups(names: Sequence[str], contents: Sequence[str]) -> list[list[str]]:
    """Names with one content together; a picture without a content, a broken one, stands alone."""
    groups = defaultdict(list)
    for name, content in zip(names, contents, strict=True):
        groups[content or f"broken {name}"].append(name)
    return list(groups.values())


def _divide(
    groups: Sequence[list[str]], wanted: int, before: Mapping[str, str]
) -> dict[str, list[str]]:
    """One class: the first groups that fit go to val, the next to test, all others to train."""
    splits: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    fresh = []
    for group in groups:
        kept = {before[name] for name in group if name in before}
        if kept:
            splits[min(kept, key=["test", "val", "train"].index)] += group
        else:
            fresh.append(group)
    for split in ("val", "test") if len(groups) > 2 else ("test",):  # of two one is trained on
        for group in list(fresh):
            last = len(fresh) == 1 and not splits["train"]
            if len(splits[split]) + len(group) <= wanted and not last:
                splits[split] += group
                fresh.remove(group)
    for group in fresh:
        splits["train"] += group
    return splits


def _fill_empty(splits: dict[str, list[str]], groups: Sequence[list[str]]) -> None:
    """Gives an empty side the smallest group of the side that has the most groups."""
    side = {name: split for split, drawn in splits.items() for name in drawn}
    for split in splits:
        if not splits[split]:
            counts = {s: sum(side[group[0]] == s for group in groups) for s in splits}
            richest = max(counts, key=lambda s: counts[s])
            moved = min((g for g in groups if side[g[0]] == richest), key=len)
            splits[richest] = [name for name in splits[richest] if name not in moved]
            splits[split] = list(moved)
            side |= dict.fromkeys(moved, split)


def write_lists(folder: Path, splits: Mapping[str, Sequence[str]]) -> None:
    """A list a split, a name a line; the folder is whole or not there.

    Raises: OSError when it cannot be written.
    """
    aside = folder.with_name(f"{folder.name}.{os.getpid()}")  # renamed when whole
    aside.mkdir(parents=True, exist_ok=True)
    for split, names in splits.items():
        text = "".join(f"{name}\n" for name in names)
        (aside / f"{split}.txt").write_text(text, encoding="utf-8")
    try:
        aside.rename(folder)
    except OSError:  # another process was faster, and drew the same
        shutil.rmtree(aside)
        if not folder.is_dir():
            raise
