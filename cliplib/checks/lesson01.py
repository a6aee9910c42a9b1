"""Checks of lesson 01: captions of a picture, a split without leaks, an epoch, equal captions."""

from __future__ import annotations

import numpy as np

from cliplib.checks import Yours, check

TEXT = """image,caption
p1.jpg,A red boat at sea
p2.jpg,"At night, a cat on the grass"
p1.jpg,"A boat called ""Anna"", in the sun"
p3.jpg,A kite
p2.jpg,A cat
"""
BY_PICTURE = {
    "p1.jpg": ["A red boat at sea", 'A boat called "Anna", in the sun'],
    "p2.jpg": ["At night, a cat on the grass", "A cat"],
    "p3.jpg": ["A kite"],
}
FIVE_EACH = np.repeat(np.arange(40), 5)  # 40 pictures
UNEVEN = np.repeat(np.arange(30), np.arange(30) % 4 + 1)  # 1 to 4 captions each


def captions_by_picture(yours: Yours) -> None:
    """Exercise 1: the text of a captions.txt in, {picture: its captions} out."""
    check(
        "01.1",
        yours,
        [_no_header, _pictures_once, _all_captions, _commas_stay, _marks_are_read, _file_order],
    )


def _captions_of(yours: Yours, picture: str) -> list[str]:
    found = yours(TEXT)
    own = found.get(picture) if isinstance(found, dict) else None
    return list(own) if isinstance(own, (list, tuple)) else []


def _no_header(yours: Yours) -> str:
    found = yours(TEXT)
    if not isinstance(found, dict):
        return f"a {type(found).__name__} came back. Should it be a dictionary?"
    if "image" in found:
        return "there is a picture called 'image'. Is the first row a pair, or the header?"
    return ""


def _pictures_once(yours: Yours) -> str:
    found = sorted(yours(TEXT))
    if found != sorted(BY_PICTURE):
        return f"three pictures went in, the names {found} came out. Is the key the file's name?"
    return ""


def _all_captions(yours: Yours) -> str:
    found = yours(TEXT)["p1.jpg"]
    if isinstance(found, str):
        return "p1.jpg got a string. Should each picture have a list?"
    if len(found) != 2:
        return (
            f"p1.jpg has 2 captions, not side by side; you found {len(found)}. Does a later row "
            "replace what was there?"
        )
    return ""


def _commas_stay(yours: Yours) -> str:
    found = _captions_of(yours, "p2.jpg")
    if not any("At night, a cat on the grass" in caption for caption in found):
        return (
            f"a caption with a comma came out as {(found or [''])[0]!r}. Is the row cut at every "
            "comma?"
        )
    return ""


def _marks_are_read(yours: Yours) -> str:
    found = [caption for caption in _captions_of(yours, "p1.jpg") if "Anna" in caption]
    if found != BY_PICTURE["p1.jpg"][1:]:
        return (
            f"a caption with quotation marks came out as {(found or [''])[0]!r}. Who knows the "
            "rules of CSV: you, or a reader?"
        )
    return ""


def _file_order(yours: Yours) -> str:
    if yours(TEXT) != BY_PICTURE:
        return "the captions differ from the file's. Is their order the file's order?"
    return ""


def split_rows(yours: Yours) -> None:
    """Exercise 2: (M,) picture numbers, a share and a seed in; training and test rows out."""
    check(
        "01.2",
        yours,
        [_two_sides, _rows_once, _no_leak, _share_of_pictures, _drawn, _same_seed, _other_seed],
    )


def _split(
    yours: Yours, pictures: np.ndarray = FIVE_EACH, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    train, test = yours(pictures.copy(), 0.2, seed)
    return np.asarray(train), np.asarray(test)


def _two_sides(yours: Yours) -> str:
    found = yours(FIVE_EACH.copy(), 0.2, 0)
    if not isinstance(found, (tuple, list)) or len(found) != 2:
        return f"a {type(found).__name__} came back. Should it be training rows and test rows?"
    if len(found[1]) > len(found[0]):
        return (
            f"{len(found[0])} rows to train and {len(found[1])} to test, with a test share of "
            "0.2. Which of the two comes first?"
        )
    return ""


def _rows_once(yours: Yours) -> str:
    train, test = _split(yours)
    rows = np.sort(np.concatenate([train, test]))
    if not np.array_equal(rows, np.arange(200)):
        return (
            f"200 caption rows went in, {len(np.unique(rows))} different ones came out. Do you "
            "give back rows of captions, each once, or pictures?"
        )
    return ""


def _no_leak(yours: Yours) -> str:
    train, test = _split(yours)
    both = np.intersect1d(FIVE_EACH[train], FIVE_EACH[test])
    if len(both):
        return f"{len(both)} of 40 pictures stand on both sides. Did you shuffle rows or pictures?"
    return ""


def _share_of_pictures(yours: Yours) -> str:
    _, test = _split(yours)
    pictures = len(np.unique(FIVE_EACH[test]))
    if pictures != 8:
        return f"0.2 of 40 pictures are 8; you test on {pictures}. What is the share taken of?"
    return ""


def _drawn(yours: Yours) -> str:
    pictures = np.sort(np.unique(FIVE_EACH[_split(yours)[1]]))
    if np.array_equal(pictures, np.arange(8)) or np.array_equal(pictures, np.arange(32, 40)):
        return (
            "the test pictures are the first or the last of the file. What if a file is sorted, "
            "cats first?"
        )
    return ""


def _same_seed(yours: Yours) -> str:
    if not np.array_equal(np.sort(_split(yours)[1]), np.sort(_split(yours)[1])):
        return "the same seed gave two different splits. Where does your chance come from?"
    return ""


def _other_seed(yours: Yours) -> str:
    splits = [np.sort(_split(yours, seed=seed)[1]).tolist() for seed in range(3)]
    if splits[0] == splits[1] == splits[2]:
        return "three seeds gave one and the same split. Is the seed used?"
    return ""


def one_epoch(yours: Yours) -> None:
    """Exercise 3: (M,) picture numbers, B and a seed in; batches of pictures and captions out."""
    check(
        "01.3",
        yours,
        [_full_batches, _each_once, _own_captions, _shuffled, _all_come_up, _same_epoch],
    )


def _epoch(yours: Yours, seed: int = 0, batch_size: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """All pictures of an epoch, and all caption rows."""
    batches = list(yours(UNEVEN.copy(), batch_size, seed))
    return tuple(np.concatenate([np.asarray(b[side]) for b in batches]) for side in (0, 1))


def _full_batches(yours: Yours) -> str:
    sizes = [(len(images), len(rows)) for images, rows in yours(UNEVEN.copy(), 4, 0)]
    if any(size != (4, 4) for size in sizes):
        wrong = next(size for size in sizes if size != (4, 4))
        return (
            f"a batch holds {wrong[0]} pictures and {wrong[1]} captions, with B = 4. Is the last, "
            "incomplete one dropped?"
        )
    if len(sizes) != 7:
        return (
            f"30 pictures with B = 4 gave {len(sizes)} batches, expected 7. Does an epoch go over "
            "pictures, or over captions?"
        )
    return ""


def _each_once(yours: Yours) -> str:
    images, _ = _epoch(yours)
    most = int(np.bincount(images).max())
    if most > 1:
        return f"a picture came {most} times in an epoch. Did you draw with replacement, or rows?"
    return ""


def _own_captions(yours: Yours) -> str:
    images, rows = _epoch(yours)
    wrong = int((UNEVEN[rows] != images).sum())
    if wrong:
        return (
            f"{wrong} of {len(rows)} captions belong to another picture. Is a caption row "
            "5 · picture, or what caption_image says?"
        )
    return ""


def _all_come_up(yours: Yours) -> str:
    seen = {int(row) for seed in range(60) for row in _epoch(yours, seed)[1]}
    if len(seen) < len(UNEVEN):
        return (
            f"in 60 epochs {len(seen)} of {len(UNEVEN)} captions came up. Is the caption drawn, or "
            "always the same one?"
        )
    return ""


def _shuffled(yours: Yours) -> str:
    if np.array_equal(_epoch(yours, 0)[0], _epoch(yours, 1)[0]):
        return "two seeds gave the pictures in the same order. Are they shuffled, by the seed?"
    return ""


def _same_epoch(yours: Yours) -> str:
    first, second = _epoch(yours, 3), _epoch(yours, 3)
    if not all(np.array_equal(a, b) for a, b in zip(first, second, strict=True)):
        return "the same seed gave two different epochs. Does all chance come from the seed?"
    return ""


def wrongly_negative(yours: Yours) -> None:
    """Exercise 4: B captions in, the places off the diagonal with equal captions out."""
    check("01.4", yours, [_different, _worked, _four_equal, _apart, _groups])


def _different(yours: Yours) -> str:
    found = yours(["a boat", "a cat", "a kite"])
    if found != 0:
        return f"three different captions gave {found}. Is the diagonal counted too?"
    return ""


def _worked(yours: Yours) -> str:
    found = yours(["a", "a", "b"])
    if found == 1:
        return "a, a, b gave 1. Is (picture 0, caption 1) the same place as (picture 1, caption 0)?"
    return "" if found == 2 else f"a, a, b gave {found}. Which places of the 3 × 3 matrix are they?"


def _four_equal(yours: Yours) -> str:
    found = yours(["a kite"] * 4)
    if found == 16:
        return "four equal captions gave 16. Is a caption wrong for its own picture?"
    if found in (3, 4):
        return f"four equal captions gave {found}. Do you count captions, or places in the matrix?"
    return (
        "" if found == 12 else f"four equal captions gave {found}, of 16 places. Which 4 are not?"
    )


def _apart(yours: Yours) -> str:
    found = yours(["a", "b", "a"])
    return "" if found == 2 else f"a, b, a gave {found}. Must equal captions stand side by side?"


def _groups(yours: Yours) -> str:
    found = yours(["a", "b", "a", "b", "b", "c"])
    if found != 8:
        return f"groups of 2, 3 and 1 gave {found}, expected 8. Does every group count by itself?"
    return ""
