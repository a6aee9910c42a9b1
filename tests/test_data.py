"""Layout, faults, splits, epochs, tokens and the command of cliplib.data."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cliplib import config, data
from cliplib.data import (
    DataError,
    TokenTable,
    ensure,
    epoch_batches,
    fingerprint,
    list_images,
    load_pairs,
    split_names,
)
from cliplib.flaws import known_flaws
from cliplib.layout import PUBLISHED, read_captions

REAL = os.environ.get("CLIPLIB_FLICKR8K")
needs_photographs = pytest.mark.skipif(
    not REAL, reason="CLIPLIB_FLICKR8K is not set: no real photographs here"
)


@pytest.fixture(autouse=True)
def own_data_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CLIPLIB_DATA", str(tmp_path / "root"))
    return tmp_path / "root"


def write_folder(folder: Path, captions: dict[str, list[str]]) -> Path:
    """A data set with a tiny picture for every name."""
    (folder / "Images").mkdir(parents=True)
    rows = []
    for name, own in captions.items():
        Image.new("RGB", (8, 6), (len(rows) % 256, 90, 30)).save(folder / "Images" / name)
        rows += [f'{name},"{caption}"' for caption in own]
    write_captions(folder, "\n".join(["image,caption", *rows, ""]).encode())
    return folder


def write_captions(folder: Path, content: bytes) -> None:
    (folder / "captions.txt").write_bytes(content)


def many(count: int) -> dict[str, list[str]]:
    return {f"p{i:03}.png": [f"picture {i}, caption {j}" for j in range(5)] for i in range(count)}


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """A folder with a.png and b.png, whose captions.txt a test writes anew."""
    return write_folder(tmp_path / "two", {"a.png": ["x"], "b.png": ["y"]})


def write_splits(folder: Path, **lists: str) -> None:
    (folder / "splits").mkdir()
    for split, names in lists.items():
        (folder / "splits" / f"{split}.txt").write_text("\n".join(names.split()) + "\n")


# ---- captions.txt


def test_captions_with_commas_and_quotes_are_read_as_csv(two: Path) -> None:
    write_captions(two, b'image,caption\na.png,"A dog, wet, says ""no"" ."\nb.png,A cat .\n')
    pairs = load_pairs(two, "all")
    assert pairs.images == ("a.png", "b.png")
    assert pairs.captions == ('A dog, wet, says "no" .', "A cat .")
    assert pairs.skipped == ()


def test_byte_order_mark_windows_line_ends_blank_lines_and_umlauts(two: Path) -> None:
    write_captions(two, "\ufeffimage,caption\r\na.png,Ein Bär\r\n\r\nb.png,y\r\n".encode())
    assert load_pairs(two, "all").captions == ("Ein Bär", "y")


def test_captions_are_grouped_by_picture(two: Path) -> None:
    write_captions(two, b"image,caption\nb.png,b1\na.png,a1\nb.png,b2\na.png,a2\nb.png,b3\n")
    pairs = load_pairs(two, "all")
    assert pairs.captions == ("a1", "a2", "b1", "b2", "b3")
    assert pairs.caption_image.tolist() == [0, 0, 1, 1, 1]
    assert pairs.caption_image.dtype == np.int64
    assert list(pairs.captions_of(0)) == [0, 1]
    assert list(pairs.captions_of(1)) == [2, 3, 4]
    assert pairs.paths() == [two / "Images" / "a.png", two / "Images" / "b.png"]
    with pytest.raises(IndexError, match="0 to 1"):
        pairs.captions_of(2)


@pytest.mark.parametrize("header", [b"caption,image", b"image;caption", b"a.png,A dog .", b""])
def test_wrong_header_is_told_even_with_skip_bad(two: Path, header: bytes) -> None:
    write_captions(two, header + b"\na.png,x\n")
    for skip_bad in (False, True):
        with pytest.raises(DataError, match=r"line 1: expected the header image,caption, got"):
            load_pairs(two, "all", skip_bad=skip_bad)


FAULTS = {
    "empty caption": (b"b.png,  ", "line 3: the caption of b.png is empty"),
    "no picture": (b"c.png,A dog", "line 3: Images/c.png is missing"),
    "three fields": (b"b.png,A dog, wet", "line 3: expected 2 fields, got 3"),
    "one field": (b"b.png", "line 3: expected 2 fields, got 1"),
    "Latin-1": (b"b.png,Ein B\xe4r", "line 3: is not UTF-8"),
    "open quotation mark": (b'b.png,"A dog', "line 3: the caption runs over several lines"),
}


@pytest.mark.parametrize("row, sentence", FAULTS.values(), ids=FAULTS.keys())
def test_faulty_row_is_named_or_left_out(two: Path, row: bytes, sentence: str) -> None:
    write_captions(two, b"image,caption\na.png,x\n" + row + b"\nb.png,y\n")
    with pytest.raises(DataError, match=sentence):
        load_pairs(two, "all")
    pairs = load_pairs(two, "all", skip_bad=True)
    assert len(pairs.skipped) == 1
    assert sentence in pairs.skipped[0]
    assert pairs.captions[0] == "x"
    swallowed = row.startswith(b'b.png,"')  # an open quotation mark takes the next row with it
    assert pairs.captions == (("x",) if swallowed else ("x", "y"))


def test_all_faults_come_in_one_error_ten_of_them_in_full(two: Path) -> None:
    write_captions(two, b"image,caption\n" + b"b.png,\n" * 25 + b"a.png,x\n")
    with pytest.raises(DataError) as caught:
        load_pairs(two, "all")
    text = str(caught.value)
    assert "25 faults" in text
    assert "line 2:" in text and "line 11:" in text and "line 12:" not in text
    assert "15 more" in text
    assert "skip_bad=True" in text


def test_no_usable_caption_is_an_error_even_with_skip_bad(two: Path) -> None:
    write_captions(two, b"image,caption\na.png,\n")
    with pytest.raises(DataError, match="no usable caption"):
        load_pairs(two, "all", skip_bad=True)


def test_skip_bad_leaves_out_a_picture_that_cannot_be_decoded(two: Path) -> None:
    (two / "Images" / "a.png").write_bytes(b"not a picture")
    assert load_pairs(two, "all").images == ("a.png", "b.png")  # nothing is decoded here
    pairs = load_pairs(two, "all", skip_bad=True)
    assert pairs.images == ("b.png",)
    assert pairs.captions == ("y",)
    assert pairs.caption_image.tolist() == [0]
    assert "a.png cannot be decoded" in pairs.skipped[0]


@pytest.mark.parametrize("missing", ["captions.txt", "Images"])
def test_missing_part_is_named(tmp_path: Path, missing: str) -> None:
    folder = tmp_path / "half"
    (folder / "Images").mkdir(parents=True)
    write_captions(folder, b"image,caption\n")
    (folder / missing).rename(folder / "elsewhere")
    with pytest.raises(DataError, match=f"{missing} is missing.*header image,caption"):
        load_pairs(folder, "train")


# ---- splits


def test_drawn_splits_are_seeded_stored_disjoint_and_by_picture(
    tmp_path: Path, own_data_root: Path
) -> None:
    folder = write_folder(tmp_path / "own", many(40))
    splits = split_names(folder)
    assert {split: len(names) for split, names in splits.items()} == {
        "train": 24,
        "val": 8,
        "test": 8,
    }
    assert sorted(sum(splits.values(), ())) == sorted(many(40))
    assert splits["train"] != tuple(sorted(splits["train"]))  # drawn, not cut off in order
    assert sorted(path.name for path in folder.iterdir()) == ["Images", "captions.txt"]
    (stored,) = (own_data_root / "splits").iterdir()
    assert stored.name.startswith("own-")
    for split in splits:
        assert len(load_pairs(folder, split).captions) == 5 * len(splits[split])
    for path in stored.iterdir():
        path.unlink()
    stored.rmdir()
    assert split_names(folder) == splits  # the same seed draws the same


def test_drawn_splits_are_read_from_where_they_are_stored(
    tmp_path: Path, own_data_root: Path
) -> None:
    folder = write_folder(tmp_path / "own", many(10))
    split_names(folder)
    (stored,) = (own_data_root / "splits").iterdir()
    for split, names in {
        "train": "p000.png p001.png",
        "val": "p002.png",
        "test": "p003.png",
    }.items():
        (stored / f"{split}.txt").write_text("\n".join(names.split()))
    assert split_names(folder)["train"] == ("p000.png", "p001.png")


def test_too_few_pictures_to_split(two: Path) -> None:
    with pytest.raises(DataError, match="2 captioned pictures"):
        load_pairs(two, "train")


def test_a_folders_own_lists_win_and_keep_their_order(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "own", many(6))
    write_splits(
        folder, train="p005.png p001.png", val="p002.png", test="p000.png", unseen="p003.png"
    )
    assert load_pairs(folder, "train").images == ("p005.png", "p001.png")
    assert load_pairs(folder, "train").captions[0] == "picture 5, caption 0"
    assert load_pairs(folder, "unseen").images == ("p003.png",)
    assert len(load_pairs(folder, "all").images) == 6


def test_overlapping_splits_name_the_picture(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "own", many(6))
    write_splits(folder, train="p000.png p001.png", val="p002.png", test="p001.png")
    with pytest.raises(DataError, match=r"p001.png: train, test"):
        load_pairs(folder, "val")


def test_split_that_names_a_picture_without_captions(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "own", many(6))
    write_splits(folder, train="p000.png nobody.png", val="p002.png", test="p001.png")
    for call in (split_names, lambda folder: load_pairs(folder, "train")):
        with pytest.raises(DataError, match=r"no caption:\n  nobody.png"):
            call(folder)
    pairs = load_pairs(folder, "train", skip_bad=True)
    assert pairs.images == ("p000.png",)
    assert "nobody.png" in pairs.skipped[0]


def test_absent_list_and_absent_split_are_named(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "own", many(6))
    write_splits(folder, train="p000.png", val="p002.png")
    with pytest.raises(DataError, match=r"lacks test.txt"):
        load_pairs(folder, "train")
    (folder / "splits" / "test.txt").write_text("p001.png\n")
    with pytest.raises(DataError, match="no split 'unseen'; it has train, val, test and all"):
        load_pairs(folder, "unseen")


def published(split: str) -> list[str]:
    return (PUBLISHED / f"{split}.txt").read_text().split()


def test_published_lists_have_their_sizes_and_do_not_overlap() -> None:
    lists = {split: published(split) for split in ("train", "val", "test")}
    assert [len(names) for names in lists.values()] == [6000, 1000, 1000]
    assert len(set().union(*lists.values())) == 8000


def test_part_of_flickr8k_uses_the_published_lists_and_says_so(
    tmp_path: Path, own_data_root: Path
) -> None:
    names = published("test")[:3] + published("train")[:5] + published("val")[:2]
    folder = write_folder(tmp_path / "few", {name: ["a dog"] for name in sorted(names)})
    with pytest.warns(UserWarning, match="holds 10 of the 8,000"):
        splits = split_names(folder)
    assert splits == {
        "train": tuple(published("train")[:5]),
        "val": tuple(published("val")[:2]),
        "test": tuple(published("test")[:3]),
    }
    assert not own_data_root.exists()


@pytest.mark.filterwarnings("ignore:.*published lists")
def test_empty_split_of_a_part_of_flickr8k(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "few", {name: ["a"] for name in published("test")[:3]})
    with pytest.raises(DataError, match="split 'val' is empty"):
        load_pairs(folder, "val")


def test_own_pictures_among_some_of_flickr8k_get_a_split_of_their_own(tmp_path: Path) -> None:
    names = {name: ["a"] for name in published("test")[:10]}
    folder = write_folder(tmp_path / "mixed", names | many(10))
    assert len(split_names(folder)["train"]) == 12


# ---- folders


def test_list_images_with_and_without_an_inner_folder(tmp_path: Path) -> None:
    folder = tmp_path / "holiday"
    folder.mkdir()
    for name in ("b.JPG", "a.png", "._a.png", "notes.txt"):
        (folder / name).write_bytes(b"")
    assert [path.name for path in list_images(folder)] == ["a.png", "b.JPG"]
    write_folder(folder / "inner", {"z.png": ["z"]})
    assert list_images(folder / "inner") == [folder / "inner" / "Images" / "z.png"]
    with pytest.raises(DataError, match="no folder"):
        list_images(folder / "nowhere")
    (folder / "empty").mkdir()
    with pytest.raises(DataError, match="holds no picture"):
        list_images(folder / "empty")


def test_fingerprint_changes_with_captions_names_and_sizes(two: Path) -> None:
    prints = [fingerprint(two)]
    assert fingerprint(two) == prints[0]
    write_captions(two, b"image,caption\na.png,z\nb.png,y\n")
    prints.append(fingerprint(two))
    (two / "Images" / "a.png").rename(two / "Images" / "c.png")
    prints.append(fingerprint(two))
    with open(two / "Images" / "c.png", "ab") as file:
        file.write(b"more")
    prints.append(fingerprint(two))
    (two / "captions.txt").unlink()
    prints.append(fingerprint(two))
    assert len(set(prints)) == 5


# ---- tokens and epochs


def test_tokens_are_padded_to_the_longest_of_the_batch() -> None:
    table = TokenTable([[5, 6], [7], [8, 9, 10, 11]], pad_id=99)
    ids, mask = table.batch([1, 0])
    assert ids.tolist() == [[7, 99], [5, 6]]
    assert mask.tolist() == [[1, 0], [1, 1]]
    ids, mask = table.batch(np.array([2, 1]))
    assert ids.tolist() == [[8, 9, 10, 11], [7, 99, 99, 99]]
    assert str(ids.dtype) == str(mask.dtype) == "torch.int64"
    assert len(table) == 3


def test_caption_without_tokens_is_named() -> None:
    with pytest.raises(ValueError, match="Caption 1 has no token"):
        TokenTable([[1], [], [2]])


@pytest.fixture
def uneven(tmp_path: Path) -> data.Pairs:
    """Pictures with one to five captions each."""
    captions = {name: own[: 1 + i % 5] for i, (name, own) in enumerate(many(23).items())}
    return load_pairs(write_folder(tmp_path / "uneven", captions), "all")


def test_each_picture_once_an_epoch_with_captions_of_its_own(uneven: data.Pairs) -> None:
    batches = epoch_batches(uneven, 4, 3, seed=1, epoch=0)
    assert [images.shape for images, _ in batches] == [(4,)] * 5  # 23 = 5 · 4 + 3 dropped
    assert all(captions.shape == (3, 4) for _, captions in batches)
    shown = np.concatenate([images for images, _ in batches])
    assert len(set(shown.tolist())) == 20
    for images, captions in batches:
        for column, image in enumerate(images):
            own = captions[:, column]
            assert (uneven.caption_image[own] == image).all()
            assert len(set(own.tolist())) == min(3, len(uneven.captions_of(image)))


def test_epochs_are_a_function_of_seed_and_epoch(uneven: data.Pairs) -> None:
    def flat(seed: int, epoch: int) -> list[int]:
        batches = epoch_batches(uneven, 4, 2, seed, epoch)
        return np.concatenate([np.concatenate([i, c.ravel()]) for i, c in batches]).tolist()

    assert flat(3, 5) == flat(3, 5)
    assert len({tuple(flat(*pair)) for pair in ((3, 5), (3, 6), (4, 5), (5, 3))}) == 4


def test_every_caption_gets_its_turn_over_epochs(uneven: data.Pairs) -> None:
    drawn = [c for epoch in range(60) for _, c in epoch_batches(uneven, 23, 1, 0, epoch)]
    counts = np.bincount(np.concatenate(drawn, axis=None), minlength=len(uneven.captions))
    expected = 60 / np.bincount(uneven.caption_image)[uneven.caption_image]
    assert counts.min() > 0
    assert np.abs(counts - expected).max() < 6 * np.sqrt(expected.max())


def test_batch_larger_than_the_split(uneven: data.Pairs) -> None:
    with pytest.raises(ValueError, match="batch_size is 24, but split 'all' has 23 pictures"):
        epoch_batches(uneven, 24, 1, 0, 0)


# ---- the command


def test_ensure_draws_the_picture_book(monkeypatch: pytest.MonkeyPatch) -> None:
    picturebook = pytest.importorskip("cliplib.picturebook")
    drawn = []

    def generate(folder: Path, progress: bool = True) -> Path:
        drawn.append((folder, progress))
        return write_folder(folder, many(3))

    monkeypatch.setattr(picturebook, "generate", generate)
    folder = ensure("picturebook", progress=False)
    assert drawn == [(config.data_root() / "picturebook", False)]
    assert folder == drawn[0][0]


def test_ensure_of_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere is missing"):
        ensure(str(tmp_path / "nowhere"))


def test_missing_flickr8k_ends_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CLIPLIB_FLICKR8K", "no/such/folder")
    assert data.main(["flickr8k"]) == 1, "a path that is wrong starts no download"
    said = capsys.readouterr().err
    assert "no/such/folder is missing" in said and "CLIPLIB_FLICKR8K" in said and "by hand" in said


def test_missing_picture_book_says_what_draws_it() -> None:
    with pytest.raises(DataError, match=r"python -m cliplib\.data picturebook"):
        load_pairs(config.data_folder("picturebook"), "train")


def test_report_counts_and_names_faults(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    captions = many(20)
    captions["p003.png"] = ["the same", "the same", "one more time"]
    captions["p004.png"] = ["The same"]
    captions["p006.png"][0] = captions["p007.png"][0].upper()
    captions["p005.png"] = ["the same"]
    folder = write_folder(tmp_path / "own", captions)
    assert data.main([str(folder)]) == 0
    said = capsys.readouterr().out
    for part in ("  20\n", "  90\n", "1 (2 pictures), 3 (1 pictures), 5 (17 pictures)", "1 rows"):
        assert part in said
    assert "1 texts stand with several pictures, letter for letter, in 3 rows (2 texts" in said
    assert '4 captions have one or two words ("The same", "the same")' in said
    assert "train 12, val 4, test 4" in said
    (folder / "Images" / "p007.png").write_bytes(b"\x89PNG")
    with open(folder / "captions.txt", "a") as file:
        file.write("p008.png,\n")
    assert data.main([str(folder)]) == 1
    said = capsys.readouterr().out
    assert "p007.png cannot be decoded" in said and "the caption of p008.png is empty" in said


def test_one_picture_under_two_names_is_named_and_a_leak_is_called_one(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "own", many(6))
    splits = {"train": ["p000.png", "p001.png"], "val": ["p002.png"], "test": ["p003.png"]}
    copies = {"p001.png": "p000.png", "p003.png": "p002.png"}
    for copy, name in copies.items():
        (folder / "Images" / copy).write_bytes((folder / "Images" / name).read_bytes())
    told = "\n".join(known_flaws(folder, many(6), splits))
    assert "p000.png (train), p001.png (train). Kept: both are on one side" in told
    assert "p002.png (val), p003.png (test). They are on different sides of the split" in told
    assert "2 pictures stand in no split" in told and "p004.png" not in told


def test_an_interrupted_command_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(data: str, source: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(data, "ensure", interrupted)
    assert data.main(["picturebook"]) == 130
    assert "Interrupted. Nothing half-made is taken for whole" in capsys.readouterr().err


def test_help(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["data", "--help"])
    with pytest.raises(SystemExit) as ended:
        data.main()
    assert ended.value.code == 0
    assert "picturebook" in capsys.readouterr().out


# ---- real photographs


@needs_photographs
def test_flickr8ks_known_flaws_are_those_of_its_card() -> None:
    captions, _ = read_captions(Path(REAL))
    told = "\n".join(known_flaws(Path(REAL), captions, split_names(Path(REAL))))
    for part in (
        "10 rows repeat a caption of their own picture",
        "187 texts stand with several pictures, letter for letter, in 434 rows (199 texts",
        "17 captions have one or two words",
        '"broken image"',
        "91 pictures stand in no split",
        "2851198725_37b6027625.jpg (train), 3050606344_af711c726c.jpg (train)",
        "2258277193_586949ec62.jpg.1 has captions in the authors' own file",
    ):
        assert part in told
    assert len(told.splitlines()) == 6


@needs_photographs
def test_flickr8k_is_complete() -> None:
    everything = load_pairs(Path(REAL), "all")
    assert (len(everything.images), len(everything.captions)) == (8091, 40455)
    sizes = [len(load_pairs(Path(REAL), split).images) for split in ("train", "val", "test")]
    assert sizes == [6000, 1000, 1000]
    assert set(np.bincount(everything.caption_image)) == {5}
    assert load_pairs(Path(REAL), "test").images == tuple(published("test"))
