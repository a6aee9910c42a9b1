"""One page on a folder of pictures: what is there, what is amiss, what training can reach."""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cliplib.checkpoint import load_profile, tokenizer_of
from cliplib.config import PROFILES, Profile, get_profile
from cliplib.data import Pairs, load_pairs, split_names
from cliplib.encoders import CaptionTokenizer
from cliplib.flaws import shared_captions
from cliplib.folders import FOREIGN_SUFFIXES, files_below, pictures_below
from cliplib.looks import Look, alike, look_at
from cliplib.own_measures import Floor, Vocabulary, floor_of, vocabulary_of
from cliplib.own_pictures import FEWEST, find_captions, make_data_set
from cliplib.pictures import DataError
from cliplib.train import find_start, make_tokenizer

SHOWN = 5  # names of each kind
WIDTH = 100  # columns
HIGH = 0.1  # share of log B from which on a floor is worth a sentence


@dataclass(frozen=True)
class Report:
    """What a folder of pictures holds; `print` shows it as one page."""

    folder: Path
    data_set: Path | None  # None while nothing can be made of it
    source: str  # of the captions
    pictures: int  # files
    captions: int  # that belong to a sound picture
    captions_each: dict[int, int]  # so many captions: so many pictures
    splits: dict[str, int]
    shorter_sides: tuple[int, int, int]  # least, median, most; pixels
    broken: tuple[str, ...]  # a sentence each
    rows: tuple[str, ...]  # of the table that cannot be used, a sentence each
    without_caption: tuple[str, ...]
    foreign: tuple[str, ...]  # pictures in a format that is not read
    equal_pictures: tuple[tuple[str, ...], ...]
    apart: int  # of these groups, how many stand on several sides of the split
    equal_captions: int  # texts that stand with several pictures
    caption_words: tuple[int, int, int]  # least, median, most
    max_tokens: int
    cut_captions: int  # longer than max_tokens
    cut_tokens: int  # of all their tokens, those left out
    vocabulary: Vocabulary
    floor: Floor | None  # None where there is nothing to train on
    classes: dict[str, int]  # pictures of each; empty where folders are no classes

    def __str__(self) -> str:
        return page(self)


def report_on(
    folder: Path, profile: Profile, tokenizer: CaptionTokenizer | None = None,
    table: Path | None = None, progress: bool = True,
) -> Report:  # fmt: skip
    """The report on a folder of pictures, or on any data set, for a profile.

    tokenizer: of the model that goes on learning; left out, the one that the profile would begin
    with. The data set is made on the way, without what cannot be used.
    Raises: DataError when there is no picture, or nothing that could be a caption.
    """
    folder = Path(folder)
    found = find_captions(folder, table)
    names = pictures_below(found.place)
    looks = dict(zip(names, look_at([found.place / name for name in names], progress), strict=True))
    sound = {name: own for name, own in found.captions.items() if not _fault(looks, name)}
    texts = [caption for own in sound.values() for caption in own]
    data_set, pairs, sides = _data_set(folder, table, progress)
    begun = tokenizer or make_tokenizer(profile, pairs.captions if pairs else tuple(texts))
    twins = alike(names, [looks[name] for name in names])
    shorter = [min(look.width, look.height) for look in looks.values() if look.width]
    kinds = Counter(found.classes[name] for name in sound if name in found.classes)
    cut = begun.cut_off(texts)
    enough = pairs is not None and len(pairs.images) >= FEWEST
    return Report(
        folder=folder,
        data_set=data_set,
        source=found.source,
        pictures=len(names),
        captions=len(texts),
        captions_each=dict(sorted(Counter(map(len, sound.values())).items())),
        splits=dict(Counter(sides.values())),
        shorter_sides=_three(shorter),
        broken=tuple(look.fault for look in looks.values() if look.fault),
        rows=tuple(found.faults),
        without_caption=tuple(name for name in names if name not in found.captions),
        foreign=tuple(
            name
            for name in files_below(found.place)
            if Path(name).suffix.lower() in FOREIGN_SUFFIXES
        ),
        equal_pictures=tuple(map(tuple, twins)),
        apart=sum(len({sides[name] for name in group if name in sides}) > 1 for group in twins),
        equal_captions=len(shared_captions(sound)),
        caption_words=_three([len(text.split()) for text in texts]),
        max_tokens=profile.max_tokens,
        cut_captions=sum(map(bool, cut)),
        cut_tokens=sum(cut),
        vocabulary=vocabulary_of(texts, begun),
        floor=floor_of(pairs, profile, found.classes) if enough else None,
        classes=dict(sorted(kinds.items())),
    )


def _fault(looks: Mapping[str, Look], name: str) -> str:
    return looks[name].fault if name in looks else "no picture by its name"


def _data_set(
    folder: Path, table: Path | None, progress: bool
) -> tuple[Path | None, Pairs | None, dict[str, str]]:
    """The data set, its pictures to train on, and the side of each; nothing for a too small one."""
    try:
        made = make_data_set(folder, table, skip_bad=True, progress=progress)
        pairs = load_pairs(made, "train", skip_bad=True)
    except DataError as error:
        print(f"No data set can be made yet: {error}")
        return None, None, {}
    sides = {name: split for split, own in split_names(made).items() for name in own}
    return made, pairs, sides


def _three(values: Sequence[int]) -> tuple[int, int, int]:
    if not values:
        return 0, 0, 0
    return min(values), int(np.median(values)), max(values)


def page(report: Report) -> str:
    """The report as text, a fact a line, what is amiss behind it."""
    each = ", ".join(f"{n} ({count:,} pictures)" for n, count in report.captions_each.items())
    words = report.vocabulary
    least, middle, most = report.caption_words
    lines = [
        f"{report.folder}, captions from {report.source}",
        f"pictures            {report.pictures:,}, shorter side "
        f"{_range(report.shorter_sides)} pixels",
        f"captions            {report.captions:,}, of {least} to {most} words, half up to {middle}",
        f"captions a picture  {each}",
        f"splits              {', '.join(f'{s} {n:,}' for s, n in report.splits.items())}",
        *_named("broken pictures", report.broken),
        *_named("unusable rows", report.rows),
        *_named("without a caption", report.without_caption),
        *_named("equal pictures", [" = ".join(names) for names in report.equal_pictures]),
        f"equal captions      {report.equal_captions:,} texts stand with several pictures",
        f"cut off             {report.cut_captions:,} captions lose {report.cut_tokens:,} tokens "
        f"behind the {report.max_tokens}th",
        f"vocabulary          {words.words:,} words; in pieces {words.in_pieces:.1%}, unknown "
        f"{words.unknown:.1%}" + (f" ({', '.join(words.examples)} …)" if words.examples else ""),
    ]
    if report.classes:
        told = ", ".join(f"{kind} {count}" for kind, count in report.classes.items())
        lines.append(f"classes             {told}")
    if floor := report.floor:
        lines.append(
            f"loss                {floor.log_b:.2f} by guessing (log B, B = {floor.batch_size}); "
            f"equal captions keep it above {floor.equal_captions:.3f}"
        )
    lines += [textwrap.fill(told, WIDTH) for told in advice(report)]
    return "\n".join(lines)


def _range(values: tuple[int, int, int]) -> str:
    return f"{values[0]:,} to {values[2]:,} (median {values[1]:,})"


def _named(title: str, what: Sequence[str]) -> list[str]:
    more = [f"  … and {len(what) - SHOWN:,} more"] if len(what) > SHOWN else []
    return [f"{title:20}{len(what):,}", *(f"  {one}" for one in what[:SHOWN]), *more]


def advice(report: Report) -> list[str]:
    """What the figures mean for training, a sentence or two for each that matters."""
    told = []
    if report.foreign:
        told.append(
            f"{len(report.foreign):,} pictures are in a format that is not read, among them "
            f"{report.foreign[0]}. Export them as JPEG or PNG."
        )
    if report.apart:
        told.append(
            f"{report.apart} groups of equal pictures stand on several sides of the split that "
            "the folder brought along: what was trained on is measured on. Keep one of each."
        )
    if report.floor is None:
        return [
            *told,
            f"Fewer than {FEWEST} pictures to train on: nothing can be trained yet.",
        ]
    floor = report.floor
    if report.classes:
        told.append(
            f"Captions are made from class names: whoever knows a picture's class, and cannot know "
            f"more, stays at a loss of {floor.classes:.2f}. To tell these classes apart, prompts "
            "(lesson 06) or a linear probe (cliplib.probe) are the better tools; to train, write "
            "captions that tell pictures of one class apart, or take smaller batches."
        )
    elif floor.equal_captions > HIGH * floor.log_b:
        told.append(
            "Many captions are equal, so that pictures are each other's wrong answers without a "
            "difference in words: write more about each, or take smaller batches."
        )
    return told


def read_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m cliplib.own_report",
        description="Makes a data set of a folder of your own pictures and reports on it.",
    )
    parser.add_argument("folder", type=Path, help="pictures, with a table or in folders by class")
    parser.add_argument("--table", type=Path, help="the captions: .csv or .xlsx")
    parser.add_argument("--profile", choices=PROFILES, default=get_profile().name)
    parser.add_argument("--run", help="the run that would go on learning; its vocabulary counts")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    chosen = read_arguments(arguments)
    try:
        profile, tokenizer = PROFILES[chosen.profile], None
        if chosen.run:
            run = find_start(chosen.run)
            profile = load_profile(run)
            tokenizer = tokenizer_of(run, profile)
        report = report_on(chosen.folder, profile, tokenizer, chosen.table)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    print(report)
    if report.data_set is None:
        return 1
    faulty = " --skip-bad" if report.rows or report.broken else ""
    print(f'Train on it: python -m cliplib.train --data "{chosen.folder}"{faulty}')
    return 0


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="backslashreplace")  # a file's name may be no text
    sys.exit(main())
