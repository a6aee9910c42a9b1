"""Flickr8k from an archive placed by hand: whole or not there, each fault a sentence."""

import shutil
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from cliplib import data, download
from cliplib.pictures import DataError

PICTURES = [f"{number}_photo.jpg" for number in range(6)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the photographs of a small stand-in for Flickr8k belong; nothing is there yet."""
    monkeypatch.setenv("CLIPLIB_DATA", str(tmp_path))
    monkeypatch.delenv("CLIPLIB_FLICKR8K", raising=False)
    monkeypatch.setattr(download, "PICTURES", len(PICTURES))
    monkeypatch.setattr(download, "CAPTIONS", 5 * len(PICTURES))
    return tmp_path / "flickr8k"


def make_archive(path: Path, inside: str = "", pictures: int = len(PICTURES)) -> Path:
    rows = [f"{name},A dog {turn} ." for name in PICTURES[:pictures] for turn in range(5)]
    picture = path.with_suffix(".jpg")
    Image.new("RGB", (8, 8), "blue").save(picture)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{inside}captions.txt", "\n".join(["image,caption", *rows]))
        for name in PICTURES[:pictures]:
            archive.write(picture, f"{inside}Images/{name}")
    picture.unlink()
    return path


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.parent.iterdir())


@pytest.mark.parametrize("name", download.ARCHIVES)
@pytest.mark.parametrize("inside", ["", "flickr8k/"])
def test_an_archive_beside_the_folder_is_unpacked(folder: Path, name: str, inside: str) -> None:
    make_archive(folder.parent / name, inside)
    assert data.ensure("flickr8k", progress=False) == folder
    assert len(data.list_images(folder)) == len(PICTURES)
    assert left_in(folder) == sorted([name, "flickr8k"])


def test_photographs_that_are_there_are_left_alone(folder: Path) -> None:
    download.unpack(make_archive(folder.parent / "flickr8k.zip"), folder, progress=False)
    (folder.parent / "flickr8k.zip").write_bytes(b"no archive")
    assert data.ensure("flickr8k", progress=False) == folder


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
def test_an_archive_that_is_cut_off_leaves_nothing(folder: Path, kept: float) -> None:
    archive = make_archive(folder.parent / "flickr8k.zip")
    whole = archive.read_bytes()
    archive.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(DataError, match=r"damaged, cut off or no zip.*Download it again"):
        data.ensure("flickr8k", progress=False)
    assert left_in(folder) == ["flickr8k.zip"]


def test_a_flipped_byte_is_noticed(folder: Path) -> None:
    archive = make_archive(folder.parent / "flickr8k.zip")
    content = bytearray(archive.read_bytes())
    content[content.index(b"A dog 3")] ^= 1
    archive.write_bytes(content)
    with pytest.raises(DataError, match="CRC"):
        data.ensure("flickr8k", progress=False)
    assert left_in(folder) == ["flickr8k.zip"]


def test_an_archive_that_lacks_pictures_is_not_taken(folder: Path) -> None:
    make_archive(folder.parent / "archive.zip", pictures=5)
    with pytest.raises(DataError, match="5 captioned pictures and 25 captions, expected 6 and 30"):
        data.ensure("flickr8k", progress=False)
    assert left_in(folder) == ["archive.zip"]


def test_a_foreign_archive_is_named(folder: Path) -> None:
    with zipfile.ZipFile(folder.parent / "archive.zip", "w") as archive:
        archive.writestr("other.txt", "nothing")
    with pytest.raises(DataError, match=r"holds 0 files captions\.txt.*adityajn105/flickr8k"):
        data.ensure("flickr8k", progress=False)


def test_a_full_disk_is_told_before_anything_is_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_archive(folder.parent / "flickr8k.zip")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(DataError, match=r"0\.0 GB are free.*CLIPLIB_DATA"):
        data.ensure("flickr8k", progress=False)
    assert left_in(folder) == ["flickr8k.zip"]


def test_without_an_archive_both_ways_are_named(folder: Path) -> None:
    with pytest.raises(DataError, match=r"(?s)CLIPLIB_FLICKR8K.*flickr8k\.zip"):
        data.ensure("flickr8k", progress=False)
