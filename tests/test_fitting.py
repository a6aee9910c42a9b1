"""Whole trainings: rehearsal, short memory, time that is up, heads first, what is frozen."""

from __future__ import annotations

import json
import math
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest
import torch
from torch import Tensor, nn

from cliplib import config, fitting, pair_encoder, picturebook, train, trainer
from cliplib.checkpoint import load_profile
from cliplib.config import LAPTOP, ORIGINAL, QUICK, Profile
from cliplib.fitting import TimeIsUp, fit_to_memory, heads_alone
from cliplib.optimizer import MUON_RATE
from cliplib.storage import read_tensors

TINY = replace(
    QUICK, image_size=32, text_width=64, embed_dim=32, epochs=3, batch_size=16, head_dropout=0.1
)
SIZES = {"train": 64, "val": 16, "test": 16, "unseen": 8}


@pytest.fixture(scope="module", autouse=True)
def small_book(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A whole picture book of 104 pictures in a data folder of this module's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPLIB_DATA", str(tmp_path_factory.mktemp("data")))
        patch.setattr(picturebook, "SPLIT_SIZES", SIZES)
        yield


def begin(profile: Profile) -> trainer.Trainer:
    return train.begin(profile, progress=False)[0]


def everything(of: trainer.Trainer) -> dict[str, Tensor]:
    """What training depends on, but for the pictures."""
    parts = {name: t.clone() for name, t in of.model.state_dict().items()}
    return parts | {"random": torch.get_rng_state()}


def test_a_rehearsal_changes_nothing() -> None:
    rehearsed = begin(TINY)
    before = everything(rehearsed)
    assert 0 < rehearsed.rehearse() < 60
    after = everything(rehearsed)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert (rehearsed.step, rehearsed.history, rehearsed.meter.steps) == (0, [], 0)
    rates = [group["lr"] for group in rehearsed.optimizer.param_groups]
    assert rehearsed.full_rates == rates
    assert set(rates) == {TINY.image_lr, MUON_RATE * TINY.image_lr}
    assert not rehearsed.optimizer.state, "no averages of gradients of steps that were not made"
    assert all(parameter.grad is None for parameter in rehearsed.model.parameters())


def test_a_rehearsal_runs_what_a_step_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    rehearsed = begin(TINY)
    kept = {name: b.clone() for name, b in rehearsed.model.named_buffers()}
    seen = []
    untouched = rehearsed.precision.step

    def step(*arguments: object) -> None:
        seen.append(untouched(*arguments))
        moved = [not torch.equal(b, kept[name]) for name, b in rehearsed.model.named_buffers()]
        assert any(moved), "normalisations see the batch"

    monkeypatch.setattr(rehearsed.precision, "step", step)
    rehearsed.rehearse(steps=2)
    assert len(seen) == 3, "the first, in which much is set up, is not counted"


def room_for(pairs: int, monkeypatch: pytest.MonkeyPatch, error: type[RuntimeError]) -> None:
    """Makes every step of more pairs run out of memory."""
    sound = trainer.contrastive_loss

    def limited(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
        if len(images) > pairs:
            raise error("MPS backend out of memory" if error is RuntimeError else "CUDA")
        return sound(images, texts, scale)

    monkeypatch.setattr(trainer, "contrastive_loss", limited)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError])
def test_a_batch_that_does_not_fit_is_halved_until_it_does(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    error: type[RuntimeError],
) -> None:
    room_for(5, monkeypatch, error)
    train.train(replace(TINY, epochs=1), tmp_path / "run", test=False, progress=False)
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 2 and "it goes on with 8 pairs instead of 16. A pair" in told[0]
    assert told[1].endswith("4 pairs instead of 8. A pair then has fewer to be told apart from.")
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert load_profile(tmp_path / "run").batch_size == metrics["batch_size"] == 4


def test_another_error_is_not_taken_for_short_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("expected scalar type Float but found Half")

    monkeypatch.setattr(trainer, "contrastive_loss", broken)
    with pytest.raises(RuntimeError, match="expected scalar type"):
        fit_to_memory(begin(TINY), progress=False)


def test_a_halved_batch_trains_as_if_it_had_been_chosen(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    once = replace(TINY, epochs=1)
    with monkeypatch.context() as patch:
        room_for(8, patch, torch.OutOfMemoryError)
        train.train(once, tmp_path / "halved", test=False, progress=False)
    train.train(replace(once, batch_size=8), tmp_path / "chosen", test=False, progress=False)
    halved, chosen = (
        read_tensors(tmp_path / name / "model.safetensors")[0] for name in ("halved", "chosen")
    )
    assert all(torch.equal(halved[name], chosen[name]) for name in chosen)


def test_the_length_is_told_before_the_first_step(capsys: pytest.CaptureFixture[str]) -> None:
    ready = fit_to_memory(begin(TINY), progress=True)
    assert ready.step == 0
    told = capsys.readouterr().out
    assert told.startswith("12 steps of ") and "seconds, and validation after each" in told
    assert ready.seconds_left(2.0) == 3 * 4 * 2.0
    ready.epoch = 2
    assert ready.seconds_left(2.0) == 4 * 2.0


def test_time_that_is_up_ends_after_a_whole_epoch_and_can_be_resumed(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(TimeIsUp, match=r"after 1 of 3 epochs.*--resume"):
        train.train(TINY, out, test=False, progress=False, max_minutes=1e-6)
    assert not (out / "metrics.json").exists()
    train.train(TINY, out, resume=True, test=False, progress=False)
    train.train(TINY, tmp_path / "whole", test=False, progress=False, max_minutes=60)
    tensors, whole = (
        read_tensors(folder / "model.safetensors")[0] for folder in (out, tmp_path / "whole")
    )
    assert all(torch.equal(tensors[name], whole[name]) for name in whole)


def test_the_command_ends_well_when_its_time_is_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(train.PROFILES, "quick", TINY)
    arguments = ["--out", str(tmp_path / "run"), "--max-minutes", "0.0001", "--no-test"]
    assert train.main(arguments) == 0
    assert "Time is up after 1 of 3 epochs" in capsys.readouterr().out


def test_what_a_training_costs_stands_in_its_metrics(tmp_path: Path) -> None:
    metrics = train.train(replace(TINY, epochs=1), tmp_path / "run", test=False, progress=False)
    for name in ("pictures_per_second", "step_seconds", "gflop_a_picture", "device_tflops"):
        assert metrics[name] > 0, name
    assert 0 < metrics["flops_utilisation"] < 1 and metrics["peak_memory_gb"] > 0.1
    steps = 4 * (metrics["step_seconds"] + metrics["data_seconds_a_step"])
    assert 64 / steps == pytest.approx(metrics["pictures_per_second"], rel=0.05)
    assert (metrics["precision"], metrics["device"]) == ("float32", "cpu")


@pytest.fixture
def pretrained() -> Profile:
    """A profile that takes its encoders for pretrained: what heads come first for."""
    return replace(TINY, image_pretrained=True, text_pretrained=True, head_epochs=2)


def test_heads_learn_first_and_leave_the_encoders_alone(pretrained: Profile) -> None:
    made, _, tokenizer = train.begin(TINY, progress=False)
    before = {name: t.clone() for name, t in made.model.state_dict().items()}
    folder = config.data_folder("picturebook")
    fitting.train_heads(pretrained, made.model, tokenizer, folder, progress=False)
    changed = {n for n, t in made.model.state_dict().items() if not torch.equal(t, before[n])}
    assert changed == {"image_projection.weight", "text_projection.weight", "log_logit_scale"}


def test_begin_trains_heads_only_when_asked_and_not_when_resuming(
    pretrained: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = []
    monkeypatch.setattr(train, "train_heads", lambda profile, *_: trained.append(profile.name))
    tokenizer = train.make_tokenizer(TINY, ("a red boat", "a blue car"))
    model = train.build_clip(TINY)
    monkeypatch.setattr(train, "build_clip", lambda profile: model)
    monkeypatch.setattr(train, "make_tokenizer", lambda profile, captions: tokenizer)
    train.begin(replace(pretrained, head_epochs=0), progress=False)
    train.begin(pretrained, progress=False, heads_first=False)
    assert trained == []
    started = train.begin(pretrained, progress=False)[0]
    assert trained == ["quick"]
    assert all(p.requires_grad for p in started.model.parameters()), "then everything learns"


def test_freezing_both_leaves_the_heads_epochs() -> None:
    alone = heads_alone(replace(ORIGINAL, head_epochs=7))
    assert (alone.epochs, alone.head_epochs) == (7, 0)
    assert alone.image_frozen and alone.text_frozen
    assert heads_alone(replace(ORIGINAL, head_epochs=0)).epochs == ORIGINAL.epochs


def settled(*arguments: str) -> Profile:
    return train.settle(train.read_arguments(list(arguments)))[0]


def test_the_commands_options_reach_the_profile() -> None:
    assert settled("--profile", "quick") == QUICK
    original = settled("--profile", "original", "--freeze", "image", "--batch-size", "32")
    assert (original.image_frozen, original.text_frozen, original.batch_size) == (True, False, 32)
    assert settled("--profile", "original", "--freeze", "both") == heads_alone(ORIGINAL)
    free = settled("--profile", "laptop", "--freeze", "none", "--precision", "bfloat16")
    assert not free.image_frozen and not free.text_frozen and free.precision == "bfloat16"
    saving = settled("--gradient-checkpointing", "--epochs", "2")
    assert saving.gradient_checkpointing and saving.epochs == 2
    assert settled("--profile", "laptop") == LAPTOP
    assert train.read_arguments([]).max_minutes == math.inf


def test_encoders_from_scratch_cannot_be_frozen(capsys: pytest.CaptureFixture[str]) -> None:
    assert train.main(["--profile", "quick", "--freeze", "both"]) == 1
    assert "image_frozen must be False for an encoder from scratch" in capsys.readouterr().err


def test_activations_computed_again_give_the_same_weights(tmp_path: Path) -> None:
    once = replace(TINY, epochs=1, head_dropout=0.0, image_encoder="test_vit", image_size=64)
    plain, saving = begin(once), begin(replace(once, gradient_checkpointing=True))
    image, text = saving.model.image_encoder.network, saving.model.text_encoder.network
    inside = image.blocks[0].attn, text.encoder.layer[0].attention  # the way back stops early
    calls = [count_forwards(part) for part in inside]
    for some in (plain, saving):
        some.run_epoch(trainer.tqdm(disable=True))
    assert [len(own) for own in calls] == [8, 8], "each of four steps runs a layer twice"
    found, expected = (some.model.state_dict() for some in (saving, plain))
    assert found.keys() == expected.keys(), "a checkpoint is the same file"
    for name, tensor in expected.items():
        assert torch.allclose(found[name].float(), tensor.float(), atol=1e-5), name


def count_forwards(module: nn.Module) -> list[None]:
    calls: list[None] = []
    module.register_forward_hook(lambda *_: calls.append(None))
    return calls


def test_the_next_epochs_first_pictures_are_prepared_during_this_ones_last_step() -> None:
    some, asked, five = begin(TINY), [], Event()
    plans = [rows.tolist() for epoch in range(3) for rows, _ in some.plan(epoch)]
    prepare = some.train.images.batch

    def batch(rows: Sequence[int]) -> Tensor:
        asked.append(list(rows))
        if len(asked) == 5:  # four steps, and the next epoch's first
            five.set()
        return prepare(rows)

    some.train.images.batch = batch
    some.run_epoch(trainer.tqdm(disable=True))
    assert five.wait(timeout=60) and asked == plans[:5]
    some.run_epoch(trainer.tqdm(disable=True))
    assert asked[:8] == plans[:8], "in order, none twice"
    gone = weakref.ref(some)
    del some
    assert gone() is None, "a trainer that is let go gives its memory back at once"


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_encoders_compute_in_the_profiles_precision(precision: str) -> None:
    half = begin(replace(TINY, epochs=1, precision=precision))
    formats = set()
    half.model.image_projection.register_forward_hook(lambda *call: formats.add(call[2].dtype))
    half.model.text_projection.register_forward_hook(lambda *call: formats.add(call[2].dtype))
    before = half.model.image_projection.weight.detach().clone()
    half.run_epoch(trainer.tqdm(disable=True))
    assert formats == {getattr(torch, precision)}
    assert {p.dtype for p in half.model.parameters()} == {torch.float32}
    assert not torch.equal(half.model.image_projection.weight, before)
    assert math.isfinite(half.history[-1]["loss"])


def test_the_multiplier_of_float16_is_part_of_a_checkpoint(tmp_path: Path) -> None:
    profile = replace(TINY, precision="float16")
    trained, _, tokenizer = train.begin(profile, progress=False)
    trained.run_epoch(trainer.tqdm(disable=True))
    trained.precision.restore({"scale": torch.tensor(512.0), "_growth_tracker": torch.tensor(7.0)})
    trained.save(tmp_path, tokenizer)
    resumed = begin(profile)
    resumed.resume(tmp_path)
    kept = {"scale": 512.0, "_growth_tracker": 7.0}
    assert {name: t.item() for name, t in resumed.precision.content().items()} == kept


def test_a_pretrained_encoder_keeps_its_statistics_and_one_from_scratch_learns_them() -> None:
    for pretrained in (False, True):
        some = begin(replace(TINY, epochs=1))
        some.profile = replace(some.profile, image_pretrained=pretrained)
        before = [buffer.clone() for buffer in some.model.image_encoder.buffers()]
        some.run_epoch(trainer.tqdm(disable=True))
        after = list(some.model.image_encoder.buffers())
        same = [torch.equal(a, b) for a, b in zip(before, after, strict=True)]
        assert len(same) > 10 and (all(same) if pretrained else not any(same))
        assert some.model.training and some.model.text_encoder.training


def test_training_varies_pictures_and_validation_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def record(pictures: Tensor, least_area: float) -> Tensor:
        seen.append((len(pictures), least_area))
        return torch.zeros_like(pictures)

    monkeypatch.setattr(pair_encoder, "vary", record)
    some, val, _ = train.begin(replace(TINY, epochs=1, image_part=0.4), progress=False)
    some.run_epoch(trainer.tqdm(disable=True))
    assert seen == [(16, 0.4)] * 4
    some.validate(val)
    assert len(seen) == 4 and some.history[-1]["val_t2i_r10"] >= 0
    begin(replace(TINY, epochs=1)).run_epoch(trainer.tqdm(disable=True))
    assert len(seen) == 4, "quick shows whole pictures"


def test_pictures_in_parts_give_the_gradients_of_the_whole_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = []
    for at_once in (5, 100):
        monkeypatch.setattr(pair_encoder, "PICTURES_AT_ONCE", at_once)
        some = begin(replace(TINY, head_dropout=0.0))
        some.encoder.profile = replace(some.profile, image_pretrained=True)
        batches = []
        some.model.image_encoder.register_forward_hook(lambda *c, b=batches: b.append(len(c[2])))
        trainer.put_into_training(some.model, some.encoder.profile)
        images = some.train.images.batch(range(16))
        some.encoder._encode_images(images).square().mul(torch.arange(32)).sum().backward()
        found.append((batches, [p.grad for p in some.model.image_encoder.parameters()]))
    (parts, apart), (whole, together) = found
    assert (parts, whole) == ([5, 5, 5, 1], [16])
    for one, other in zip(apart, together, strict=True):
        assert torch.allclose(one, other, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("encoder", "first"),
    [("test_resnet", ("conv1", "layer1")), ("test_vit", ("cls", "pos", "pat"))],
)
def test_the_first_layers_can_stay_as_they_are(encoder: str, first: tuple[str, ...]) -> None:
    layers = 2 if encoder == "test_resnet" else 1
    profile = replace(TINY, epochs=1, image_encoder=encoder, image_size=64)
    some = begin(replace(profile, image_layers_frozen=layers))
    before = {n: p.detach().clone() for n, p in some.model.named_parameters()}
    some.run_epoch(trainer.tqdm(disable=True))
    stayed = {n for n, p in some.model.named_parameters() if torch.equal(p, before[n])}
    names = {n.removeprefix("image_encoder.network.") for n in stayed if n.startswith("image")}
    assert len(names) >= 4 and all(n.startswith((*first, "bn1", "norm_pre")) for n in names)
    whole = begin(profile)
    assert all(p.requires_grad for p in whole.model.parameters())


def test_two_pairs_are_the_fewest_that_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        room_for(2, patch, torch.OutOfMemoryError)
        assert fit_to_memory(begin(TINY), progress=False).profile.batch_size == 2
    room_for(1, monkeypatch, torch.OutOfMemoryError)
    with pytest.raises(trainer.OutOfMemory, match="now 2"):
        fit_to_memory(begin(TINY), progress=False)


def test_a_run_whose_last_epoch_is_over_is_finished_whatever_the_time(tmp_path: Path) -> None:
    once = replace(TINY, epochs=1)
    train.train(once, tmp_path / "run", test=False, progress=False, max_minutes=1e-6)
    assert (tmp_path / "run" / "metrics.json").is_file()
