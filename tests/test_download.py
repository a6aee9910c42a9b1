"""Flickr8k from an archive placed by hand or from the hub's mirror: whole or not there."""

import io
import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from hub_server import Hub, serve_hub
from kaggle_server import captions_txt, flickr8k_names, picture
from PIL import Image

from cliplib import config, data, download, flickr8k, kaggle
from cliplib.pictures import DataError

PICTURES = [f"{number}_photo.jpg" for number in range(6)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the photographs of a small stand-in for Flickr8k belong; nothing is there yet."""
    monkeypatch.setenv("CLIPLIB_DATA", str(tmp_path))
    monkeypatch.delenv("CLIPLIB_FLICKR8K", raising=False)
    monkeypatch.setattr(flickr8k, "CONTENTS", flickr8k.Contents(len(PICTURES), 5, 100, 100))
    monkeypatch.setattr(kaggle, "WAITS", ())
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "kagglehub"))
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
    flickr8k.unpack(make_archive(folder.parent / "flickr8k.zip"), folder, progress=False)
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


def test_an_archive_with_a_picture_that_cannot_be_opened_is_not_taken(folder: Path) -> None:
    archive = make_archive(folder.parent / "flickr8k.zip")
    with zipfile.ZipFile(archive) as opened:
        files = {name: opened.read(name) for name in opened.namelist()}
    files[f"Images/{PICTURES[2]}"] = files[f"Images/{PICTURES[2]}"][:100]
    with zipfile.ZipFile(archive, "w") as written:
        for name, content in files.items():
            written.writestr(name, content)
    with pytest.raises(DataError, match=f"(?s)1 pictures cannot be opened.*{PICTURES[2]}.*kept"):
        data.ensure("flickr8k", progress=False)
    assert left_in(folder) == ["flickr8k.zip"]


def test_a_full_disk_is_told_before_anything_is_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_archive(folder.parent / "flickr8k.zip")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(DataError, match=r"0\.0 GB are free.*CLIPLIB_DATA"):
        data.ensure("flickr8k", progress=False)
    assert left_in(folder) == ["flickr8k.zip"]


def test_a_disk_that_fills_up_is_told_and_leaves_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    make_archive(folder.parent / "flickr8k.zip")
    monkeypatch.setattr(zipfile.ZipFile, "extract", full)
    with pytest.raises(DataError, match=r"The disk of \S+ is full\. Make room.*Nothing was kept"):
        data.ensure("flickr8k", progress=False)
    assert left_in(folder) == ["flickr8k.zip"]


def test_without_an_archive_and_a_network_both_ways_are_named(folder: Path) -> None:
    with pytest.raises(DataError, match=r"(?s)cannot be reached.*flickr8k\.zip.*--from hub"):
        data.ensure("flickr8k", progress=False)


def test_a_wrong_path_starts_no_download(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kaggle, "download", lambda: pytest.fail("asked Kaggle"))
    monkeypatch.setenv("CLIPLIB_FLICKR8K", str(folder.parent / "typo"))
    with pytest.raises(DataError, match="typo is missing"):
        data.ensure("flickr8k", progress=False)


def test_the_places_are_named_with_what_is_there(folder: Path) -> None:
    assert list(download.places().values()) == [False, False, False, False]
    make_archive(folder.parent / "archive.zip")
    assert list(download.places().values()) == [False, True, False, False]
    data.ensure("flickr8k", progress=False)
    assert list(download.places().values()) == [True, True, False, False]


# ---- the mirror on the model hub


def mirror(names: list[str], width: int = 12, height: int = 9) -> dict[str, bytes]:
    """Its two files, by the path of their address, with pictures of noise."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for number, name in enumerate(names):
            archive.writestr(f"Images/{name}", picture(number, width, height))
            archive.writestr(f"__MACOSX/Images/._{name}", b"")
    base = f"/datasets/{download.MIRROR}/resolve/main"
    return {
        f"{base}/Images.zip": file.getvalue(),
        f"{base}/captions.txt": captions_txt(names).encode(),
    }


def from_hub(endpoint: str, home: Path) -> subprocess.CompletedProcess[str]:
    """The command, in a process of its own: the hub's client reads its variables when imported."""
    inherited = ("KAGGLE", "HF_", "CLIPLIB_")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(inherited)}
    environment |= {"HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": "0", "HF_HOME": str(home / "hub")}
    environment |= {"CLIPLIB_DATA": str(home / "data"), "KAGGLE_API_ENVIRONMENT": "LOCALHOST"}
    command = [sys.executable, "-m", "cliplib.data", "flickr8k", "--from", "hub"]
    return subprocess.run(
        command, cwd=config.COURSE, env=environment, capture_output=True, text=True, timeout=120
    )


def test_the_mirror_on_the_hub_gives_the_same_folder(tmp_path: Path) -> None:
    """All 8,091 pictures; the connection breaks off once."""
    with serve_hub(mirror(flickr8k_names(), 40, 30)) as hub:
        archive = next(path for path in hub.files if path.endswith(".zip"))
        hub.cuts = {archive: len(hub.files[archive]) - 1000}
        done = from_hub(hub.address, tmp_path)
    assert done.returncode == 0, done.stderr
    for part in (download.MIRROR, "2.2 GB", "8,091", "40,455", "train 6,000"):
        assert part in done.stdout
    first, then = got(hub, archive)
    assert first is None and int(then.removeprefix("bytes=").removesuffix("-")) >= 10_000_000
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["flickr8k"]
    assert sorted(path.name for path in (tmp_path / "data" / "flickr8k").iterdir()) == [
        "Images",
        "captions.txt",
    ]


def got(hub: Hub, path: str) -> list[str | None]:
    return [wanted for method, asked, wanted in hub.asked if (method, asked) == ("GET", path)]


def test_a_mirror_that_lacks_pictures_is_not_taken_and_not_kept(tmp_path: Path) -> None:
    with serve_hub(mirror(PICTURES)) as hub:
        done = from_hub(hub.address, tmp_path)
    assert done.returncode == 1
    assert "6 captioned pictures and 30 captions, expected 8,091 and 40,455" in done.stderr
    assert not list((tmp_path / "data").iterdir())


@pytest.mark.parametrize("online", [True, False])
def test_a_hub_that_has_it_not_is_a_sentence_within_seconds(tmp_path: Path, online: bool) -> None:
    with serve_hub({}) as hub:
        started = time.perf_counter()
        done = from_hub(hub.address if online else "http://127.0.0.1:9", tmp_path)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "cannot be had from the model hub" in done.stderr
    assert flickr8k.PAGE in done.stderr and str(tmp_path / "data" / "flickr8k.zip") in done.stderr
    assert time.perf_counter() - started < 20, "the hub's own client would go on asking"
