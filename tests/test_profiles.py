"""What the profiles promise, measured again: long, and on validation data only."""

import json
import os
from pathlib import Path

import pandas as pd
import pytest
from test_picturebook import PIXELS

from cliplib import search
from cliplib.checkpoint import HISTORY, METRICS, load_run
from cliplib.config import LAPTOP, QUICK, data_folder, shipped_checkpoint
from cliplib.data import ensure, load_pairs
from cliplib.evaluate import embed_split, measure_split, measure_threshold, prepare_split
from cliplib.picturebook import book_hash
from cliplib.train import train

SPREAD = 0.03  # recall moves by less than this from seed to seed

HAS_PHOTOGRAPHS = (data_folder("flickr8k") / "captions.txt").exists()
HUB = Path(os.environ.get("HF_HOME", "")) / "hub"
HAS_ENCODERS = (HUB / f"models--timm--{LAPTOP.image_encoder}").exists()


@pytest.fixture(scope="module")
def shipped() -> dict:
    return json.loads((shipped_checkpoint() / METRICS).read_text())


@pytest.fixture(scope="module")
def retrained(tmp_path_factory: pytest.TempPathFactory) -> dict:
    return train(QUICK, tmp_path_factory.mktemp("quick"), test=False, progress=False)


def test_the_shipped_checkpoint_is_small_and_has_what_it_needs() -> None:
    files = {path.name: path.stat().st_size for path in shipped_checkpoint().iterdir()}
    expected = {"model.safetensors", "profile.json", "tokenizer.json", HISTORY, METRICS}
    assert set(files) == expected
    assert sum(files.values()) <= 3_000_000


def test_the_shipped_checkpoint_gives_the_recall_that_stands_beside_it(shipped: dict) -> None:
    run = load_run(shipped_checkpoint())
    assert run.profile == QUICK
    val = prepare_split(
        run.profile, run.model, run.tokenizer, ensure("picturebook"), "val", progress=False
    )
    measured = measure_split(run.model, val)
    for name in ("t2i_r1", "t2i_r10", "i2t_r1", "first_answer_true"):
        assert measured[name] == pytest.approx(shipped[f"val_{name}"], abs=0.003), name
    for name, value in measure_threshold(*embed_split(run.model, val), val.pairs).items():
        assert value == pytest.approx(shipped[name], abs=0.003), name


@pytest.mark.parametrize(
    ("words", "refused"),
    [
        ("a red boat at night", False),
        ("a cat in the snow", False),
        ("a house", False),
        ("a guitar", True),
        ("a train at the station", True),
        ("hello world", True),
    ],
)
def test_the_shipped_checkpoint_answers_what_is_there_and_refuses_the_rest(
    words: str, refused: bool
) -> None:
    run = load_run(shipped_checkpoint())
    index = search.build_index(run, load_pairs(ensure("picturebook"), "test").paths(), False)
    answers = search.by_words(run, index, words, 1)
    assert search.nothing_matches(run, answers).startswith("Nothing here") == refused


def test_training_again_with_the_same_seed_gives_the_same_recall(
    shipped: dict, retrained: dict
) -> None:
    assert shipped["picturebook"] in PIXELS.values()
    assert retrained["picturebook"] == book_hash()  # another Pillow draws other pixels
    for name in ("val_t2i_r1", "val_t2i_r10", "val_i2t_r1", "val_first_answer_true"):
        assert retrained[name] == pytest.approx(shipped[name], abs=SPREAD), name


def test_quick_reaches_its_share_of_the_ceiling(retrained: dict) -> None:
    assert retrained["val_t2i_r1_ceiling"] >= 0.55
    assert retrained["val_t2i_r10_ceiling"] >= 0.95
    assert retrained["val_t2i_r1_of_ceiling"] >= 0.75
    assert retrained["val_t2i_r10_of_ceiling"] >= 0.90
    assert retrained["val_first_answer_true"] >= 0.70


@pytest.mark.skipif(not HAS_PHOTOGRAPHS, reason="CLIPLIB_FLICKR8K does not name the photographs")
@pytest.mark.skipif(not HAS_ENCODERS, reason="HF_HOME has no cache with the laptop encoders")
def test_laptop_reaches_its_recall_on_real_photographs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIPLIB_DATA", str(tmp_path))
    metrics = train(LAPTOP, tmp_path / "run", test=False, progress=False)
    assert (metrics["val_gallery_images"], metrics["val_gallery_captions"]) == (1000, 5000)
    assert all(len(metrics[f"{tower}_encoder_sha256"]) == 64 for tower in ("image", "text"))
    assert metrics["val_t2i_r1"] >= 0.21 and metrics["val_t2i_r10"] >= 0.62
    assert metrics["val_i2t_r1"] >= 0.26 and metrics["val_i2t_r10"] >= 0.66
    history = pd.read_csv(tmp_path / "run" / HISTORY)
    assert history["loss"].iloc[-1] < 0.5 * history["log_b"].iloc[-1]
