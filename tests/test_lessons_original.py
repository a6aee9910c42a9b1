"""All lessons but 00 in the `original` profile, from the download on: every cell runs.

Kaggle is a server on this computer with an archive of Flickr8k's names and layout, its pictures
noise; the two encoders are of the true classes, tiny, in a model hub's cache. So this says that the
code holds together, and nothing of how good the profile is.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from hub_cache import IMAGE_REPOSITORY, tiny_towers
from kaggle_server import Kaggle, flickr8k_names, flickr8k_zip, serve
from test_lessons_laptop import LESSONS, NOTEBOOKS, link_picture_book, run_copy

LESSONS_WITH_04B = [*LESSONS, NOTEBOOKS / "04_training_on_a_gpu.ipynb"]

# What the true encoders cannot be had for here: added to the set-up cell of the copy that runs.
TINY = f"""
from dataclasses import replace
profile = replace(profile, image_encoder="hf-hub:{IMAGE_REPOSITORY}", image_size=64)
profile = replace(profile, epochs=2, head_epochs=1)
"""


@pytest.fixture(scope="module")
def kaggle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kaggle]:
    """A Kaggle and a hub's cache of their own; a data folder that holds the picture book alone."""
    home, data = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("data")
    link_picture_book(data)
    tiny_towers(home)
    with serve(flickr8k_zip(flickr8k_names())) as server, pytest.MonkeyPatch.context() as patch:
        for name in ("CLIPLIB_FLICKR8K", "CLIPLIB_RUN", "HF_HUB_CACHE"):
            patch.delenv(name, raising=False)
        settings = {"CLIPLIB_DATA": str(data), "CLIPLIB_PROFILE": "original", "HF_HOME": str(home)}
        for name, value in (server.environment(home) | settings).items():
            patch.setenv(name, value)
        yield server


@pytest.mark.parametrize("lesson", LESSONS_WITH_04B, ids=lambda path: path.stem)
def test_every_cell_runs_in_the_original_profile(
    lesson: Path, kaggle: Kaggle, tmp_path: Path
) -> None:
    notebook = nbformat.read(lesson, as_version=4)
    setup = next(cell for cell in notebook.cells if cell.id == "setup")
    setup.source += TINY
    run_copy(notebook, tmp_path / lesson.name)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code)
    printed = "".join(output.get("text", "") for cell in code for output in cell.outputs)
    assert "profile original, flickr8k" in printed
    assert len(kaggle.calls("DownloadDataset")) <= 1, "one lesson brings it, the next find it"


def test_the_photographs_came_from_kaggle_once(kaggle: Kaggle) -> None:
    assert len(kaggle.calls("DownloadDataset")) == 1
