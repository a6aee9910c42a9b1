"""Wrong answers to lesson 01's exercises, each with its hint; what it teaches equals cliplib's."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from test_checks import expect_hint, namespace_of, solutions, wrong_answers
from test_notebooks import LESSONS

from cliplib.checks import lesson01
from cliplib.data import ImageTransform, Pairs, TokenTable, epoch_batches
from cliplib.layout import read_captions

NAME = "01_data.ipynb"


@pytest.fixture(autouse=True)
def own_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPLIB_DATA", str(tmp_path))


def rows_of(text: str) -> list[list[str]]:
    return [row.split(",") for row in text.splitlines()]


def cut_at_commas(text: str) -> dict[str, list[str]]:
    own: dict[str, list[str]] = {}
    for image, *caption in rows_of(text)[1:]:
        own.setdefault(image, []).append(caption[0])
    return own


def cut_once(text: str) -> dict[str, list[str]]:
    own: dict[str, list[str]] = {}
    for line in text.splitlines()[1:]:
        image, caption = line.split(",", 1)
        own.setdefault(image, []).append(caption.strip('"'))
    return own


def with_header(text: str) -> dict[str, list[str]]:
    return lesson01.BY_PICTURE | {"image": ["caption"]}


def by_rows(caption_image: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    order = np.random.default_rng(seed).permutation(len(caption_image))
    test = round(share * len(order))
    return order[test:], order[:test]


def by_pictures(
    caption_image: np.ndarray, share: float, seed: int | None, shuffled: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    pictures = np.unique(caption_image)
    if shuffled:
        pictures = np.random.default_rng(seed).permutation(pictures)
    in_test = np.isin(caption_image, pictures[: round(share * len(pictures))])
    return np.flatnonzero(~in_test), np.flatnonzero(in_test)


def an_epoch(
    caption_image: np.ndarray, batch_size: int, seed: int | None, keep_last: bool = False,
    over_rows: bool = False, first: bool = False, five: bool = False, order: bool = True,
) -> list[tuple[np.ndarray, np.ndarray]]:  # fmt: skip
    random = np.random.default_rng(seed)
    items = np.arange(len(caption_image)) if over_rows else np.unique(caption_image)
    items = random.permutation(items) if order else items
    batches = []
    for start in range(0, len(items) - (0 if keep_last else batch_size - 1), batch_size):
        some = items[start : start + batch_size]
        if over_rows:
            batches.append((caption_image[some], some))
            continue
        own = [np.flatnonzero(caption_image == image) for image in some]
        rows = np.array([r[0] if first else random.choice(r) for r in own])
        batches.append((some, np.minimum(5 * some, len(caption_image) - 1) if five else rows))
    return batches


WRONG_CAPTIONS = {
    "or the header": with_header,
    "replace what was there": lambda t: {k: v[-1:] for k, v in lesson01.BY_PICTURE.items()},
    "cut at every comma": cut_at_commas,
    "or a reader": cut_once,
    "Should each picture have a list": lambda t: {k: v[0] for k, v in lesson01.BY_PICTURE.items()},
    "the file's order": lambda t: {k: v[::-1] for k, v in lesson01.BY_PICTURE.items()},
}
WRONG_SPLITS = {
    "shuffle rows or pictures": by_rows,
    "cats first": lambda c, share, seed: by_pictures(c, share, seed, shuffled=False),
    "Where does your chance come from": lambda c, share, seed: by_pictures(c, share, None),
    "Is the seed used": lambda c, share, seed: by_pictures(c, share, 0),
    "Which of the two comes first": lambda c, share, seed: by_pictures(c, share, seed)[::-1],
    "each once, or pictures": lambda c, s, seed: tuple(
        np.unique(c[rows]) for rows in by_pictures(c, s, seed)
    ),
}
WRONG_EPOCHS = {
    "incomplete one dropped": lambda c, b, s: an_epoch(c, b, s, keep_last=True),
    "over pictures, or over captions": lambda c, b, s: an_epoch(c, b, s, over_rows=True),
    "always the same one": lambda c, b, s: an_epoch(c, b, s, first=True),
    "what caption_image says": lambda c, b, s: an_epoch(c, b, s, five=True),
    "Are they shuffled": lambda c, b, s: an_epoch(c, b, s, order=False),
    "Does all chance come from the seed": lambda c, b, s: an_epoch(c, b, None),
    "with replacement, or rows": lambda c, b, s: an_epoch(c, b, s, over_rows=True)[:7],
}
WRONG_COUNTS = {
    "diagonal counted": lambda c: sum(n * n for n in Counter(c).values()),
    "the same place": lambda c: sum(n * (n - 1) // 2 for n in Counter(c).values()),
    "captions, or places": lambda c: sum(n for n in Counter(c).values() if n > 1),
    "side by side": lambda c: sum(
        c[i : j + 1].count(c[i]) == j - i + 1
        for i in range(len(c)) for j in range(i + 1, len(c))
    ) * 2,
}  # fmt: skip


@wrong_answers(
    (lesson01.captions_by_picture, WRONG_CAPTIONS),
    (lesson01.split_rows, WRONG_SPLITS),
    (lesson01.one_epoch, WRONG_EPOCHS),
    (lesson01.wrongly_negative, WRONG_COUNTS),
)
def test_a_wrong_answer_gets_the_right_hint(
    checker: Callable, hint: str, wrong: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    expect_hint(checker, hint, wrong, capsys)


@pytest.fixture(scope="module")
def taught() -> dict[str, object]:
    """The lesson's own functions and solutions."""
    names = namespace_of(NAME)
    for cell in LESSONS[NAME].cells:
        if cell.cell_type == "code":
            for name in ("read_rows", "normalise", "pad"):
                start = cell.source.find(f"def {name}(")
                if start >= 0:
                    exec(cell.source[start:].split("\n\n\n")[0], names)
    for solution in solutions(NAME):
        exec(solution, names)
    return names


def test_taught_captions_are_those_of_cliplib(taught: dict, tmp_path: Path) -> None:
    (tmp_path / "Images").mkdir()
    for name in lesson01.BY_PICTURE:
        (tmp_path / "Images" / name).touch()
    (tmp_path / "captions.txt").write_text(lesson01.TEXT, encoding="utf-8")
    assert taught["captions_by_picture"](lesson01.TEXT) == read_captions(tmp_path)[0]


def test_taught_normalising_is_that_of_cliplib(taught: dict) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8)
    transform = ImageTransform(8, 0, (0.4, 0.5, 0.6), (0.2, 0.3, 0.1), "bicubic")
    found = taught["normalise"](pixels, transform.mean, transform.std)
    torch.testing.assert_close(found, transform.normalise(pixels), rtol=1e-5, atol=1e-5)


def test_taught_padding_is_that_of_cliplib(taught: dict) -> None:
    random = np.random.default_rng(0)
    ids = [random.integers(1, 50, length).tolist() for length in (4, 9, 1, 6)]
    expected = TokenTable(ids, pad_id=7).batch(range(4))
    for found, wanted in zip(taught["pad"](ids, 7), expected, strict=True):
        assert torch.equal(found, wanted)


def test_taught_epoch_keeps_the_promises_of_cliplibs(taught: dict) -> None:
    """Their chance differs; pictures once, own captions and dropped rest do not."""
    rows = np.repeat(np.arange(23), 5)
    pairs = Pairs(Path(), "train", tuple(map(str, range(23))), ("",) * 115, rows, ())
    library = [(images, own[0]) for images, own in epoch_batches(pairs, 4, 1, seed=0, epoch=0)]
    for batches in (taught["one_epoch"](rows, 4, 0), library):
        images = np.concatenate([batch for batch, _ in batches])
        captions = np.concatenate([own for _, own in batches])
        assert len(batches) == 5 and len(set(images)) == 20
        assert (rows[captions] == images).all()
