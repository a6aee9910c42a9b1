"""A folder of one's own pictures: captions, faults, splits, the data set, the page on it."""

from __future__ import annotations

import csv
import json
import math
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cliplib import own_measures, own_pictures, own_report
from cliplib.config import LAPTOP, QUICK, shipped_checkpoint
from cliplib.data import load_pairs, split_names
from cliplib.encoders import load_tokenizer
from cliplib.flaws import known_flaws
from cliplib.gallery import Answer, find_gallery, table
from cliplib.layout import read_captions
from cliplib.looks import alike, look_at
from cliplib.own_measures import floor_of, vocabulary_of
from cliplib.own_pictures import (
    data_set_name,
    make_data_set,
    own_data,
    profile_for,
    read_classes,
)
from cliplib.own_report import report_on
from cliplib.own_tables import Row, class_captions, match, phrase, read_table
from cliplib.pictures import DataError
from cliplib.splits import draw_splits, part_size


@pytest.fixture(autouse=True)
def own_data_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CLIPLIB_DATA", str(tmp_path / "root"))
    return tmp_path / "root"


def picture(path: Path, seed: int) -> None:
    """A picture of noise, another for each seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (10, 14, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def album(folder: Path, count: int = 20) -> Path:
    """Pictures p00.png … in a folder, and a captions.txt that has two captions for each."""
    rows = ["image,caption"]
    for i in range(count):
        picture(folder / f"p{i:02}.png", i)
        rows += [f"p{i:02}.png,picture {i}", f'p{i:02}.png,"number {i}, again"']
    (folder / "captions.txt").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


def by_class(folder: Path, **counts: int) -> Path:
    for at, (kind, count) in enumerate(counts.items()):
        for i in range(count):
            picture(folder / kind / f"{i:02}.png", 1000 * at + i)
    return folder


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# ---- from a folder to a data set


def test_a_folder_becomes_a_data_set_and_is_only_read(tmp_path: Path, own_data_root: Path) -> None:
    folder = album(tmp_path / "Meine Bilder")
    before = files_in(folder)
    made = make_data_set(folder, progress=False)
    assert files_in(folder) == before
    assert made.parent == own_data_root / "own"
    assert sorted(p.name for p in made.iterdir()) == ["captions.txt", "pictures.json", "splits"]
    pairs = load_pairs(made, "all")
    assert len(pairs.images) == 20 and pairs.captions[:2] == ("picture 0", "number 0, again")
    assert pairs.paths()[3] == folder / "p03.png" and pairs.paths()[3].is_file()
    splits = split_names(made)
    assert {s: len(n) for s, n in splits.items()} == {"train": 12, "val": 4, "test": 4}
    assert sorted(sum(splits.values(), ())) == sorted(pairs.images)


def test_sub_folders_umlauts_capital_endings_and_orientation(tmp_path: Path) -> None:
    folder = tmp_path / "p"
    for i in range(5):
        picture(folder / "Sommer Über" / f"Bär {i}.PNG", i)
    tall = Image.new("RGB", (20, 10), "red")
    exif = tall.getexif()
    exif[0x0112] = 6
    tall.save(folder / "Sommer Über" / "Bär 5.JPG", exif=exif)
    rows = [f"Bär {i}.{'JPG' if i == 5 else 'PNG'},bear {i}" for i in range(6)]
    (folder / "list.csv").write_text("image,caption\n" + "\n".join(rows), encoding="utf-8")
    made = make_data_set(folder, progress=False)
    pairs = load_pairs(made, "all")
    assert pairs.images[0] == "Sommer Über/Bär 0.PNG" and len(pairs.images) == 6
    (look,) = look_at([folder / "Sommer Über" / "Bär 5.JPG"])
    assert (look.width, look.height) == (10, 20)


def test_a_data_set_that_is_there_is_used_as_it_is(tmp_path: Path, own_data_root: Path) -> None:
    folder = tmp_path / "set"
    album(folder / "Images")
    shutil.move(folder / "Images" / "captions.txt", folder / "captions.txt")
    before = files_in(folder)
    assert make_data_set(folder, progress=False) == folder
    assert files_in(folder) == before
    assert len(list((own_data_root / "splits").iterdir())) == 1
    assert not (own_data_root / "own").exists()


def test_nothing_half_written_is_taken_for_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_data_root: Path
) -> None:
    folder = album(tmp_path / "p")

    def full(path: Path, content: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(own_pictures, "write_json", full)
        with pytest.raises(OSError, match="No space"):
            make_data_set(folder, progress=False)
    assert list((own_data_root / "own").iterdir()) == []
    assert len(load_pairs(make_data_set(folder, progress=False), "all").images) == 20


def test_a_call_ended_between_the_two_renames_loses_no_split(tmp_path: Path) -> None:
    folder = album(tmp_path / "p", 20)
    make_data_set(folder, progress=False)
    made = make_data_set(album(folder, 60), progress=False)  # lists that no fresh draw would give
    lists = files_in(made / "splits")
    made.rename(made.with_name(made.name + ".old"))
    assert make_data_set(folder, progress=False) == made
    assert files_in(made / "splits") == lists


def test_pictures_that_came_later_leave_the_others_on_their_side(tmp_path: Path) -> None:
    folder = album(tmp_path / "p", 20)
    before = split_names(make_data_set(folder, progress=False))
    album(folder, 60)
    after = split_names(make_data_set(folder, progress=False))
    assert sum(map(len, after.values())) == 60 and len(after["test"]) == part_size(60) == 12
    for split, names in before.items():
        assert set(names) <= set(after[split])


def test_a_disk_that_is_not_plugged_in_is_named(tmp_path: Path) -> None:
    folder = album(tmp_path / "stick")
    made = make_data_set(folder, progress=False)
    folder.rename(tmp_path / "away")
    with pytest.raises(DataError, match=r"stick, whose pictures .* is not there"):
        load_pairs(made, "train")


def test_search_finds_the_pictures_where_they_lie_with_their_captions(tmp_path: Path) -> None:
    folder = tmp_path / "p"
    album(folder / "inner")
    shutil.move(folder / "inner" / "captions.txt", folder / "captions.txt")
    made = make_data_set(folder, progress=False)
    gallery = find_gallery(str(made), None, "test")
    assert len(gallery.paths) == 4 and all(path.is_file() for path in gallery.paths)
    name = gallery.paths[0].relative_to(folder).as_posix()
    said = table([Answer(gallery.paths[0], 0.5)], gallery)
    assert name.startswith("inner/p") and name in said
    assert f"picture {int(name[7:9])}" in said
    whole = find_gallery("picturebook", made, None)
    assert len(whole.paths) == 20 and len(whole.captions) == 20


# ---- captions


def test_a_spreadsheet_is_read_with_its_line_numbers(tmp_path: Path) -> None:
    path = tmp_path / "table.xlsx"
    cells = {"Image": ["a.png", "b.png", "c.png"], "notes": [1, 2, 3],
             "caption": ["one\nmore", "", 7], "caption 2": ["zwei", "", ""]}  # fmt: skip
    pd.DataFrame(cells).to_excel(path, index=False)
    rows, faults = read_table(path)
    assert [(r.line, r.image, r.caption) for r in rows] == [
        (2, "a.png", "one more"), (2, "a.png", "zwei"), (4, "c.png", "7"),
    ]  # fmt: skip
    assert faults == ["table.xlsx, line 3: the caption of b.png is empty."]


def test_a_spreadsheet_without_openpyxl_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "table.xlsx"
    pd.DataFrame({"image": ["a"], "caption": ["b"]}).to_excel(path, index=False)
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(DataError, match="python -m pip install openpyxl"):
        read_table(path)


def test_formulas_and_markup_are_text(tmp_path: Path) -> None:
    folder = album(tmp_path / "p", 5)
    nasty = ['=HYPERLINK("x")', "<script>alert(1)</script>", "@cmd", "漢字 שלום", "+1"]
    with open(folder / "captions.txt", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["image", "caption"], *((f"p{i:02}.png", t) for i, t in enumerate(nasty))])  # noqa: E501  # fmt: skip
    assert load_pairs(make_data_set(folder, progress=False), "all").captions == tuple(nasty)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("image;caption\na.png;x\nb.png;\n", "line 3: the caption of b.png is empty"),
        ("image,caption\n,x\n", "line 2: no picture is named"),
        ("image,caption\na.png,x, y\n", "line 2: expected 2 fields, got 3"),
        ('image,caption\na.png,x\na.png,"open\nb.png,y\n', "line 3: a cell runs over several"),
    ],
)
def test_a_row_with_a_fault_is_named(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text, encoding="utf-8")
    assert any(told in fault for fault in read_table(path)[1])


def test_tables_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("name,words\na.png,x\n")
    with pytest.raises(DataError, match=r"line 1: expected a header .* got 'name, words'"):
        read_table(path)
    path.write_bytes("image,caption\na.png,B\xe4r\n".encode("latin-1"))
    with pytest.raises(DataError, match="line 2: is not UTF-8"):
        read_table(path)
    with pytest.raises(DataError, match="There is no table"):
        read_table(tmp_path / "none.csv")
    (tmp_path / "old.xls").write_bytes(b"x")
    with pytest.raises(DataError, match=r"save the table as \.xlsx"):
        read_table(tmp_path / "old.xls")
    (tmp_path / "bad.xlsx").write_bytes(b"x")
    with pytest.raises(DataError, match="Is it a spreadsheet"):
        read_table(tmp_path / "bad.xlsx")


def matched(names: list[str], *wanted: str) -> tuple[dict[str, list[str]], list[str]]:
    rows = [Row(i + 2, w, w) for i, w in enumerate(wanted)]
    return match(rows, names, "t.csv")


def test_a_picture_may_be_named_in_many_ways() -> None:
    names = ["a/Bär.PNG", "a/b/two.jpg", "three.png"]
    ways = ("A\\Ba\u0308r.png", "two.jpg", "./three", "a/b/two", "bär")
    found, faults = matched(names, *ways)
    assert faults == []
    assert {name: len(own) for name, own in found.items()} == {
        names[0]: 2,
        names[1]: 2,
        names[2]: 1,
    }


def test_a_name_that_fits_several_pictures_or_none_is_a_fault() -> None:
    names = ["a/x.png", "b/x.png", "x.jpg"]
    found, faults = matched(names, "x.png", "a/x.png", "x", "nobody.png")
    assert list(found) == ["a/x.png", "x.jpg"]  # the fuller name goes before the shorter one
    assert faults == [
        "t.csv, line 2: x.png could be a/x.png, b/x.png. Name its folder.",
        "t.csv, line 5: there is no picture nobody.png.",
    ]


def test_folders_become_classes_and_captions(tmp_path: Path) -> None:
    made = make_data_set(by_class(tmp_path / "p", cats=6, owl=6), progress=False)
    pairs = load_pairs(made, "all")
    assert pairs.captions[:3] == ("a photo of cats", "a picture of cats", "this is cats")
    assert pairs.captions[-3:] == ("a photo of an owl", "a picture of an owl", "this is an owl")
    assert len(pairs.captions) == 36
    assert read_classes(made)["owl/03.png"] == "owl"


def test_words_for_a_class_and_templates_can_be_ones_own() -> None:
    classes = {"cats/1.png": "cats", "dogs/1.png": "dogs"}
    said = class_captions(classes, ["ein Bild von {}"], {"cats": "einer Katze"})
    assert said == {
        "cats/1.png": ["ein Bild von einer Katze"],
        "dogs/1.png": ["ein Bild von dogs"],
    }
    with pytest.raises(ValueError, match="phrases has words for 'cows'"):
        class_captions(classes, phrases={"cows": "a cow"})


@pytest.mark.parametrize(
    ("folder", "words"),
    [("tabby_cat", "a tabby cat"), ("owl", "an owl"), ("cats", "cats"), ("bus", "a bus"),
     ("glass", "a glass"), ("a-dog", "a dog"), ("_", "a _")],
)  # fmt: skip
def test_a_class_in_words(folder: str, words: str) -> None:
    assert phrase(folder) == words


# ---- faults


def test_faults_are_told_together_and_left_out_when_asked(tmp_path: Path) -> None:
    folder = album(tmp_path / "p")
    (folder / "p03.png").write_bytes(b"no picture")
    with open(folder / "captions.txt", "a") as file:
        file.write("nobody.png,x\n")
    with pytest.raises(DataError) as caught:
        make_data_set(folder, progress=False)
    told = str(caught.value)
    assert "has 2 faults" in told and "line 42: there is no picture nobody.png" in told
    assert "p03.png cannot be decoded" in told and "--skip-bad" in told
    pairs = load_pairs(make_data_set(folder, skip_bad=True, progress=False), "all")
    assert len(pairs.images) == 19 and "p03.png" not in pairs.images
    with pytest.raises(DataError, match="2 faults"):  # made or not: told again
        make_data_set(folder, progress=False)


def test_a_data_set_with_faults_is_used_without_them_on_the_same_sides(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    album(folder / "Images")
    shutil.move(folder / "Images" / "captions.txt", folder / "captions.txt")
    before = split_names(folder)
    (folder / "Images" / "p03.png").write_bytes(b"no picture")
    made = make_data_set(folder, skip_bad=True, progress=False)
    assert made != folder and load_pairs(made, "all").paths()[0] == folder / "Images" / "p00.png"
    for split, names in split_names(made).items():
        assert set(names) == set(before[split]) - {"p03.png"}


@pytest.mark.parametrize(
    ("count", "told"), [(0, "holds no picture"), (1, "no captions. Expected"), (2, "no captions.")]
)
def test_an_empty_folder_or_one_without_captions(tmp_path: Path, count: int, told: str) -> None:
    folder = tmp_path / "p"
    folder.mkdir()
    for i in range(count):
        picture(folder / f"{i}.png", i)
    with pytest.raises(DataError, match=told):
        make_data_set(folder, progress=False)
    with pytest.raises(DataError, match="There is no folder"):
        make_data_set(tmp_path / "none", progress=False)


def test_too_few_pictures_and_several_tables_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="2 different pictures; three splits need 3"):
        make_data_set(album(tmp_path / "two", 2), progress=False)
    folder = album(tmp_path / "p")
    (folder / "captions.txt").rename(folder / "a.csv")
    shutil.copy(folder / "a.csv", folder / "b.csv")
    with pytest.raises(DataError, match=r"several tables: a.csv, b.csv"):
        make_data_set(folder, progress=False)
    assert make_data_set(folder, table=folder / "b.csv", progress=False).is_dir()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems allow no such name")
def test_a_name_that_is_no_text_is_named(tmp_path: Path) -> None:
    folder = album(tmp_path / "p")
    (folder / "p00.png").rename(folder / "p\udce4.png")
    with pytest.raises(DataError, match=r"'p\\udce4.png': its name is no text"):
        make_data_set(folder, progress=False)


# ---- equal pictures and the split


def test_equal_pixels_are_seen_in_another_format(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", 1)
    Image.open(tmp_path / "a.png").save(tmp_path / "b.bmp")
    picture(tmp_path / "c.png", 2)
    (tmp_path / "d.png").write_bytes(b"broken")
    (tmp_path / "e.png").write_bytes(b"broken too")
    names = ["a.png", "b.bmp", "c.png", "d.png", "e.png"]
    assert alike(names, look_at([tmp_path / name for name in names])) == [["a.png", "b.bmp"]]


def test_what_was_seen_is_kept_until_a_file_changes(tmp_path: Path, own_data_root: Path) -> None:
    path = tmp_path / "a.png"
    picture(path, 1)
    (first,) = look_at([path])
    (kept,) = (own_data_root / "looks").iterdir()
    kept.write_text(json.dumps([{"width": 1, "height": 2, "content": "x", "fault": ""}]))
    assert look_at([path])[0].content == "x"
    kept.write_text("[{}]")
    assert look_at([path]) == [first]
    Image.new("RGB", (99, 9)).save(path)
    assert look_at([path])[0].width == 99


@pytest.mark.parametrize("seed", range(5))
def test_equal_pictures_never_stand_on_two_sides(seed: int) -> None:
    names = [f"{i:03}" for i in range(60)]
    contents = [str(i // 3) for i in range(60)]  # three of each
    splits = draw_splits(names, contents, seed=seed)
    side = {name: split for split, own in splits.items() for name in own}
    assert len(side) == 60 and all(len(own) >= 9 for own in splits.values())
    for start in range(0, 60, 3):
        assert len({side[name] for name in names[start : start + 3]}) == 1
    assert draw_splits(names, contents, seed=seed) == splits
    assert draw_splits(names, contents, seed=seed + 1) != splits


def test_broken_pictures_are_not_taken_for_equal_ones() -> None:
    splits = draw_splits(["a", "b", "c"], ["", "", ""])
    assert sorted(map(len, splits.values())) == [1, 1, 1]


def test_each_class_is_on_every_side_where_it_can_be() -> None:
    names = [
        f"{kind}{i}" for kind, n in (("a", 40), ("b", 3), ("c", 2), ("d", 1)) for i in range(n)
    ]
    splits = draw_splits(names, names, [name[0] for name in names])
    kinds = {split: {name[0] for name in own} for split, own in splits.items()}
    assert kinds == {"train": set("abcd"), "val": set("ab"), "test": set("abc")}
    assert sum(name[0] == "a" for name in splits["test"]) == round(40 * 9 / 46)


def test_one_large_group_leaves_something_on_every_side() -> None:
    names = [f"{i:02}" for i in range(10)]
    splits = draw_splits(names, ["x"] * 8 + ["y", "z"])
    assert all(splits.values()) and len(splits["train"]) == 8
    twins = draw_splits([*"abcdef"], [*"112233"])
    assert sorted(map(len, twins.values())) == [2, 2, 2]


@pytest.mark.parametrize(("pictures", "size"), [(3, 1), (10, 2), (50, 10), (150, 20), (1000, 100)])
def test_small_sets_have_enough_to_measure_on(pictures: int, size: int) -> None:
    assert part_size(pictures) == size


def test_a_drawn_split_of_any_data_set_keeps_equal_pictures_together(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    album(folder / "Images", 30)
    shutil.move(folder / "Images" / "captions.txt", folder / "captions.txt")
    for i in range(15):
        shutil.copy(folder / "Images" / f"p{i:02}.png", folder / "Images" / f"p{i + 15:02}.png")
    side = {name: split for split, own in split_names(folder).items() for name in own}
    assert all(side[f"p{i:02}.png"] == side[f"p{i + 15:02}.png"] for i in range(15))
    assert "different sides" not in "".join(known_flaws(folder, read_captions(folder)[0], split_names(folder)))  # noqa: E501  # fmt: skip


# ---- a profile for it


def test_a_small_set_gets_a_batch_that_fits_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = make_data_set(album(tmp_path / "p", 50), progress=False)
    profile = profile_for(LAPTOP, made)
    assert (profile.batch_size, profile.data) == (15, str(made.resolve()))
    assert "30 pictures to train on: a batch has 15 pairs instead of 256" in capsys.readouterr().out
    assert profile.name == f"laptop-{made.name}"
    assert profile_for(replace(LAPTOP, batch_size=8), made).batch_size == 8
    assert capsys.readouterr().out == ""
    with pytest.raises(DataError, match="3 pictures to train on; the least is 4"):
        profile_for(QUICK, make_data_set(album(tmp_path / "five", 5), progress=False))


def test_folders_of_one_name_have_data_sets_of_their_own(tmp_path: Path) -> None:
    names = {data_set_name(tmp_path / side / "bil der") for side in "ab"}
    assert len(names) == 2 and all(name.startswith("bil-der-") for name in names)
    assert data_set_name(Path("/")).startswith("pictures-")
    assert data_set_name(tmp_path / "birds" / "Images").startswith("birds-")
    made = make_data_set(album(tmp_path / "p"), progress=False)
    assert data_set_name(made) == made.name and own_data(str(made)) == made


# ---- the page


def test_the_page_counts_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = album(tmp_path / "p", 30)
    shutil.copy(folder / "p00.png", folder / "p01.png")
    (folder / "p02.png").write_bytes(b"broken")
    picture(folder / "alone.png", 99)
    with open(folder / "captions.txt", "a") as file:
        file.write(f"p03.png,number 4 {'word ' * 60}\np05.png,picture 4\nnobody.png,x\n")
    report = report_on(folder, QUICK, progress=False)
    assert (report.pictures, report.captions) == (31, 60)
    assert report.captions_each == {2: 27, 3: 2}
    assert sum(report.splits.values()) == 29
    assert report.shorter_sides == (10, 10, 10)
    assert len(report.broken) == 1 and "p02.png" in report.broken[0]
    assert report.rows == ("captions.txt, line 64: there is no picture nobody.png.",)
    assert report.without_caption == ("alone.png",)
    assert report.equal_pictures == (("p00.png", "p01.png"),) and report.apart == 0
    assert report.equal_captions == 1
    assert report.caption_words == (2, 2, 62) and report.cut_captions == 1
    assert own_report.main([str(folder), "--profile", "quick"]) == 0
    said = capsys.readouterr().out
    assert str(report) in said
    for part in ("31, shorter side", "p00.png = p01.png", "alone.png", "--skip-bad", "log B"):
        assert part in said


def test_formats_that_are_not_read_are_named(tmp_path: Path) -> None:
    folder = album(tmp_path / "p")
    (folder / "IMG_1.HEIC").write_bytes(b"x")
    picture(folder / "browser.png", 50)
    (folder / "browser.png").rename(folder / "browser.jfif")
    report = report_on(folder, QUICK, progress=False)
    assert report.foreign == ("IMG_1.HEIC",) and report.without_caption == ("browser.jfif",)
    assert "among them IMG_1.HEIC. Export them as JPEG" in " ".join(str(report).split())
    assert "Export" not in str(report_on(album(tmp_path / "q"), QUICK, progress=False))


@pytest.mark.parametrize("kind", ["CMYK", "16 bits", "moving", "200 megapixels"])
def test_unusual_pictures_are_read_or_named(tmp_path: Path, kind: str) -> None:
    folder = album(tmp_path / "p", 4)
    odd = folder / "odd.tif"
    if kind == "CMYK":
        Image.new("CMYK", (9, 9), (0, 255, 0, 0)).save(odd)
    elif kind == "16 bits":
        Image.fromarray(np.full((9, 9), 40_000, np.uint16)).save(odd)
    elif kind == "moving":
        pages = [Image.new("RGB", (9, 9), colour) for colour in ("red", "blue")]
        pages[0].save(odd, save_all=True, append_images=pages[1:])
    else:
        Image.new("1", (20_000, 10_000)).save(odd, compression="group4")
    with open(folder / "captions.txt", "a") as file:
        file.write("odd.tif,odd\n")
    report = report_on(folder, QUICK, progress=False)
    if kind == "200 megapixels":
        assert len(report.broken) == 1 and "odd.tif" in report.broken[0]
        assert "200000000 pixels" in report.broken[0]
        return
    assert report.broken == () and report.captions == 9
    assert "odd.tif" in load_pairs(make_data_set(folder, progress=False), "all").images


def test_cut_tokens_are_those_behind_the_last_that_is_kept() -> None:
    told = (shipped_checkpoint() / "tokenizer.json").read_text(encoding="utf-8")
    short, long = load_tokenizer(told, 6), load_tokenizer(told, 100)
    sentences = ["a red boat", "a red boat and two blue cars in the rain, near a house"]
    lost = [max(0, len(ids) - 6) for ids in long.encode(sentences)]
    assert short.cut_off(sentences) == lost and lost[0] == 0 < lost[1]


def test_words_are_whole_in_pieces_or_unknown() -> None:
    told = (shipped_checkpoint() / "tokenizer.json").read_text(encoding="utf-8")
    found = vocabulary_of(["A boat, a boat!", "zebra 漢"], load_tokenizer(told, 40))
    assert found.words == 6
    assert (found.in_pieces, found.unknown) == (pytest.approx(1 / 6), pytest.approx(1 / 6))
    assert set(found.examples) == {"zebra", "漢"}


def test_the_floor_is_that_of_batches_as_training_draws_them(tmp_path: Path) -> None:
    folder = album(tmp_path / "p", 40)
    rows = ["image,caption", *(f"p{i:02}.png,{'ab'[i % 2]}" for i in range(40))]
    (folder / "captions.txt").write_text("\n".join(rows))
    pairs = load_pairs(make_data_set(folder, progress=False), "train")
    whole = floor_of(pairs, replace(QUICK, batch_size=12))
    count = sum(caption == "a" for caption in pairs.captions)
    assert len(pairs.captions) == 24
    expected = np.mean([  # of n with one caption among 12 drawn: hypergeometric
        sum(n * math.log(n) for n in (k, 12 - k) if n) / 12
        for k in np.random.default_rng(1).hypergeometric(count, 24 - count, 12, 4000)
    ])  # fmt: skip
    assert whole.equal_captions == pytest.approx(expected, abs=0.02)
    assert whole.log_b == math.log(12) and whole.classes == 0
    alone = floor_of(load_pairs(make_data_set(album(tmp_path / "q", 40), progress=False), "train"), QUICK)  # noqa: E501  # fmt: skip
    assert alone.equal_captions == 0 and alone.batch_size == 12
    few = replace(pairs, images=pairs.images[:3], captions=pairs.captions[:3], caption_image=np.arange(3))  # noqa: E501  # fmt: skip
    with pytest.raises(ValueError, match="3 pictures to train on; a floor needs 4"):
        own_measures.floor_of(few, QUICK)


def test_class_names_have_a_high_floor_and_the_page_says_what_to_do(tmp_path: Path) -> None:
    report = report_on(by_class(tmp_path / "p", cats=20, dogs=20), QUICK, progress=False)
    assert report.classes == {"cats": 20, "dogs": 20}
    floor = report.floor
    assert floor is not None and floor.equal_captions < floor.classes < floor.log_b
    assert floor.classes == pytest.approx(math.log(floor.batch_size / 2), abs=0.1)
    page = " ".join(str(report).split())
    assert f"stays at a loss of {floor.classes:.2f}" in page and "linear probe" in page
    assert "lesson 06" not in str(report_on(album(tmp_path / "q"), QUICK, progress=False))


def test_a_set_too_small_to_train_on_still_gets_its_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert own_report.main([str(album(tmp_path / "two", 2))]) == 1
    said = capsys.readouterr().out
    assert "No data set can be made yet: 2 different pictures" in said
    assert "Fewer than 4 pictures to train on" in said
    assert "Fewer than 4" in str(report_on(album(tmp_path / "four", 4), QUICK, progress=False))
    assert own_report.main([str(tmp_path / "none")]) == 1
    assert "There is no folder" in capsys.readouterr().err


def test_a_leak_in_a_split_that_came_along_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    album(folder / "Images")
    shutil.move(folder / "Images" / "captions.txt", folder / "captions.txt")
    shutil.copy(folder / "Images" / "p00.png", folder / "Images" / "p19.png")
    (folder / "splits").mkdir()
    lists = {"train": range(12), "val": range(12, 16), "test": range(16, 20)}
    for split, rows in lists.items():
        text = "".join(f"p{i:02}.png\n" for i in rows)
        (folder / "splits" / f"{split}.txt").write_text(text)
    report = report_on(folder, QUICK, progress=False)
    assert report.apart == 1 and "what was trained on is measured on" in " ".join(
        str(report).split()
    )
