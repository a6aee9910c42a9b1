"""The picture book: drawn scenes, their captions, and everything that is true of them."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from random import Random

import PIL
from tqdm.auto import tqdm

from cliplib.captions import in_words, true_meaning
from cliplib.drawing import draw
from cliplib.scenes import (
    COLOURS,
    EXTENT,
    FLYING,
    GROUNDS,
    HELD_OUT,
    KINDS,
    SIZES,
    SKIES,
    SWIMMING,
    Box,
    HeldOut,
    Meaning,
    Phrase,
    Scene,
    Thing,
    overlap,
)

SPLIT_SIZES = {"train": 8000, "val": 1000, "test": 1000, "unseen": 500}
CAPTIONS_PER_PICTURE = 5
SEED = 2021  # the year of the CLIP paper; fixed, so that everyone has the same book
EDGE = 0.02  # nothing comes nearer to the picture's edge
AN_HOUR = 3600.0  # seconds; drawing takes a minute or two
MOST_HIDDEN = 0.25  # share of a thing that nearer things may hide


@dataclass(frozen=True)
class Page:
    """One picture of the book: its file, its facts, its captions and what each of them means."""

    image: str
    split: str
    scene: Scene
    captions: tuple[str, ...]
    meanings: tuple[Meaning, ...]


def plan_page(split: str, number: int) -> Page:
    """Invents one page; a pure function of the split and the number."""
    rng = Random(f"{SEED}/{split}/{number}")
    wanted = HELD_OUT[number % len(HELD_OUT)] if split == "unseen" else None
    scene = sample_scene(rng, wanted)
    meanings = tuple(_meaning(scene, wanted, rng) for _ in range(CAPTIONS_PER_PICTURE))
    captions = tuple(in_words(meaning, rng) for meaning in meanings)
    return Page(f"{split}_{number:05d}.jpg", split, scene, captions, meanings)


def _meaning(scene: Scene, wanted: HeldOut | None, rng: Random) -> Meaning:
    while True:
        meaning = true_meaning(scene, rng)
        if wanted is None or wanted.in_meaning(meaning):
            return meaning


def sample_scene(rng: Random, wanted: HeldOut | None = None) -> Scene:
    """Draws a scene with exactly the wanted held-out combination, or with none of them."""
    allowed = {wanted} if wanted else set()
    while True:
        sky = wanted.sky if wanted and wanted.sky else rng.choice(SKIES)
        ground = wanted.ground if wanted and wanted.ground else rng.choice(GROUNDS)
        horizon = round(rng.uniform(0.46, 0.58), 3)
        things = _place_things(_choose_things(ground, wanted, rng), horizon, rng)
        scene = Scene(sky, ground, horizon, things, rng.randrange(2**31))
        held_out = {combination for combination in HELD_OUT if combination.in_scene(scene)}
        if things and held_out == allowed:
            return scene


def _choose_things(
    ground: str, wanted: HeldOut | None, rng: Random
) -> list[tuple[str, str, str]]:  # (kind, colour, size) each
    weights = [_weight(kind, ground) for kind in KINDS]
    number = rng.choices((1, 2, 3), (25, 40, 35))[0]
    kinds = rng.choices(KINDS, weights, k=number)
    colours = rng.choices(COLOURS, k=number)
    if wanted:
        kinds[0], colours[0] = wanted.kind, wanted.colour or colours[0]
    if number > 1 and rng.random() < 0.25:  # several of one kind, mostly alike
        kinds = [kinds[0]] * number
        if rng.random() < 0.7:
            colours = [colours[0]] * number
    sizes = rng.choices(list(SIZES), (30, 45, 25), k=number)
    return list(zip(kinds, colours, sizes, strict=True))


def _weight(kind: str, ground: str) -> float:
    if kind in SWIMMING:
        return 4.0 if ground == "sea" else 0.6
    return 0.6 if ground == "sea" and kind not in FLYING else 1.0


def _place_things(
    chosen: Sequence[tuple[str, str, str]], horizon: float, rng: Random
) -> tuple[Thing, ...]:
    """Finds places where nothing is cut off or much hidden; empty when there are none."""
    for _ in range(40):
        things = [Thing(k, c, s, _sample_box(k, s, horizon, rng)) for k, c, s in chosen]
        things.sort(key=lambda thing: (thing.flies, thing.box[3]))
        if _well_placed(things):
            return tuple(things)
    return ()


def _sample_box(kind: str, size: str, horizon: float, rng: Random) -> Box:
    if kind in FLYING:
        return _box(kind, size, rng.random(), rng.uniform(0.3, horizon + 0.04), horizon)
    return _box(kind, size, rng.random(), rng.uniform(horizon + 0.1, 0.96), horizon)


def _box(kind: str, size: str, across: float, bottom: float, horizon: float) -> Box:
    """The box of a thing whose foot is at `bottom`; `across` runs from 0 (left) to 1 (right)."""
    depth = 0.8 + 0.2 * max(bottom - horizon, 0) / (1 - horizon)  # farther is smaller
    width, height = (extent * SIZES[size] * depth for extent in EXTENT[kind])
    left = EDGE + across * (1 - width - 2 * EDGE)
    return tuple(round(v, 4) for v in (left, bottom - height, left + width, bottom))


def _well_placed(things: Sequence[Thing]) -> bool:
    for i, thing in enumerate(things):
        left, top, right, bottom = thing.box
        if top < EDGE:
            return False
        hidden = sum(overlap(thing.box, nearer.box) for nearer in things[i + 1 :])
        if hidden > MOST_HIDDEN * (right - left) * (bottom - top):
            return False
    return True


def compose(*things: str, sky: str = "day", ground: str = "grass", sign: str = "") -> Scene:
    """The scene that you ask for, left to right: `compose("red boat", "big house", sky="night")`.

    Each thing is "[size] [colour] kind", red without a colour. Show it with `draw(scene, 320)`.

    Raises: ValueError, naming the word, for what the picture book does not know.
    """
    for value, known in ((sky, SKIES), (ground, GROUNDS)):
        if value not in known:
            raise ValueError(f"{value!r} is not known here; choose one of {', '.join(known)}.")
    horizon, placed = 0.52, []
    for i, words in enumerate(things):
        phrase = _read_thing(words)
        across = 0.5 if len(things) == 1 else i / (len(things) - 1)
        bottom = 0.46 if phrase.kind in FLYING else 0.86
        size = phrase.size or ("medium" if len(things) < 3 else "small")
        box = _box(phrase.kind, size, across, bottom, horizon)
        placed.append(Thing(phrase.kind, phrase.colour or "red", size, box))
    return Scene(sky, ground, horizon, tuple(placed), SEED, sign)


def _read_thing(words: str) -> Phrase:
    *described, kind = words.split() or [""]
    size = colour = ""
    for word in described:
        if word in SIZES:
            size = word
        elif word in COLOURS:
            colour = word
        else:
            known = ", ".join((*SIZES, *COLOURS))
            raise ValueError(f"{word!r} in {words!r} is neither a size nor a colour: {known}.")
    if kind not in KINDS:
        raise ValueError(
            f"{kind!r} in {words!r} is not drawn here; choose one of {', '.join(KINDS)}."
        )
    return Phrase(kind, colour, size)


def generate(folder: Path, progress: bool = True) -> Path:
    """Draws the whole book into `folder`, or leaves it alone when it is there and whole.

    Everything is written beside it first and renamed at the end, so a half-drawn book never counts.
    Several processes can do this at once: each draws in a folder of its own, and one result stays.
    """
    if is_whole(folder):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove_left_overs(folder)
    aside = Path(tempfile.mkdtemp(prefix=f"{folder.name}.partial-", dir=folder.parent))
    try:
        book = aside / folder.name  # made here, so it has the rights of any new folder
        _draw_book(book, progress)
        _put_in_place(book, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return folder


def _remove_left_overs(folder: Path) -> None:
    """Removes what drawings that were killed have left; a younger one may still go on."""
    for left_over in folder.parent.glob(folder.name + ".partial*"):
        if time.time() - left_over.stat().st_mtime > AN_HOUR:
            shutil.rmtree(left_over, ignore_errors=True)


def _draw_book(folder: Path, progress: bool) -> None:
    (folder / "Images").mkdir(parents=True)
    (folder / "splits").mkdir()
    wanted = [(split, i) for split, size in SPLIT_SIZES.items() for i in range(size)]
    # Ctrl-C reaches every process; this one alone answers it, so it is told once
    deaf = (signal.SIGINT, signal.SIG_IGN)
    with ProcessPoolExecutor(os.cpu_count(), initializer=signal.signal, initargs=deaf) as pool:
        drawn = pool.map(partial(_draw_page, folder), wanted, chunksize=50)
        pages = list(tqdm(drawn, "drawing", len(wanted), unit=" pictures", disable=not progress))
    _write_texts(folder, pages)


def _put_in_place(book: Path, folder: Path) -> None:
    """Renames a whole book, unless another process was first: then that one's is as good."""
    try:
        book.rename(folder)
    except OSError:  # something is there
        if not is_whole(folder):
            shutil.rmtree(folder, ignore_errors=True)
            book.rename(folder)


def _draw_page(folder: Path, wanted: tuple[str, int]) -> Page:
    page = plan_page(*wanted)
    draw(page.scene).save(folder / "Images" / page.image, quality=92, subsampling=0)
    return page


def _write_texts(folder: Path, pages: Sequence[Page]) -> None:
    with open(folder / "captions.txt", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("image", "caption"))
        writer.writerows((page.image, caption) for page in pages for caption in page.captions)
    lines = (json.dumps(asdict(page)) + "\n" for page in pages)
    (folder / "scenes.jsonl").write_text("".join(lines), encoding="utf-8")
    for split in SPLIT_SIZES:
        names = "".join(page.image + "\n" for page in pages if page.split == split)
        (folder / "splits" / f"{split}.txt").write_text(names, encoding="utf-8")
    stamp = {"hash": book_hash(), "pictures": len(pages), "pillow": PIL.__version__}
    (folder / "book.json").write_text(json.dumps(stamp, indent=1), encoding="utf-8")


def is_whole(folder: Path) -> bool:
    """Whether this very book was drawn there to the end: a changed generator draws it anew."""
    try:
        drawn = read_hash(folder)
    except (FileNotFoundError, ValueError, KeyError, TypeError):  # none there, or damaged
        return False
    return drawn == book_hash()


def book_hash(pictures: int = 20) -> str:
    """A short hash of the first pictures' pixels and captions: names this version of the book."""
    digest = hashlib.sha256()
    for number in range(pictures):
        page = plan_page("train", number)
        digest.update(draw(page.scene).tobytes())
        digest.update("\n".join(page.captions).encode())
    return digest.hexdigest()[:16]


def load_pages(folder: Path, split: str) -> list[Page]:
    """The pages of one split in the order of its list, read from scenes.jsonl."""
    with open(folder / "scenes.jsonl", encoding="utf-8") as file:
        return [_page_from(line) for line in map(json.loads, file) if line["split"] == split]


def _page_from(line: dict) -> Page:
    scene = line["scene"]
    things = tuple(Thing(**{**thing, "box": tuple(thing["box"])}) for thing in scene["things"])
    meanings = tuple(
        Meaning(**{**m, "phrases": tuple(Phrase(**p) for p in m["phrases"])})
        for m in line["meanings"]
    )
    scene = Scene(**{**scene, "things": things})
    return Page(line["image"], line["split"], scene, tuple(line["captions"]), meanings)


def read_hash(folder: Path) -> str:
    """The hash of the book that is drawn there, as `book_hash` gave it when it was drawn."""
    return json.loads((folder / "book.json").read_text(encoding="utf-8"))["hash"]
