"""The README's film and still: a tiny training before the camera, on a small drawn book."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cliplib import film, picturebook, train
from cliplib.checkpoint import Run, load_run
from cliplib.config import COURSE, QUICK

TINY = replace(QUICK, image_size=32, text_width=64, embed_dim=32, epochs=2, batch_size=16)


@pytest.fixture(scope="module")
def filmed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Run, list[Image.Image]]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPLIB_DATA", str(tmp_path_factory.mktemp("data")))
        sizes = {"train": 64, "val": 16, "test": 16, "unseen": 8}
        patch.setattr(picturebook, "SPLIT_SIZES", sizes)
        yield film.film(TINY, frames=4, progress=False)


def test_a_frame_for_each_chosen_step_the_untrained_model_first(filmed: tuple) -> None:
    assert film.chosen_steps(8, 4) == {0, 1, 4, 8}
    _, frames = filmed
    assert len(frames) == 4
    assert all(np.any(np.asarray(a) != b) for a, b in itertools.pairwise(frames))


def test_the_film_repeats_and_rests_on_its_last_frame(filmed: tuple, tmp_path: Path) -> None:
    film.save_film(tmp_path / "a.gif", filmed[1])
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.n_frames == 4 and gif.info["loop"] == 0
        gif.seek(3)
        assert gif.info["duration"] == film.LAST_FRAME_MS
        shown = np.asarray(gif.convert("RGB"), float)
    assert np.abs(shown - np.asarray(filmed[1][3], float)).mean() < 6  # of 255: few colours


def test_the_camera_changes_nothing_in_the_training(filmed: tuple, tmp_path: Path) -> None:
    train.train(TINY, tmp_path / "run", test=False, progress=False)
    weights = load_run(tmp_path / "run").model.state_dict()
    filmed_weights = filmed[0].model.state_dict()
    assert all(torch.equal(tensor, filmed_weights[name]) for name, tensor in weights.items())


def test_the_still_has_a_row_for_each_query(filmed: tuple, tmp_path: Path) -> None:
    run, _ = filmed
    said = film.save_answers(tmp_path / "a.png", run, ["a boat", "a cat"], top=3)
    assert "2 queries" in said
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.width > 200


def test_the_readmes_pictures_are_there_and_small() -> None:
    files = [COURSE / "data" / "readme" / name for name in ("diagonal.gif", "answers.png")]
    assert sum(file.stat().st_size for file in files) < 2_000_000
    readme = (COURSE / "README.md").read_text(encoding="utf-8")
    assert all(f"](data/readme/{file.name})" in readme for file in files)
    with Image.open(files[0]) as gif:
        assert gif.n_frames >= film.FRAMES - 8  # two chosen steps can be one
