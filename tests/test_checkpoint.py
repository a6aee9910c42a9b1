"""Runs on disk: what is saved comes back, what does not fit is named, the wanted one is found."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import pytest
import timm
import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from cliplib import checkpoint, config
from cliplib.checkpoint import (
    Threshold,
    find_run,
    load_profile,
    load_run,
    load_threshold,
    load_weights,
    save_run,
    trained_tensors,
)
from cliplib.config import QUICK, Profile
from cliplib.encoders import CaptionTokenizer, text_encoder, train_tokenizer
from cliplib.model import CLIP, build_clip
from cliplib.storage import read_tensors, write_tensors

TINY = dataclasses.replace(
    QUICK, text_width=16, vocabulary_size=60, max_tokens=12, embed_dim=8, image_size=32
)
CAPTIONS = ["A red boat on the sea.", "Two blue cats in the snow", "A red house at night"] * 3


@pytest.fixture
def tokenizer() -> CaptionTokenizer:
    return train_tokenizer(CAPTIONS, TINY.vocabulary_size, TINY.max_tokens)


@pytest.fixture
def model() -> CLIP:
    """Moved away from its beginning in every weight and in the running means."""
    torch.manual_seed(11)
    model = build_clip(TINY)
    model.encode_image(torch.randn(8, 3, 32, 32))
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    return model.eval()


@pytest.fixture
def run(tmp_path: Path, model: CLIP, tokenizer: CaptionTokenizer) -> Path:
    folder = tmp_path / "run"
    save_run(folder, model, TINY, tokenizer)
    return folder


def embeddings(model: CLIP, tokenizer: CaptionTokenizer) -> tuple[Tensor, Tensor]:
    pictures = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    ids = tokenizer.encode(CAPTIONS[:3])
    longest = max(map(len, ids))
    rows = torch.tensor([row + [0] * (longest - len(row)) for row in ids])
    with torch.no_grad():
        return model.encode_image(pictures), model.encode_text((rows, (rows > 0).long()))


def test_a_run_comes_back_as_it_was(run: Path, model: CLIP, tokenizer: CaptionTokenizer) -> None:
    loaded = load_run(run)
    assert loaded.folder == run and loaded.profile == TINY
    assert not loaded.model.training
    assert loaded.tokenizer.encode(CAPTIONS) == tokenizer.encode(CAPTIONS)
    assert loaded.transform == model.image_encoder.transform(32, TINY.image_crop)
    for found, saved in zip(
        embeddings(loaded.model, loaded.tokenizer), embeddings(model, tokenizer), strict=True
    ):
        assert torch.equal(found, saved)
    assert loaded.model.logit_scale.item() == model.logit_scale.item()


def test_a_run_is_safetensors_and_json(run: Path) -> None:
    assert sorted(path.name for path in run.iterdir()) == [
        "model.safetensors", "profile.json", "tokenizer.json",
    ]  # fmt: skip
    assert json.loads((run / "profile.json").read_text(encoding="utf-8"))["name"] == "quick"
    assert read_tensors(run / "model.safetensors")[1] == {"profile": "quick"}


@pytest.mark.parametrize(
    ("frozen", "left_out"),
    [
        ((), ()),
        (("image",), ("image_encoder.",)),
        (("text",), ("text_encoder.",)),
        (("image", "text"), ("image_encoder.", "text_encoder.")),
    ],
)
def test_frozen_encoders_are_left_out(
    model: CLIP, frozen: tuple[str, ...], left_out: tuple[str, ...]
) -> None:
    changes = {f"{part}_{what}": True for part in frozen for what in ("frozen", "pretrained")}
    kept = trained_tensors(model, dataclasses.replace(TINY, **changes))
    parts = {"image_encoder.", "text_encoder.", "image_projection.", "text_projection."}
    for part in parts:
        assert any(name.startswith(part) for name in kept) == (part not in left_out)
    assert "log_logit_scale" in kept
    assert any("running_mean" in name for name in kept) == ("image" not in frozen)


@pytest.fixture
def towers(tmp_path: Path, tokenizer: CaptionTokenizer) -> Profile:
    """A profile of two frozen pretrained encoders, which lie in folders instead of the hub."""
    torch.manual_seed(12)
    image, text = tmp_path / "image tower", tmp_path / "text tower"
    network = timm.create_model("test_resnet", pretrained=False)
    timm.models.save_for_hf(network, image, safe_serialization=True)
    text_encoder(TINY).network.save_pretrained(text)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(tokenizer.to_json()), pad_token="[PAD]"
    )
    fast.save_pretrained(text)
    return dataclasses.replace(
        TINY,
        image_encoder=f"local-dir:{image}", image_pretrained=True, image_frozen=True,
        text_encoder=str(text), text_pretrained=True, text_frozen=True,
    )  # fmt: skip


def test_a_run_with_frozen_towers_comes_back_as_it_was(
    tmp_path: Path, towers: Profile, tokenizer: CaptionTokenizer
) -> None:
    model = build_clip(towers).eval()
    folder = tmp_path / "run"
    save_run(folder, model, towers, tokenizer)
    assert not (folder / "tokenizer.json").exists(), "it belongs to the tower"
    saved, _ = read_tensors(folder / "model.safetensors")
    assert set(saved) == {"image_projection.weight", "text_projection.weight", "log_logit_scale"}
    loaded = load_run(folder)
    for found, expected in zip(
        embeddings(loaded.model, loaded.tokenizer), embeddings(model, tokenizer), strict=True
    ):
        assert torch.equal(found, expected)


def test_missing_unexpected_and_misshapen_tensors_are_named(run: Path) -> None:
    tensors, about = read_tensors(run / "model.safetensors")
    tensors["image_projection.weight"] = torch.zeros(8, 5)
    del tensors["log_logit_scale"]
    tensors["text_encoder.pooler"] = torch.zeros(1)
    write_tensors(run / "model.safetensors", tensors, about)
    with pytest.raises(ValueError) as caught:
        load_run(run)
    sentence = str(caught.value)
    assert sentence.startswith(f"{run / 'model.safetensors'} does not fit the profile 'quick': ")
    assert "log_logit_scale is missing" in sentence
    assert "text_encoder.pooler is unexpected" in sentence
    assert "image_projection.weight has shape (8, 5), expected (8, 96)" in sentence


def test_many_faults_are_counted_and_nothing_is_loaded(model: CLIP) -> None:
    before = model.text_projection.weight.clone()
    tensors = {"text_projection.weight": torch.zeros_like(before)}
    expected = len(trained_tensors(model, TINY)) - 1
    with pytest.raises(ValueError, match=rf"is missing; and {expected - 5} more\.$") as caught:
        load_weights(model, TINY, tensors, "here")
    assert str(caught.value).count("is missing") == 5
    assert torch.equal(model.text_projection.weight, before)


def test_weights_of_another_profile_are_named(
    tmp_path: Path, run: Path, tokenizer: CaptionTokenizer
) -> None:
    wider = dataclasses.replace(TINY, embed_dim=10)
    other = tmp_path / "wider"
    save_run(other, build_clip(wider), wider, tokenizer)
    (other / "model.safetensors").replace(run / "model.safetensors")
    with pytest.raises(ValueError, match=r"has shape \(10, 96\), expected \(8, 96\)"):
        load_run(run)


def test_a_pickle_is_refused(run: Path, model: CLIP) -> None:
    torch.save(model.state_dict(), run / "model.safetensors")
    with pytest.raises(ValueError, match=r"not a whole safetensors file.*run any code"):
        load_run(run)


def test_weights_that_were_cut_off_are_refused(run: Path) -> None:
    weights = run / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        load_run(run)


def test_a_profile_with_other_fields_is_named(run: Path) -> None:
    path = run / "profile.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(values | {"temperature": 0.07}), encoding="utf-8")
    with pytest.raises(ValueError, match=r"profile\.json is not.*differs in: temperature\.$"):
        load_profile(run)
    del values["clip_norm"], values["warmup"]
    path.write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(ValueError, match=r"differs in: clip_norm, warmup\.$"):
        load_run(run)


def test_a_profile_from_before_a_field_came_is_read_with_its_default(run: Path) -> None:
    path = run / "profile.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    del values["precision"], values["head_epochs"]
    path.write_text(json.dumps(values), encoding="utf-8")
    assert (load_profile(run).precision, load_profile(run).head_epochs) == ("float32", 0)


def test_what_is_no_run_says_so(tmp_path: Path, run: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no run in .*nowhere.*Train one first"):
        load_run(tmp_path / "nowhere")
    (run / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"no model\.safetensors.*not finished"):
        load_run(run)


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("CLIPLIB_RUN", "CLIPLIB_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLIPLIB_DATA", str(tmp_path))
    return tmp_path / "runs"


def finish(folder: Path, profile: str, time: int) -> Path:
    folder.mkdir(parents=True)
    metrics = folder / checkpoint.METRICS
    metrics.write_text(json.dumps({"profile": profile}), encoding="utf-8")
    os.utime(metrics, (time, time))
    return folder


def test_a_run_has_the_threshold_that_its_metrics_name(tmp_path: Path) -> None:
    assert load_threshold(tmp_path) is None
    metrics = tmp_path / checkpoint.METRICS
    metrics.write_text('{"profile": "quick"}', encoding="utf-8")
    assert load_threshold(tmp_path) is None, "a run from before there was one"
    about = {"threshold": 0.6, "false_alarm_rate": 0.05, "answer_rate": 0.9}
    metrics.write_text(json.dumps(about), encoding="utf-8")
    assert load_threshold(tmp_path) == Threshold(0.6, 0.05, 0.9)


def test_the_shipped_checkpoint_is_the_last_resort_of_quick(runs: Path) -> None:
    assert find_run() == find_run("quick") == config.shipped_checkpoint()
    for profile in ("laptop", "original"):
        command = f"python -m cliplib.train --profile {profile}"
        with pytest.raises(FileNotFoundError, match=f"no finished run .*'{profile}'.*{command}$"):
            find_run(profile)


def test_the_newest_finished_run_of_the_profile_is_found(runs: Path) -> None:
    (runs / "begun").mkdir(parents=True)
    (runs / "begun" / checkpoint.PROFILE).write_text("{}", encoding="utf-8")
    assert find_run() == config.shipped_checkpoint(), "a run that was begun is not finished"
    newer = finish(runs / "a", "quick", time=2000)
    finish(runs / "b", "quick", time=1000)
    laptop = finish(runs / "c", "laptop", time=3000)
    assert find_run("quick") == newer
    assert find_run("laptop") == laptop
    assert find_run("quick") != find_run("laptop")


def test_who_names_a_run_gets_it(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish(runs / "quick", "quick", time=1000)
    finish(runs / "laptop", "laptop", time=1000)
    monkeypatch.setenv("CLIPLIB_PROFILE", "laptop")
    assert find_run() == runs / "laptop"
    assert find_run("quick") == runs / "quick", "the environment replaces the default only"
    monkeypatch.setenv("CLIPLIB_RUN", str(tmp_path / "by environment"))
    assert find_run("quick") == tmp_path / "by environment"
    assert find_run("quick", tmp_path / "by hand") == tmp_path / "by hand"


def test_a_profile_that_is_none_is_told(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="no profile 'slow'"):
        find_run("slow")
    monkeypatch.setenv("CLIPLIB_PROFILE", "slow")
    with pytest.raises(ValueError, match="no profile 'slow'"):
        find_run()
    assert find_run("quick") == config.shipped_checkpoint()
