"""A room's shared data: one picture book for all, which nobody may write, linked to by each."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cliplib.config import COURSE
from cliplib.data import ensure

# An administrator may write anywhere: without these rights even root meets what a learner meets.
RIGHTS = "-dac_override,-dac_read_search,-fowner"
LEARNER = ("setpriv", f"--bounding-set={RIGHTS}", f"--inh-caps={RIGHTS}")


def as_a_learner() -> tuple[str, ...]:
    """What to put before a command so that read-only means read-only."""
    return () if os.name == "nt" or os.geteuid() else LEARNER


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A read-only copy of the picture book."""
    if os.name == "nt" or (as_a_learner() and not shutil.which("setpriv")):
        pytest.skip("Whoever runs this may write anywhere, so nothing can be shown.")
    book = tmp_path_factory.mktemp("room") / "picturebook"
    shutil.copytree(ensure("picturebook", progress=False), book)
    folders = [book, *(path for path in book.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    yield book
    for folder in folders:
        folder.chmod(0o755)


def run(own: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*as_a_learner(), sys.executable, *arguments], cwd=COURSE, capture_output=True, text=True,
        env=os.environ | {"CLIPLIB_DATA": str(own)},
    )  # fmt: skip


def test_one_read_only_book_serves_everyone(shared: Path, tmp_path: Path) -> None:
    tried = run(tmp_path, "-c", f"open({str(shared / 'Images' / 'mine')!r}, 'w')")
    assert "PermissionError" in tried.stderr, "else the test shows nothing"
    (tmp_path / "picturebook").symlink_to(shared, target_is_directory=True)
    searched = run(tmp_path, "-m", "cliplib.search", "a red boat at night")
    assert searched.returncode == 0, searched.stderr
    assert (tmp_path / "answers.png").is_file() and (tmp_path / "index").is_dir()
    trained = run(tmp_path, "-m", "cliplib.train", "--epochs", "1", "--no-test")
    assert trained.returncode == 0, trained.stderr
    assert (tmp_path / "runs" / "quick" / "model.safetensors").is_file()
    assert (tmp_path / "picturebook").is_symlink()
