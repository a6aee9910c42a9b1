"""The picture book: the same for everyone, honest about what it holds, and never half there."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import PIL
import pytest
from PIL import Image

from cliplib import picturebook
from cliplib.config import COURSE
from cliplib.data import load_pairs
from cliplib.drawing import draw
from cliplib.picturebook import (
    Page,
    book_hash,
    compose,
    generate,
    is_whole,
    load_pages,
    plan_page,
    read_hash,
)
from cliplib.scenes import (
    COLOURS,
    GROUNDS,
    HELD_OUT,
    KINDS,
    SIZES,
    SKIES,
    HeldOut,
    Meaning,
    Phrase,
    Scene,
    describes,
)

# The book's hash for each Pillow (major.minor) that it was drawn with: a Pillow that draws
# otherwise gets a line of its own.
PIXELS = {"13.0": "c3311d07215bc6bc"}

SMALL_BOOK = {"train": 6, "val": 2, "test": 3, "unseen": 8}


@pytest.fixture(scope="module")
def seen_pages() -> list[Page]:
    return [plan_page(split, i) for split in ("train", "val", "test") for i in range(1000)]


@pytest.fixture(scope="module")
def unseen_pages() -> list[Page]:
    return [plan_page("unseen", number) for number in range(500)]


@pytest.fixture
def small_book(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where a book of a few pages will be drawn."""
    monkeypatch.setattr(picturebook, "SPLIT_SIZES", SMALL_BOOK)
    return tmp_path / "picturebook"


def test_everyone_has_the_same_book() -> None:
    pillow = ".".join(PIL.__version__.split(".")[:2])
    if pillow not in PIXELS:
        pytest.skip(f"Pillow {pillow} may draw other pixels than {', '.join(PIXELS)}")
    assert book_hash() == PIXELS[pillow]


def test_the_hash_names_pixels_and_captions(monkeypatch: pytest.MonkeyPatch) -> None:
    first = book_hash(2)
    assert book_hash(2) == first and re.fullmatch("[0-9a-f]{16}", first)
    assert book_hash(3) != first
    monkeypatch.setattr(picturebook, "draw", lambda scene: draw(scene, 64))
    assert book_hash(2) != first
    monkeypatch.undo()
    monkeypatch.setattr(picturebook, "in_words", lambda meaning, rng: "A picture.")
    assert book_hash(2) != first


def test_a_page_depends_on_its_split_and_number_alone() -> None:
    assert plan_page("train", 3) == plan_page("train", 3)
    scenes = [plan_page(split, i).scene for split in ("train", "val", "test") for i in range(50)]
    assert len(set(scenes)) == 150
    page = plan_page("val", 12)
    assert (page.image, page.split) == ("val_00012.jpg", "val")
    assert len(page.captions) == len(page.meanings) == 5


def holds(held: HeldOut, scene: Scene) -> bool:
    """`HeldOut.in_scene` once more, without the code that planning uses."""
    return (
        held.sky in ("", scene.sky)
        and held.ground in ("", scene.ground)
        and any(t.kind == held.kind and held.colour in ("", t.colour) for t in scene.things)
    )


def names(meaning: Meaning, held: HeldOut) -> bool:
    return (
        any(p.kind == held.kind and held.colour in ("", p.colour) for p in meaning.phrases)
        and (not held.sky or meaning.sky == held.sky)
        and (not held.ground or meaning.ground == held.ground)
    )


def test_held_out_combinations_are_in_no_split_but_unseen(seen_pages: list[Page]) -> None:
    for page in seen_pages:
        assert not any(holds(held, page.scene) for held in HELD_OUT), page.image


def test_each_part_of_a_held_out_combination_is_seen(seen_pages: list[Page]) -> None:
    scenes = [page.scene for page in seen_pages[:1000]]
    things = [thing for scene in scenes for thing in scene.things]
    for held in HELD_OUT:
        assert sum(thing.kind == held.kind for thing in things) > 20
        if held.colour:
            assert sum(thing.colour == held.colour for thing in things) > 20


def test_each_unseen_page_holds_the_combination_whose_turn_it_is(unseen_pages: list[Page]) -> None:
    for number, page in enumerate(unseen_pages):
        wanted = HELD_OUT[number % len(HELD_OUT)]
        assert [held for held in HELD_OUT if holds(held, page.scene)] == [wanted], page.image


def test_every_unseen_caption_names_the_combination(unseen_pages: list[Page]) -> None:
    for number, page in enumerate(unseen_pages):
        wanted = HELD_OUT[number % len(HELD_OUT)]
        assert all(names(meaning, wanted) for meaning in page.meanings), page.image
        assert all(describes(meaning, page.scene) for meaning in page.meanings)
        if wanted == HeldOut("car", colour="purple"):
            assert all(re.search(r"\b(purple|violet) cars?\b", text) for text in page.captions)


def test_things_are_whole_visible_and_in_order(seen_pages: list[Page]) -> None:
    for page in seen_pages:
        scene = page.scene
        assert 1 <= len(scene.things) <= 3
        order = [(thing.flies, thing.box[3]) for thing in scene.things]
        assert order == sorted(order), "from back to front"
        for row, thing in enumerate(scene.things):
            left, top, right, bottom = thing.box
            assert 0.015 < left < right < 0.985 and 0.015 < top < bottom < 0.985, page.image
            assert thing.flies or bottom > scene.horizon
            nearer = np.zeros((100, 100))
            for other in scene.things[row + 1 :]:
                nearer[cells(other.box)] += 1
            assert nearer[cells(thing.box)].mean() < 0.30, "a quarter, give or take a cell"


def cells(box: tuple[float, ...]) -> tuple[slice, slice]:
    left, top, right, bottom = (round(100 * share) for share in box)
    return slice(top, bottom), slice(left, right)


def test_the_book_holds_everything_there_is(seen_pages: list[Page]) -> None:
    scenes = [page.scene for page in seen_pages[:1000]]
    assert {scene.sky for scene in scenes} == set(SKIES)
    assert {scene.ground for scene in scenes} == set(GROUNDS)
    things = [thing for scene in scenes for thing in scene.things]
    assert {thing.kind for thing in things} == set(KINDS)
    assert {thing.colour for thing in things} == set(COLOURS)
    assert {thing.size for thing in things} == set(SIZES)
    assert {len(scene.things) for scene in scenes} == {1, 2, 3}


def test_compose_puts_things_from_left_to_right() -> None:
    scene = compose(
        "small red boat", "big blue house", "kite", sky="night", ground="sea", sign="CAR"
    )
    assert (scene.sky, scene.ground, scene.sign) == ("night", "sea", "CAR")
    told = [(thing.size, thing.colour, thing.kind) for thing in scene.things]
    assert told == [
        ("small", "red", "boat"),
        ("big", "blue", "house"),
        ("small", "red", "kite"),
    ]
    centres = [thing.centre[0] for thing in scene.things]
    assert centres == sorted(centres)
    assert compose("green big tree") == compose("big green tree"), "adjectives in any order"


@pytest.mark.parametrize("kind", KINDS)
def test_composed_things_stay_in_the_picture_and_in_order(kind: str) -> None:
    for number in (1, 2, 3, 4):
        things = compose(*[f"big {kind}", "small lighthouse", f"{kind}", "big car"][:number]).things
        assert len(things) == number
        centres = [thing.centre[0] for thing in things]
        assert centres == sorted(centres)
        for thing in things:
            left, top, right, bottom = thing.box
            assert left >= 0.0199 and top >= 0.0199 and right <= 0.9801 and bottom <= 0.9801
    assert compose(kind).things[0].centre[0] == pytest.approx(0.5, abs=1e-3)


def test_a_composed_left_and_right_are_true() -> None:
    meaning = Meaning((Phrase("car", "red"), Phrase("cat", "blue")), "left of")
    assert describes(meaning, compose("red car", "blue cat"))
    assert not describes(meaning, compose("blue cat", "red car"))


@pytest.mark.parametrize(
    ("things", "where", "sentence"),
    [
        (("red dog",), {}, r"'dog' in 'red dog' is not drawn here; choose one of bird, .*ball"),
        (("crimson car",), {}, r"'crimson' in 'crimson car' is neither a size nor a colour: .*red"),
        (("cat", "very big tree"), {}, r"'very' in 'very big tree'"),
        (("",), {}, r"'' is not drawn here"),
        (("cat",), {"sky": "hail"}, r"'hail' is not known here; choose one of day, .*night"),
        (("cat",), {"ground": "moon"}, r"'moon' is not known here; choose one of grass, .*sea"),
    ],
)
def test_compose_names_the_word_it_does_not_know(
    things: tuple[str, ...], where: dict[str, str], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        compose(*things, **where)


def test_a_book_is_a_data_set_like_any_other(small_book: Path) -> None:
    assert generate(small_book, progress=False) == small_book
    assert sorted(path.name for path in small_book.iterdir()) == [
        "Images", "book.json", "captions.txt", "scenes.jsonl", "splits",
    ]  # fmt: skip
    assert list(small_book.parent.iterdir()) == [small_book], "nothing is left beside it"
    with open(small_book / "captions.txt", encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["image", "caption"] and len(rows) == 1 + 5 * sum(SMALL_BOOK.values())
    assert len(list((small_book / "Images").iterdir())) == sum(SMALL_BOOK.values())
    stamp = json.loads((small_book / "book.json").read_text(encoding="utf-8"))
    assert stamp == {"hash": book_hash(), "pictures": 19, "pillow": PIL.__version__}
    assert read_hash(small_book) == book_hash()
    for split, size in SMALL_BOOK.items():
        pairs = load_pairs(small_book, split)
        pages = load_pages(small_book, split)
        assert pages == [plan_page(split, number) for number in range(size)]
        assert pairs.images == tuple(page.image for page in pages)
        assert pairs.captions == tuple(text for page in pages for text in page.captions)
        assert pairs.caption_image.tolist() == [row for row in range(size) for _ in range(5)]


def test_the_files_show_the_scenes(small_book: Path) -> None:
    generate(small_book, progress=False)
    for page in load_pages(small_book, "unseen"):
        with Image.open(small_book / "Images" / page.image) as picture:
            assert picture.mode == "RGB" and picture.format == "JPEG"
            shown = np.asarray(picture, dtype=float)
        expected = np.asarray(draw(page.scene), dtype=float)
        assert shown.shape == expected.shape
        assert np.abs(shown - expected).mean() < 4, "but for the JPEG's loss"


def test_a_whole_book_is_left_alone(small_book: Path) -> None:
    generate(small_book, progress=False)
    before = {path: path.stat().st_mtime_ns for path in small_book.rglob("*")}
    generate(small_book, progress=False)
    assert {path: path.stat().st_mtime_ns for path in small_book.rglob("*")} == before


def stop_after(pages: int) -> object:
    """Stands in for the progress bar: what Ctrl-C does while pictures are drawn."""

    def interrupted(drawn: Iterable[Page], *_: object, **__: object) -> Iterator[Page]:
        yield from islice(drawn, pages)
        raise KeyboardInterrupt

    return interrupted


def test_an_interrupted_book_never_counts(
    small_book: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(picturebook, "tqdm", stop_after(3))
        with pytest.raises(KeyboardInterrupt):
            generate(small_book)
    assert not small_book.exists() and not is_whole(small_book)
    assert not list(small_book.parent.iterdir()), "nothing half-drawn stays"
    generate(small_book, progress=False)
    assert is_whole(small_book)
    assert len(load_pages(small_book, "train")) == SMALL_BOOK["train"]


def test_what_a_killed_drawing_left_is_removed_after_an_hour(small_book: Path) -> None:
    killed, going_on = (small_book.with_name(f"picturebook.partial-{i}") for i in "ab")
    for left_over in (killed, going_on):
        (left_over / "picturebook" / "Images").mkdir(parents=True)
    long_ago = time.time() - 2 * picturebook.AN_HOUR
    os.utime(killed, (long_ago, long_ago))
    generate(small_book, progress=False)
    assert is_whole(small_book) and going_on.exists() and not killed.exists()


def test_who_draws_second_uses_what_the_first_has_drawn(
    small_book: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = {}

    def another_is_faster(drawn: Iterable[Page], *_: object, **__: object) -> Iterator[Page]:
        with monkeypatch.context() as patch:
            patch.setattr(picturebook, "tqdm", lambda drawn, *_, **__: drawn)
            generate(small_book)
        first.update({path: path.stat().st_mtime_ns for path in small_book.rglob("*")})
        yield from drawn

    with monkeypatch.context() as patch:
        patch.setattr(picturebook, "tqdm", another_is_faster)
        generate(small_book)
    assert is_whole(small_book) and first
    assert {path: path.stat().st_mtime_ns for path in small_book.rglob("*")} == first
    assert list(small_book.parent.iterdir()) == [small_book]


def test_two_processes_draw_at_once(small_book: Path) -> None:
    code = (
        "from pathlib import Path\nfrom cliplib import picturebook\n"
        f"picturebook.SPLIT_SIZES = {dict.fromkeys(SMALL_BOOK, 40)}\n"
        f"picturebook.generate(Path({str(small_book)!r}), progress=False)"
    )
    both = [
        subprocess.Popen(
            [sys.executable, "-c", code], cwd=COURSE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    assert [process.communicate(timeout=120)[1] for process in both] == ["", ""]
    assert is_whole(small_book)
    assert len(list((small_book / "Images").iterdir())) == 160
    assert list(small_book.parent.iterdir()) == [small_book]


@pytest.mark.skipif(os.name == "nt", reason="a console's Ctrl-C is sent in another way there")
def test_ctrl_c_is_told_once_and_leaves_nothing(tmp_path: Path) -> None:
    command = subprocess.Popen(
        [sys.executable, "-m", "cliplib.data"], cwd=COURSE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "CLIPLIB_DATA": str(tmp_path)}, start_new_session=True,
        # what a shell starts in the background has Ctrl-C ignored, and its children inherit that
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    while command.poll() is None and not list(tmp_path.glob("*/*/Images/*.jpg")):
        time.sleep(0.05)
    os.killpg(command.pid, signal.SIGINT)  # as a terminal does: to all its processes
    told = command.communicate(timeout=60)[1]
    assert command.returncode == 130
    assert told.splitlines()[-1].startswith("Interrupted. Nothing half-made is taken for whole")
    assert "Traceback" not in told
    assert not list(tmp_path.iterdir())


def test_a_failure_while_texts_are_written_leaves_no_book(
    small_book: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def disk_full(*_: object, **__: object) -> str:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(picturebook, "asdict", disk_full)
        with pytest.raises(OSError, match="No space"):
            generate(small_book, progress=False)
    assert not small_book.exists()
    assert is_whole(generate(small_book, progress=False))


def test_another_version_of_the_book_is_drawn_anew(
    small_book: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generate(small_book, progress=False)
    os.remove(small_book / "Images" / "train_00000.jpg")
    stamp = small_book / "book.json"
    stamp.write_text(stamp.read_text(encoding="utf-8").replace(book_hash(), "0" * 16))
    assert not is_whole(small_book)
    with monkeypatch.context() as patch:
        patch.setattr(picturebook, "tqdm", stop_after(3))
        with pytest.raises(KeyboardInterrupt):
            generate(small_book)
    assert read_hash(small_book) == "0" * 16, "the old one stays until the new one is whole"
    generate(small_book, progress=False)
    assert is_whole(small_book)
    assert (small_book / "Images" / "train_00000.jpg").exists()


@pytest.mark.parametrize("damaged", [b"", b"{", b"[]", b"{}", b'"x"', b"3", b"\xff\xfe\x00"])
def test_a_damaged_stamp_is_no_stamp(tmp_path: Path, damaged: bytes) -> None:
    (tmp_path / "book.json").write_bytes(damaged)
    assert not is_whole(tmp_path)
    assert not is_whole(tmp_path / "nowhere")
