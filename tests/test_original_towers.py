"""The `original` profile's towers without the hub: tiny ones behind their names, and full-size."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hub_cache import COMMIT, full_size_towers, tiny_towers
from PIL import Image

from cliplib import picturebook
from cliplib.config import COURSE, ORIGINAL, Profile
from cliplib.encoders import hub_tokenizer
from cliplib.model import build_clip
from cliplib.pictures import ImageTransform
from cliplib.train import train

SENTENCE = " ".join(["A dog runs on the beach."] * 60)
GIB = 2**30
VIT_WITH_HEAD = 86_567_656  # as its model card says
BERT_BASE = 109_482_240
AS_THE_VIT_WANTS = ImageTransform(224, 0.9, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bicubic")


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Profile:
    """The original profile with tiny towers in a cache of this test's own."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tiny_towers(tmp_path)


def test_tiny_towers_stand_behind_the_originals_names(tiny: Profile) -> None:
    model = build_clip(tiny)
    assert type(model.image_encoder.network).__name__ == "VisionTransformer"
    assert type(model.text_encoder.network).__name__ == "BertModel"
    assert (model.image_encoder.width, model.text_encoder.width) == (64, 32)
    wanted = model.image_encoder.transform(ORIGINAL.image_size, ORIGINAL.image_crop)
    assert wanted == AS_THE_VIT_WANTS
    logits = build_clip(replace(tiny, image_output="logits"))
    pictures = torch.randn(2, 3, 224, 224)
    with torch.inference_mode():
        assert model.image_encoder.eval()(pictures).shape == (2, 64)
        assert logits.image_encoder.eval()(pictures).shape == (2, 1000)
    tokenizer = hub_tokenizer(tiny.text_encoder, tiny.max_tokens, tiny.text_revision)
    assert len(tokenizer.encode([SENTENCE])[0]) == 128
    assert tokenizer.tokens("A DOG")[1:3] == ["a", "dog"]


def test_another_size_than_the_vits_own(tiny: Profile) -> None:
    encoder = build_clip(replace(tiny, image_size=64)).image_encoder
    assert encoder(torch.randn(2, 3, 64, 64)).shape == (2, 64)


def test_a_whole_run_of_the_tiny_towers_names_their_weights(
    tiny: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIPLIB_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(picturebook, "SPLIT_SIZES", {"train": 16, "val": 8, "test": 8, "unseen": 8})
    profile = replace(
        tiny, data="picturebook", batch_size=8, epochs=1, head_epochs=0, image_revision=COMMIT
    )
    metrics = train(profile, tmp_path / "run", test=False, progress=False)
    assert metrics["image_encoder_revision"] == metrics["text_encoder_revision"] == COMMIT
    assert len(metrics["image_encoder_sha256"]) == len(metrics["text_encoder_sha256"]) == 64


@pytest.fixture
def six_pairs(tmp_path: Path) -> Path:
    """Four pictures to train on, one batch an epoch, and one each to validate and to test."""
    folder = tmp_path / "pairs"
    (folder / "Images").mkdir(parents=True)
    (folder / "splits").mkdir()
    noise = np.random.default_rng(0)
    names = [f"{number}.png" for number in range(6)]
    for name in names:
        pixels = noise.integers(0, 256, (256, 300, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "Images" / name)
    rows = [f"{name},A dog runs on beach number {name[0]}." for name in names]
    (folder / "captions.txt").write_text("\n".join(["image,caption", *rows]) + "\n")
    for split, some in {"train": names[:4], "val": names[4:5], "test": names[5:]}.items():
        (folder / "splits" / f"{split}.txt").write_text("\n".join(some) + "\n")
    return folder


@pytest.fixture
def full_size_home(tmp_path: Path) -> Iterator[Path]:
    """A cache with the full-size towers; its gigabytes are removed after the test."""
    full_size_towers(tmp_path)
    yield tmp_path
    shutil.rmtree(tmp_path, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read as Linux counts it")
def test_the_full_size_pair_trains_a_step_is_saved_and_resumed(
    full_size_home: Path, six_pairs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile = replace(ORIGINAL, data=str(six_pairs), batch_size=4, epochs=2, head_epochs=0)
    done = subprocess.run(
        [sys.executable, "tests/full_size_proof.py", json.dumps(asdict(profile)),
         str(full_size_home / "run")],
        cwd=COURSE, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(COURSE), "HF_HOME": str(full_size_home),
                          "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    loaded, step, save, resume = map(json.loads, done.stdout.splitlines())
    assert loaded["widths"] == [768, 768, 1000]
    assert loaded["parameters"] == [VIT_WITH_HEAD, VIT_WITH_HEAD - 768 * 1000 - 1000, BERT_BASE]
    assert loaded["revisions"] == [COMMIT, COMMIT]
    assert loaded["transform"] == repr(AS_THE_VIT_WANTS)
    assert (step["steps"], resume["steps"], resume["equal"]) == (1, 2, True)
    with capsys.disabled():
        peaks = {fact["stage"]: f"{fact['peak'] / GIB:.1f} GiB" for fact in (step, save, resume)}
        print(f" peak memory of the full-size pair at batch 4: {peaks}", end=" ")
    assert step["peak"] < 5 * GIB
    assert resume["peak"] < 8 * GIB
