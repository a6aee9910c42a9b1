"""What is not as one would wish in a data set: counted on what is there, and what is done about it.

Nothing is left out on its account: figures compare only with those of others who kept it too.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from cliplib.folders import pictures_folder

TOKEN_FILE_ONLY = "2258277193_586949ec62.jpg.1"  # named in Flickr8k's own caption file alone
FEW_WORDS = 2
SHOWN = 20


def known_flaws(
    folder: Path, captions: Mapping[str, Sequence[str]], splits: Mapping[str, Sequence[str]]
) -> list[str]:
    """A sentence or two for each kind of flaw that is there."""
    listed = {name for names in splits.values() for name in names}
    outside = len(captions.keys() - listed)
    place = pictures_folder(folder)
    twins = equal_files([place / name for name in captions], place)
    told = [_repeated(captions), _shared(captions), _short(captions)]
    if outside:
        told.append(
            f"{outside:,} pictures stand in no split: neither trained on nor measured on; "
            'load_pairs(folder, "all") has them.'
        )
    for names in twins:
        where = [next((s for s in splits if n in splits[s]), "no split") for n in names]
        pairs = ", ".join(f"{n} ({s})" for n, s in zip(names, where, strict=True))
        told.append(f"The same picture under {len(names)} names: {pairs}. {_leak(where)}")
    if TOKEN_FILE_ONLY.removesuffix(".1") not in captions and outside and len(listed) == 8000:
        told.append(
            f"{TOKEN_FILE_ONLY} has captions in the authors' own file and no picture anywhere: "
            "captions.txt does not name it."
        )
    return [sentence for sentence in told if sentence]


def equal_files(paths: Sequence[Path], place: Path) -> list[list[str]]:
    """The names within `place` of files with the same bytes, a list for each group."""
    by_size = defaultdict(list)
    for path in paths:
        by_size[path.stat().st_size].append(path)
    groups = defaultdict(list)
    for alike in by_size.values():
        for path in alike if len(alike) > 1 else ():
            groups[hashlib.sha256(path.read_bytes()).digest()].append(
                path.relative_to(place).as_posix()
            )
    return sorted(sorted(names) for names in groups.values() if len(names) > 1)


def shared_captions(captions: Mapping[str, Sequence[str]]) -> Counter[str]:
    """How many pictures each caption stands with that stands with more than one."""
    pictures_with = Counter(caption for own in captions.values() for caption in set(own))
    return Counter({caption: count for caption, count in pictures_with.items() if count > 1})


def _repeated(captions: Mapping[str, Sequence[str]]) -> str:
    rows = sum(len(own) - len(set(own)) for own in captions.values())
    if not rows:
        return ""
    return f"{rows:,} rows repeat a caption of their own picture: kept; it is drawn the more often."


def _shared(captions: Mapping[str, Sequence[str]]) -> str:
    letter = shared_captions(captions)
    if not letter:
        return ""
    lower = shared_captions({n: [c.lower() for c in own] for n, own in captions.items()})
    rows = sum(caption in letter for own in captions.values() for caption in own)
    return (
        f"{len(letter):,} texts stand with several pictures, letter for letter, in {rows:,} rows "
        f"({len(lower):,} texts without regard to capitals): kept; in a batch each is the other "
        "picture's wrong answer, which lesson 03 counts."
    )


def _short(captions: Mapping[str, Sequence[str]]) -> str:
    found = sorted({c for own in captions.values() for c in own if len(c.split()) <= FEW_WORDS})
    rows = sum(len(c.split()) <= FEW_WORDS for own in captions.values() for c in own)
    if not rows:
        return ""
    shown = ", ".join(f'"{caption}"' for caption in sorted(found, key=len)[:SHOWN])
    more = " …" if len(found) > SHOWN else ""
    return f"{rows:,} captions have one or two words ({shown}{more}): kept."


def _leak(where: Sequence[str]) -> str:
    if len(set(where)) == 1:
        return "Kept: both are on one side of the split."
    return "They are on different sides of the split: keep one, else the test was seen."
