"""Flickr8k from Kaggle: its own library, run against a stand-in on this computer."""

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import requests
from kaggle_server import Kaggle, flickr8k_names, flickr8k_zip, serve

from cliplib import config, data, download, flickr8k, kaggle
from cliplib.pictures import DataError

NAMES = flickr8k_names()[:8]
MIB = 1 << 20


@pytest.fixture(scope="module")
def small_archive() -> bytes:
    """Eight pictures, some MiB: a download that can be cut in the middle."""
    return flickr8k_zip(NAMES, 1000, 800)


@pytest.fixture
def server(
    small_archive: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Kaggle]:
    """Kaggle's stand-in with a small Flickr8k; nothing was downloaded yet, without an account."""
    small = flickr8k.Contents(len(NAMES), 5, len(small_archive), len(small_archive))
    monkeypatch.setattr(flickr8k, "CONTENTS", small)
    monkeypatch.setattr(kaggle, "COURSE", tmp_path / "course")
    monkeypatch.setattr(kaggle, "WAITS", (0.05, 0.05))
    for name in [name for name in os.environ if name.startswith(("KAGGLE", "TBE_"))]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("CLIPLIB_FLICKR8K", raising=False)
    monkeypatch.setenv("CLIPLIB_DATA", str(tmp_path / "data"))
    (tmp_path / "course").mkdir()
    with serve(small_archive) as running:
        for name, value in running.environment(tmp_path).items():
            monkeypatch.setenv(name, value)
        yield running


def ensure() -> Path:
    return data.ensure("flickr8k", progress=False)


def cache(home: Path) -> Path:
    return home / "kagglehub" / "datasets" / "adityajn105" / "flickr8k"


# ---- what comes


def test_a_download_is_checked_and_found_again_without_a_network(
    server: Kaggle, tmp_path: Path
) -> None:
    folder = ensure()
    assert folder == cache(tmp_path) / "versions" / "1"
    assert len(data.list_images(folder)) == len(NAMES)
    assert [asked.call for asked in server.asked] == ["DownloadDataset", "GET"]
    assert server.asked[0].authorization is None
    assert ensure() == config.data_folder("flickr8k") == folder
    assert len(server.asked) == 2, "it was there already"
    assert not (tmp_path / "data" / "flickr8k").exists()
    assert not (cache(tmp_path) / "1.archive").exists()


def test_what_the_library_has_kept_is_taken_without_a_network(
    server: Kaggle, small_archive: bytes, tmp_path: Path
) -> None:
    """As when a teacher hands its cache round on a stick."""
    (tmp_path / "data").mkdir()
    (tmp_path / "stick.zip").write_bytes(small_archive)
    flickr8k.unpack(tmp_path / "stick.zip", cache(tmp_path) / "versions" / "1", progress=False)
    (cache(tmp_path) / "1.complete").touch()
    assert download.places()["the cache of Kaggle's library"]
    assert ensure() == cache(tmp_path) / "versions" / "1"
    assert not server.asked


def test_what_was_half_unpacked_is_not_taken(server: Kaggle, tmp_path: Path) -> None:
    """As when the power fails: Kaggle's library sets its mark last."""
    (cache(tmp_path) / "versions" / "1" / "Images").mkdir(parents=True)
    (cache(tmp_path) / "versions" / "1" / "captions.txt").write_text("image,caption\n")
    assert not download.places()["the cache of Kaggle's library"]
    assert len(data.list_images(ensure())) == len(NAMES)


def test_a_check_is_made_once_and_again_when_something_changed(
    server: Kaggle, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = []
    check = flickr8k.check_pictures
    monkeypatch.setattr(
        flickr8k, "check_pictures", lambda *a, **k: checked.append(1) or check(*a, **k)
    )
    folder = ensure()
    ensure()
    assert checked == [1]
    whole = (folder / "Images" / NAMES[3]).read_bytes()
    (folder / "Images" / NAMES[3]).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=f"(?s)1 pictures cannot be opened.*{NAMES[3]}.*Remove"):
        ensure()
    shutil.rmtree(folder)  # as the sentence says
    assert ensure() == folder
    assert len(server.calls("GET")) == 2


@pytest.mark.parametrize("fault", ["no caption", "no picture", "six and four", "one row too many"])
def test_what_is_not_complete_is_not_taken(server: Kaggle, fault: str) -> None:
    folder = ensure()
    lines = (folder / "captions.txt").read_text().splitlines()
    if fault == "no picture":
        (folder / "Images" / NAMES[0]).unlink()
    elif fault == "no caption":
        lines.pop()
    elif fault == "six and four":
        lines[-1] = lines[-1].replace(NAMES[-1], NAMES[0])
    else:
        lines.append("nowhere.jpg,A dog")
    (folder / "captions.txt").write_text("\n".join(lines))
    with pytest.raises(DataError, match=r"expected 8 and 40, 5 each\. The first fault: \S+"):
        ensure()


# ---- what goes wrong on the way


def test_a_cut_download_goes_on_where_it_stopped(server: Kaggle, small_archive: bytes) -> None:
    size = len(small_archive)
    assert size > 4 * MIB
    server.cuts = {1: MIB + 1000, 3: MIB + 1000, 5: MIB + 1000}
    assert len(server.cuts) > len(kaggle.WAITS), "a try that brings something is none in vain"
    folder = ensure()
    assert len(data.list_images(folder)) == len(NAMES)
    ranges = [asked.range for asked in server.calls("GET") if asked.range]
    kept = [f"bytes={MIB}-", f"bytes={2 * MIB}-", f"bytes={3 * MIB}-"]
    assert ranges == kept, "whole MiB are kept, and none comes twice"


def test_a_download_that_keeps_breaking_off_goes_on_in_the_next_call(
    server: Kaggle, tmp_path: Path
) -> None:
    server.cuts = {1: MIB + 1000, 3: 10, 5: 10, 7: 10}
    with pytest.raises(DataError, match=r"broke off.*What came is kept.*Two ways out.*--from hub"):
        ensure()
    assert (cache(tmp_path) / "1.archive").stat().st_size == MIB
    assert not (cache(tmp_path) / "1.complete").exists()
    assert len(data.list_images(ensure())) == len(NAMES)
    assert server.calls("GET")[-1].range == f"bytes={MIB}-"


def test_a_wrong_checksum_is_told_and_the_download_starts_anew_once(
    server: Kaggle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.checksum = "AAAAAAAAAAAAAAAAAAAAAA=="
    with pytest.raises(DataError, match=r"not Flickr8k's archive, twice.*Nothing of it was kept"):
        ensure()
    assert len(server.calls("DownloadDataset")) == 2
    assert "checksum is wrong. The download starts anew" in capsys.readouterr().out
    assert not (cache(tmp_path) / "1.archive").exists()
    server.checksum = None
    assert len(data.list_images(ensure())) == len(NAMES)


def test_a_page_in_place_of_the_archive_is_told_and_not_kept(
    server: Kaggle, tmp_path: Path, small_archive: bytes
) -> None:
    server.archive = b"<html>Please sign in to the Wi-Fi of this hotel.</html>"
    with pytest.raises(DataError, match=r"Does this network want you to sign in first"):
        ensure()
    assert not (cache(tmp_path) / "1.archive").exists()
    server.archive = small_archive
    assert len(data.list_images(ensure())) == len(NAMES)


@pytest.mark.parametrize(
    ("status", "said", "tries"),
    [
        (401, r"refuses Flickr8k \(status 401\)\. It wants an account", 1),
        (403, r"refuses Flickr8k \(status 403\)\. It wants an account", 1),
        (404, r"has no adityajn105/flickr8k/versions/1 \(status 404\)", 1),
        (429, r"status 429", 3),
        (503, r"status 503", 3),
    ],
)
def test_a_refusal_is_a_sentence_with_both_ways_out(
    server: Kaggle, tmp_path: Path, status: int, said: str, tries: int
) -> None:
    server.status = status
    with pytest.raises(DataError, match=said) as raised:
        ensure()
    assert str(tmp_path / "data" / "flickr8k.zip") in str(raised.value)
    assert "python -m cliplib.data flickr8k --from hub" in str(raised.value)
    assert len(server.calls("DownloadDataset")) == tries


def test_a_server_that_never_answers_is_given_up(
    server: Kaggle, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.silent = True
    monkeypatch.setattr(kaggle, "TIMEOUT", (0.2, 0.2))
    send = requests.Session.send
    with pytest.raises(DataError, match=r"cannot be reached.*ReadTimeout.*Two ways out"):
        ensure()
    assert len(server.calls("DownloadDataset")) == 3
    assert requests.Session.send is send, "the limit ends with the download"


def test_without_a_network_it_is_told_at_once(
    server: Kaggle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # nobody listens there
    with pytest.raises(DataError, match=r"cannot be reached.*Is this computer online"):
        ensure()


def test_the_pauses_are_short() -> None:
    assert sum(kaggle.WAITS) + kaggle.TIMEOUT[0] * (len(kaggle.WAITS) + 1) <= 20


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_disk_that_fills_up_is_told(server: Kaggle, tmp_path: Path) -> None:
    cache(tmp_path).mkdir(parents=True)
    (cache(tmp_path) / "1.archive").symlink_to("/dev/full")
    with pytest.raises(DataError, match=r"The disk of \S+ is full.*KAGGLEHUB_CACHE.*Two ways out"):
        ensure()
    assert kaggle.cached() is None
    (cache(tmp_path) / "1.archive").unlink()
    assert len(data.list_images(ensure())) == len(NAMES)


def test_a_full_disk_is_told_before_anything_is_asked(
    server: Kaggle, monkeypatch: pytest.MonkeyPatch
) -> None:
    gigabyte = 1_000_000_000
    large = replace(flickr8k.CONTENTS, archive=2 * gigabyte, files=3 * gigabyte)
    monkeypatch.setattr(flickr8k, "CONTENTS", large)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=gigabyte))
    said = r"2\.0 GB archive, 3\.0 GB files\) takes 5\.0 GB, and 1\.0 GB are free.*KAGGLEHUB_CACHE"
    with pytest.raises(DataError, match=said):
        ensure()
    assert not server.asked


def test_errors_of_the_disk_have_their_sentence() -> None:
    assert "is full" in flickr8k.disk_fault(OSError(errno.ENOSPC, "x"), Path("there"))
    assert "yours to write" in flickr8k.disk_fault(PermissionError(13, "no"), Path("there"))


# ---- accounts


@pytest.mark.parametrize("content", ["{", "[]", "5", '{"username": "me"}', '{"key": "k"}', "\xff"])
@pytest.mark.parametrize("place", ["course", ".kaggle", "named"])
def test_a_broken_kaggle_json_is_named_with_what_to_do(
    server: Kaggle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, content: str
) -> None:
    file = tmp_path / place / "kaggle.json"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content.encode("latin-1"))
    if place == "named":
        monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(file.parent))
        monkeypatch.setattr("kagglehub.config.DEFAULT_KAGGLE_CREDENTIALS_FOLDER", "/nowhere")
    if place == ".kaggle":  # the library fixed its folder when it was imported
        monkeypatch.setattr("kagglehub.config.DEFAULT_KAGGLE_CREDENTIALS_FOLDER", file.parent)
    with pytest.raises(DataError) as raised:
        ensure()
    for part in (str(file), "Mend it", "Or remove it", "need no account", "flickr8k.zip"):
        assert part in str(raised.value)
    assert not server.asked
    file.unlink()
    assert ensure().is_dir()


def test_a_kaggle_json_in_the_course_is_used_and_named_when_it_is_refused(
    server: Kaggle, tmp_path: Path
) -> None:
    file = tmp_path / "course" / "kaggle.json"
    file.write_text(json.dumps({"username": "me", "key": "k"}))
    server.status = 401
    with pytest.raises(DataError, match=f"It was asked with {file}: mend or remove it"):
        ensure()
    assert server.asked[0].authorization == "Basic bWU6aw=="  # me:k
    assert "KAGGLE_CONFIG_DIR" not in os.environ


def test_accounts_are_used_in_the_stated_order(
    server: Kaggle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is laid beside those that come after it; what is said and what is sent agree."""
    course = tmp_path / "course" / "kaggle.json"
    token = tmp_path / ".kaggle" / "access_token"
    token.parent.mkdir()
    server.status = 403
    steps = [
        (lambda: course.write_text('{"username": "file", "key": "k"}'), str(course), "Basic"),
        (lambda: monkeypatch.setenv("KAGGLE_USERNAME", "me"), str(course), "Basic"),
        (lambda: monkeypatch.setenv("KAGGLE_KEY", "k"), "KAGGLE_USERNAME and KAGGLE_KEY", "Basic"),
        (lambda: token.write_text("t1"), str(token), "Bearer t1"),
        (lambda: monkeypatch.setenv("KAGGLE_API_TOKEN", "t2"), "KAGGLE_API_TOKEN", "Bearer t2"),
    ]
    assert kaggle.account() == ""
    sent = []
    for lay, said, header in steps:
        lay()
        with pytest.raises(DataError, match=f"asked with (the variables? )?{said}"):
            ensure()
        sent.append(server.asked[-1].authorization)
        assert sent[-1].startswith(header)
    assert len(set(sent)) == 4, "the second step changed nothing, the others did"


# ---- mounts


def contents(folder: Path) -> list[tuple[str, int]]:
    return sorted((str(path), path.stat().st_mtime_ns) for path in folder.rglob("*"))


@pytest.fixture
def mount(tmp_path: Path, small_archive: bytes) -> Iterator[Path]:
    """A read-only folder of inputs with Flickr8k in it."""
    (tmp_path / "mounted.zip").write_bytes(small_archive)
    folder = tmp_path / "input" / "flickr8k"
    small = flickr8k.Contents(len(NAMES), 5, 0, 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flickr8k, "CONTENTS", small)
        flickr8k.unpack(tmp_path / "mounted.zip", folder, progress=False)
    parts = [folder.parent, *folder.parent.rglob("*")]
    for part in parts:
        part.chmod(0o555 if part.is_dir() else 0o444)
    yield folder
    for part in parts:
        part.chmod(0o755)


@pytest.mark.parametrize("asks", [False, True])
def test_a_kaggle_notebook_uses_its_mount_and_leaves_it_alone(
    server: Kaggle, mount: Path, monkeypatch: pytest.MonkeyPatch, asks: bool
) -> None:
    """Found where Kaggle mounts it; else the library asks Kaggle to mount it."""
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Interactive")
    monkeypatch.setenv("KAGGLE_CACHE_MOUNT_FOLDER", str(mount.parent))
    if asks:
        monkeypatch.setenv("KAGGLE_DATA_PROXY_URL", f"http://127.0.0.1:{server.port}")
        monkeypatch.setenv("KAGGLE_USER_SECRETS_TOKEN", "x")
        monkeypatch.setenv("KAGGLE_DATA_PROXY_TOKEN", "x")
        monkeypatch.setattr(kaggle, "mounted", lambda: None)
        server.mount = "flickr8k"
    assert_used_in_place(mount)
    assert [a.call for a in server.asked] == ["AttachDatasourceUsingJwtRequest"] * asks


def test_colab_uses_its_mount_and_leaves_it_alone(
    server: Kaggle, mount: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TBE_RUNTIME_ADDR", f"127.0.0.1:{server.port}")
    monkeypatch.setenv("COLAB_CACHE_MOUNT_FOLDER", str(mount.parent))
    server.mount = "flickr8k"
    assert_used_in_place(mount)
    assert [asked.call for asked in server.asked] == ["is_supported", "mount"]


def assert_used_in_place(mount: Path) -> None:
    before = contents(mount.parent)
    assert ensure() == mount
    assert data.load_pairs(config.data_folder("flickr8k"), "all").folder == mount
    with pytest.warns(UserWarning, match="8 of the 8,000 pictures"):
        text, sound = data.report(ensure(), progress=False)
    assert sound and text.startswith(str(mount))
    assert contents(mount.parent) == before


def test_a_mount_that_is_gone_is_looked_for_anew(
    server: Kaggle, mount: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Interactive")
    monkeypatch.setenv("KAGGLE_CACHE_MOUNT_FOLDER", str(mount.parent))
    assert ensure() == mount
    monkeypatch.delenv("KAGGLE_KERNEL_RUN_TYPE")
    mount.parent.chmod(0o755)
    mount.rename(mount.with_name("elsewhere"))
    assert config.data_folder("flickr8k") == tmp_path / "data" / "flickr8k"
    assert ensure() == cache(tmp_path) / "versions" / "1"
    mount.with_name("elsewhere").rename(mount)


def test_an_unreadable_note_of_where_it_was_is_no_fault(server: Kaggle, tmp_path: Path) -> None:
    folder = ensure()
    (tmp_path / "data" / "flickr8k.json").write_text("{")
    assert ensure() == folder


# ---- the command, with all 8,091 pictures


def test_the_command_downloads_checks_and_reports(tmp_path: Path) -> None:
    inherited = ("KAGGLE", "TBE_", "CLIPLIB_", "HTTP_PROXY")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(inherited)}
    command = [sys.executable, "-m", "cliplib.data", "flickr8k"]
    with serve(flickr8k_zip(flickr8k_names())) as running:
        environment |= running.environment(tmp_path) | {"CLIPLIB_DATA": str(tmp_path / "data")}
        first, again = (
            subprocess.run(command, cwd=config.COURSE, env=environment, capture_output=True,
                           text=True) for _ in range(2)
        )  # fmt: skip
        assert len(running.asked) == 2, "the second call asks nobody"
    assert first.returncode == again.returncode == 0, first.stderr
    assert "1.1 GB archive, 1.1 GB files" in first.stdout and "account" not in again.stdout
    for part in (
        "8,091",
        "40,455",
        "train 6,000, val 1,000, test 1,000",
        "91 pictures stand in no",
    ):
        assert part in again.stdout
