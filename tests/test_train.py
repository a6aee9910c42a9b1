"""Training on a small drawn book: the loop, its history, its checkpoints, resuming."""

import itertools
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from cliplib import config, evaluate, fitting, picturebook, train, trainer
from cliplib.checkpoint import Run, load_run
from cliplib.config import (
    LAPTOP,
    QUICK,
    Profile,
    data_folder,
    run_folder,
    shipped_checkpoint,
)
from cliplib.data import PictureStore, TokenTable, load_pairs
from cliplib.optimizer import make_optimizer, rate_factor
from cliplib.retrieval import embed_images, embed_texts
from cliplib.storage import read_tensors
from cliplib.threshold import share_words
from cliplib.trainer import NotANumber, batch_accuracy

TINY = replace(
    QUICK, image_size=32, text_width=64, embed_dim=32, epochs=3, batch_size=16, head_dropout=0.1
)
SIZES = {"train": 64, "val": 16, "test": 16, "unseen": 8}


@pytest.fixture(scope="module", autouse=True)
def small_book(tmp_path_factory: pytest.TempPathFactory):
    """A whole picture book of 104 pictures in a data folder of this module's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPLIB_DATA", str(tmp_path_factory.mktemp("data")))
        patch.setattr(picturebook, "SPLIT_SIZES", SIZES)
        yield


def tensors_of(run: Path) -> dict[str, torch.Tensor]:
    return read_tensors(run / "model.safetensors")[0]


@pytest.fixture(scope="module")
def finished(small_book: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "finished"
    train.train(TINY, out, progress=False)
    return out


def test_metrics_have_every_promised_key(finished: Path) -> None:
    metrics = json.loads((finished / "metrics.json").read_text())
    recalls = {f"{way}_r{k}" for way in ("t2i", "i2t") for k in (1, 5, 10)}
    keys = recalls | {"gallery_images", "gallery_captions", "first_answer_true"}
    keys |= {"t2i_r1_of_ceiling", "t2i_r10_of_ceiling"}
    expected = {before + key for before in ("", "val_", "unseen_") for key in keys}
    expected |= {"train_seconds", "profile", "seed", "picturebook", "torch", "machine"}
    assert expected <= set(metrics)
    assert (metrics["gallery_images"], metrics["gallery_captions"]) == (16, 80)
    assert metrics["unseen_gallery_images"] == 8
    assert 0 < metrics["train_seconds"] < 600


def validation(run: Run) -> trainer.Split:
    folder = config.data_folder("picturebook")
    return evaluate.prepare_split(
        run.profile, run.model, run.tokenizer, folder, "val", progress=False
    )


def test_metrics_have_the_threshold_of_validation_queries(finished: Path) -> None:
    metrics = json.loads((finished / "metrics.json").read_text())
    run = load_run(finished)
    folder = config.data_folder("picturebook")
    val = evaluate.prepare_split(
        run.profile, run.model, run.tokenizer, folder, "val", progress=False
    )
    scores = (embed_texts(run.model, val.texts) @ embed_images(run.model, val.images).T).numpy()
    shared = share_words(val.pairs.captions, val.pairs.caption_image)
    askable = ~shared.all(1)
    absent = np.where(shared, -1, scores).max(1)[askable]
    above = (absent > metrics["threshold"]).mean()
    assert above <= metrics["false_alarm_rate"] == 0.05 < above + 1.5 / len(absent)
    assert metrics["answer_rate"] == pytest.approx((scores.max(1) > metrics["threshold"]).mean())


def test_a_split_in_which_nothing_can_be_absent_has_no_threshold(finished: Path) -> None:
    run = load_run(finished)
    folder = config.data_folder("picturebook")
    val = evaluate.prepare_split(
        run.profile, run.model, run.tokenizer, folder, "val", progress=False
    )
    one = replace(val.pairs, images=val.pairs.images[:1], captions=val.pairs.captions[:5],
                  caption_image=val.pairs.caption_image[:5])  # fmt: skip
    rows = [val.texts.batch([row])[0][0].tolist() for row in range(5)]
    alone = replace(
        val, pairs=one, images=PictureStore(one.paths(), run.transform), texts=TokenTable(rows)
    )
    assert evaluate.measure_threshold(*evaluate.embed_split(run.model, alone), one) == {}


def test_history_has_log_b_floor_scale_and_validation_recall_at_each_epochs_end(
    finished: Path,
) -> None:
    history = pd.read_csv(finished / "history.csv")
    assert (history["log_b"] - math.log(16)).abs().max() < 1e-12
    assert (history["floor"] <= history["loss"]).all()
    assert history["val_t2i_r10"].notna().sum() == TINY.epochs
    assert history["step"].iloc[-1] == 4 * TINY.epochs
    assert history["logit_scale"].between(1, 100).all()


@pytest.mark.parametrize("name", ["test_vit", "test_vit3"])
def test_a_vision_transformer_trains_at_another_size_than_its_own(
    tmp_path: Path, name: str
) -> None:
    profile = replace(TINY, image_encoder=name, image_size=64, epochs=1, batch_size=64)  # one step
    metrics = train.train(profile, tmp_path / "run", test=False, progress=False)
    assert 0 <= metrics["val_t2i_r1"] <= 1
    assert load_run(tmp_path / "run").transform.size == 64


def test_a_size_that_does_not_fit_the_patches_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile = replace(TINY, image_encoder="test_vit", image_size=40)
    monkeypatch.setitem(train.PROFILES, "quick", profile)
    assert train.main(["--out", str(tmp_path / "run")]) == 1
    told = capsys.readouterr().err
    assert "image_size must be a multiple of 16" in told and "Traceback" not in told


def test_no_test_leaves_the_test_split_unread(tmp_path: Path, monkeypatch) -> None:
    read = []
    for module in (fitting, evaluate):
        monkeypatch.setattr(
            module,
            "load_pairs",
            lambda folder, split: read.append(split) or load_pairs(folder, split),
        )
    metrics = train.train(replace(TINY, epochs=1), tmp_path / "run", test=False, progress=False)
    assert "t2i_r1" not in metrics and "val_t2i_r1" in metrics
    assert set(read) == {"train", "val"}


def test_training_lowers_the_loss_and_beats_chance(tmp_path: Path) -> None:
    metrics = train.train(replace(TINY, epochs=30), tmp_path / "run", test=False, progress=False)
    history = pd.read_csv(tmp_path / "run" / "history.csv")
    assert history["loss"].iloc[-1] < 0.5 * history["loss"].iloc[0]
    assert metrics["val_t2i_r5"] > 1.3 * 5 / 16


def test_same_seed_gives_the_same_weights_and_another_seed_others(
    finished: Path, tmp_path: Path
) -> None:
    train.train(TINY, tmp_path / "again", test=False, progress=False)
    train.train(replace(TINY, seed=1), tmp_path / "other", test=False, progress=False)
    first, again, other = map(tensors_of, (finished, tmp_path / "again", tmp_path / "other"))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["image_projection.weight"], other["image_projection.weight"])


def interrupt_after(epochs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the next training stop as Ctrl-C does, in the middle of an epoch."""
    untouched = trainer.Trainer._step

    def step(self: trainer.Trainer, *batch: object) -> dict[str, float]:
        if self.step == epochs * self.steps_an_epoch + 2:
            raise KeyboardInterrupt
        return untouched(self, *batch)

    monkeypatch.setattr(trainer.Trainer, "_step", step)


def test_resuming_gives_bit_for_bit_what_an_uninterrupted_run_gives(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        interrupt_after(1, patch)
        with pytest.raises(KeyboardInterrupt):
            train.train(TINY, out, progress=False)
    torch.manual_seed(999)  # whatever happened meanwhile
    assert not (out / "metrics.json").exists()
    train.train(TINY, out, resume=True, progress=False)
    whole, resumed = tensors_of(finished), tensors_of(out)
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert (out / "history.csv").read_text() == (finished / "history.csv").read_text()
    metrics = [json.loads((run / "metrics.json").read_text()) for run in (finished, out)]
    assert metrics[0]["t2i_r1"] == metrics[1]["t2i_r1"]


def test_a_cut_write_leaves_the_last_checkpoint_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        interrupt_after(1, patch)
        with pytest.raises(KeyboardInterrupt):
            train.train(TINY, out, progress=False)
    before = (out / trainer.STATE).read_bytes()

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("cliplib.storage.save_file", full_disk)
        with pytest.raises(OSError, match="No space"):
            train.train(TINY, out, resume=True, progress=False)
    assert (out / trainer.STATE).read_bytes() == before
    assert not list(out.glob("*.aside"))


def test_a_loss_that_is_not_a_number_stops_training_and_keeps_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    sound = trainer.contrastive_loss
    losses = []

    # two losses a step: four steps of rehearsal, four of the first epoch, two of the second
    def breaks_in_second_epoch(*arguments: torch.Tensor) -> torch.Tensor:
        losses.append(sound(*arguments))
        return losses[-1] * (math.nan if len(losses) > 20 else 1)

    monkeypatch.setattr(trainer, "contrastive_loss", breaks_in_second_epoch)
    with pytest.raises(NotANumber, match="step 6"):
        train.train(TINY, out, progress=False)
    assert all(torch.isfinite(t).all() for t in tensors_of(out).values() if t.is_floating_point())
    assert not (out / "metrics.json").exists()


def test_out_of_memory_is_a_sentence_with_the_settings_to_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_large(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(trainer, "contrastive_loss", too_large)
    with pytest.raises(trainer.OutOfMemory, match=r"batch_size.*now 2.*image_size.*now 32"):
        train.train(TINY, tmp_path / "run", progress=False)


def test_the_command_tells_faults_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train.main(["--resume", "--out", str(tmp_path / "nothing")]) == 1
    assert "There is no run in" in capsys.readouterr().err


def test_settings_that_cannot_work_are_a_sentence_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train.main(["--epochs", "0"]) == 1
    assert "epochs must be at least 1, not 0" in capsys.readouterr().err
    monkeypatch.setenv("CLIPLIB_PROFILE", "huge")
    assert train.main([]) == 1
    assert capsys.readouterr().err.startswith("There is no profile 'huge'; choose one of quick")


def test_an_interrupted_command_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "train", interrupted)
    assert train.main(["--out", str(tmp_path / "run")]) == 130
    assert "give the same command again" in capsys.readouterr().err, "nothing to resume yet"
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / trainer.STATE).touch()
    assert train.main(["--out", str(tmp_path / "run")]) == 130
    assert f"--resume --out {tmp_path / 'run'}" in capsys.readouterr().err


def test_norms_biases_and_scale_never_decay_and_groups_have_their_own_rates() -> None:
    model = train.build_clip(TINY)
    rates = {"image_lr": 1e-3, "text_lr": 2e-3, "head_lr": 3e-3}
    profile: Profile = replace(TINY, optimizer="adamw", **rates)
    groups = make_optimizer(model, profile).param_groups
    settings = {id(p): (g["lr"], g["weight_decay"]) for g in groups for p in g["params"]}
    for name, parameter in model.named_parameters():
        rate, decay = settings[id(parameter)]
        expected = {"image_encoder": 1e-3, "text_encoder": 2e-3}.get(name.split(".")[0], 3e-3)
        assert rate == expected, name
        assert decay == (profile.weight_decay if parameter.ndim > 1 else 0), name
    assert settings[id(model.log_logit_scale)] == (3e-3, 0)


def test_rate_rises_in_warmup_and_falls_to_zero() -> None:
    factors = [rate_factor(step, 100, 0.1) for step in range(100)]
    assert factors[0] == pytest.approx(0.1) and factors[9] == 1.0 == max(factors)
    assert all(a > b for a, b in itertools.pairwise(factors[10:]))
    assert factors[-1] < 0.001
    assert [rate_factor(step, 2, 0.0) for step in range(2)] == [1.0, pytest.approx(0.5)]


def test_batch_accuracy_counts_both_directions() -> None:
    images = torch.eye(3)
    texts = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0.9, 0.1]])
    # picture 2 finds caption 2 (0.1 > 0); caption 2 finds picture 1
    assert batch_accuracy(images, texts) == pytest.approx(5 / 6)


def test_a_run_can_be_loaded_and_gives_unit_vectors(finished: Path) -> None:
    run = load_run(finished)
    pixels = np.zeros((2, run.transform.size, run.transform.size, 3), np.uint8)
    embeddings = run.model.encode_image(run.transform.normalise(pixels))
    assert torch.allclose(embeddings.norm(dim=1), torch.ones(2), atol=1e-6)


@pytest.fixture
def an_own_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPLIB_DATA", str(tmp_path))
    monkeypatch.delenv("CLIPLIB_RUN", raising=False)


def test_a_lesson_takes_the_run_that_is_there(an_own_data_folder: None, finished: Path) -> None:
    shutil.copytree(finished, run_folder("quick"))
    assert train.ready_run(QUICK).folder == run_folder("quick")


def test_a_lesson_without_a_run_says_that_it_takes_the_quick_checkpoint(
    an_own_data_folder: None, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train.ready_run(replace(TINY, name="original"))
    assert run.folder == shipped_checkpoint()
    assert "this lesson uses the quick checkpoint" in capsys.readouterr().out


def test_a_lesson_trains_heads_over_frozen_encoders_itself(
    an_own_data_folder: None, finished: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    asked = []

    def train_heads(profile: Profile, out: Path, test: bool) -> None:
        asked.append((profile.name, out, test))
        shutil.copytree(finished, out)

    monkeypatch.setattr(train, "train", train_heads)
    run = train.ready_run(LAPTOP)
    assert asked == [("laptop", run_folder("laptop"), False)] and run.folder == asked[0][1]
    assert "about three minutes" in capsys.readouterr().out


def test_a_named_run_that_is_not_there_is_an_error(
    an_own_data_folder: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIPLIB_RUN", "nowhere")
    with pytest.raises(FileNotFoundError, match="no run in nowhere"):
        train.ready_run(QUICK)


def test_the_reader_pays_less_than_a_guess_and_is_unknown_for_photographs(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = load_pairs(data_folder("picturebook"), "train")
    split = trainer.Split(pairs, images=None, texts=None)  # its batches need neither
    assert 0 < evaluate.reader_of(split, 16) < math.log(16)
    monkeypatch.setattr(evaluate, "is_whole", lambda folder: False)
    assert evaluate.reader_of(split, 16) is None
