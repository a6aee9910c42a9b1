"""Going on from a run, on other data; frozen encoders of one's own; weights between two runs."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cliplib import picturebook, search, train
from cliplib.checkpoint import Run, find_run, load_profile, load_run, save_run
from cliplib.config import LAPTOP, QUICK, Profile, run_folder, shipped_checkpoint
from cliplib.data import load_pairs
from cliplib.fewer import fewer_pictures
from cliplib.finetune import continue_from, freeze, interpolate, root_name
from cliplib.fitting import progress_bar
from cliplib.storage import read_tensors
from cliplib.trainer import Trainer

TINY = replace(QUICK, image_size=32, text_width=64, embed_dim=32, epochs=2, batch_size=16)
COLOURS = ("red", "green", "blue", "black")


@pytest.fixture(scope="module", autouse=True)
def small_book(tmp_path_factory: pytest.TempPathFactory):
    """A picture book of 104 pictures in a data folder of this module's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPLIB_DATA", str(tmp_path_factory.mktemp("data")))
        patch.setattr(picturebook, "SPLIT_SIZES", {"train": 64, "val": 16, "test": 16, "unseen": 8})
        yield


@pytest.fixture(scope="module")
def first(small_book: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "first"
    train.train(TINY, out, progress=False, test=False)
    return out


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fifty pictures of one colour each, and a caption for each."""
    folder = tmp_path_factory.mktemp("photographs")
    rows = ["image,caption"]
    for i in range(50):
        colour = COLOURS[i % 4]
        size = (40 + i, 40)  # so that no two pictures are equal
        Image.new("RGB", size, colour).save(folder / f"p{i:02}.png")
        rows.append(f"p{i:02}.png,a {colour} page {i}")
    (folder / "captions.txt").write_text("\n".join(rows), encoding="utf-8")
    return folder


def state(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def differing(before: dict, after: dict) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


def settled(*arguments: str) -> tuple[Profile, Path]:
    return train.settle(train.read_arguments(list(arguments)))


# ---- going on


def test_going_on_begins_with_the_weights_and_the_tokenizer_of_the_run(first: Path) -> None:
    profile = continue_from(first, rates=0.5)
    assert profile.image_lr == TINY.image_lr / 2 and profile.head_lr == TINY.head_lr / 2
    assert profile.text_lr == TINY.text_lr / 2 and profile.own_encoders
    trainer, val, tokenizer = train.begin(profile, progress=False)
    run = load_run(first)
    assert differing(state(run.model), state(trainer.model)) == set()
    assert tokenizer.to_json() == run.tokenizer.to_json()
    assert val.pairs.split == "val"
    with pytest.raises(ValueError, match="rates is a number above 0"):
        continue_from(first, 0)


def test_statistics_of_normalisations_stay_while_weights_learn(first: Path, tmp_path: Path) -> None:
    profile = continue_from(first)
    train.train(profile, tmp_path / "on", progress=False, test=False)
    before, after = (state(load_run(folder).model) for folder in (first, tmp_path / "on"))
    changed = differing(before, after)
    assert any(name.startswith("image_encoder") for name in changed)
    assert any(name.startswith("text_encoder") for name in changed)
    assert not [name for name in changed if "running_" in name or "num_batches" in name]


@pytest.mark.parametrize("which", ["image", "both"])
def test_frozen_encoders_of_ones_own_stay_and_are_saved(
    first: Path, tmp_path: Path, which: str
) -> None:
    start = shutil.copytree(first, tmp_path / "start")
    profile = freeze(continue_from(start), which)
    train.train(profile, tmp_path / "on", progress=False, test=False)
    shutil.rmtree(start)  # what was made needs it no more
    before, after = (state(load_run(folder).model) for folder in (first, tmp_path / "on"))
    changed = differing(before, after)
    assert "image_projection.weight" in changed
    assert not [name for name in changed if name.startswith("image_encoder")]
    text = [name for name in changed if name.startswith("text_encoder")]
    assert bool(text) == (which == "image")


def test_encoders_from_scratch_stay_unfrozen_without_a_run_before() -> None:
    with pytest.raises(ValueError, match="image_frozen must be False for an encoder from scratch"):
        freeze(QUICK, "both")


def test_an_interrupted_training_goes_on_to_the_same_end(first: Path, tmp_path: Path) -> None:
    profile = replace(freeze(continue_from(first), "image"), epochs=3)
    train.train(profile, tmp_path / "whole", progress=False, test=False)
    with pytest.raises(train.TimeIsUp):
        train.train(profile, tmp_path / "cut", progress=False, max_minutes=0)
    train.train(
        load_profile(tmp_path / "cut"), tmp_path / "cut", resume=True, progress=False, test=False
    )
    ends = [read_tensors(tmp_path / name / "model.safetensors")[0] for name in ("whole", "cut")]
    assert ends[0].keys() == ends[1].keys() and differing(*ends) == set()


def test_a_run_of_another_model_or_one_that_is_gone_is_named(first: Path, tmp_path: Path) -> None:
    other = replace(continue_from(first), embed_dim=64, text_width=128)
    with pytest.raises(ValueError, match=r"differs from the profile .* text_width, embed_dim"):
        train.begin(other, progress=False)
    with pytest.raises(FileNotFoundError, match="There is no run in"):
        continue_from(tmp_path / "none")


def test_the_root_of_a_profiles_name() -> None:
    assert root_name("laptop-photos-1a2b3c") == "laptop"
    assert root_name("laptop-tuned-from-laptop") == "laptop-tuned"
    assert root_name("mine") == "mine"


# ---- the command


def test_fifty_pairs_train_and_are_searched(
    album: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = sorted(path.name for path in album.iterdir())
    monkeypatch.setitem(train.PROFILES, "quick", replace(TINY, name="quick"))
    assert train.main(["--profile", "quick", "--data", str(album), "--epochs", "1"]) == 0
    said = capsys.readouterr().out
    assert "30 pictures to train on: a batch has 15 pairs instead of 16" in said
    (run,) = (path for path in run_folder("x").parent.iterdir() if path.name.startswith("quick-"))
    assert f'--run "{run}" "YOUR WORDS"' in said
    assert sorted(path.name for path in album.iterdir()) == before
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["gallery_images"] == 10 and metrics["batch_size"] == 15
    assert find_run("quick") == shipped_checkpoint()  # a run of one's own is not in its place
    assert find_run(run=Path(run.name)) == run
    answers = ["--run", run.name, "--out", str(tmp_path / "a.png"), "a red page"]
    assert search.main(answers) == 0
    said = capsys.readouterr().out
    assert "split test, 10 pictures" in said and "p" in said
    assert len(load_pairs(Path(load_profile(run).data), "test").images) == 10


def test_a_run_goes_on_with_other_pictures_in_a_folder_of_its_own(album: Path, first: Path) -> None:
    profile, out = settled("--from", str(first), "--data", str(album), "--freeze", "both")
    assert profile.start == str(first) and profile.image_frozen and profile.text_frozen
    assert profile.head_lr == pytest.approx(TINY.head_lr / 10)
    assert out.name.startswith("quick-from-first-photographs") and out.parent != first.parent
    assert settled("--from", "quick")[0].start == str(shipped_checkpoint())
    assert settled("--from", "quick", "--rates", "0.3")[0].text_lr == pytest.approx(0.3 * 2e-3)
    assert settled("--from", "quick")[1].name == "quick-from-quick"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--rates", "0.5"], "--rates belongs to --from"),
        (["--from", "FIRST", "--out", "FIRST"], "give another --out"),
        (["--from", "nowhere"], "There is no run in nowhere"),
        (["--data", "nowhere"], "There is no folder nowhere"),
    ],
)
def test_what_cannot_work_is_told(
    first: Path, arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(first.iterdir())
    assert train.main([str(first) if a == "FIRST" else a for a in arguments]) == 1
    assert told in capsys.readouterr().err
    assert sorted(first.iterdir()) == before


def test_rows_with_faults_are_left_out_when_asked(
    album: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "words.csv"
    table.write_text((album / "captions.txt").read_text() + "\nnobody.png,x\n")
    asked = ["--data", str(album), "--table", str(table)]
    assert train.main(asked) == 1
    assert "words.csv, line 52: there is no picture nobody.png" in capsys.readouterr().err
    profile, _ = settled(*asked, "--skip-bad")
    assert len(load_pairs(Path(profile.data), "all").images) == 50


# ---- between two runs


@pytest.fixture(scope="module")
def ends(first: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    """A run, and one that went on from it, its statistics moved too."""
    before, after = load_run(first), load_run(first)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in after.model.state_dict().values():
            if tensor.is_floating_point():
                tensor += torch.rand(tensor.shape, generator=generator)
            else:
                tensor += 1
    return before, after


def test_share_0_and_1_are_the_two_ends_exactly(ends: tuple[Run, Run]) -> None:
    kept = [state(run.model) for run in ends]
    for share, end in zip((0, 1), ends, strict=True):
        assert differing(state(interpolate(*ends, share).model), state(end.model)) == set()
    for run, before in zip(ends, kept, strict=True):  # neither was changed
        assert differing(before, state(run.model)) == set()


def test_between_are_weights_and_statistics_and_counters_of_the_nearer_end(
    ends: tuple[Run, Run],
) -> None:
    first, last = (state(run.model) for run in ends)
    quarter = state(interpolate(*ends, 0.25).model)
    assert any("running_var" in name for name in quarter)
    whole = [name for name, tensor in quarter.items() if not tensor.is_floating_point()]
    assert whole and all(torch.equal(quarter[name], first[name]) for name in whole)
    most = state(interpolate(*ends, 0.75).model)
    assert all(torch.equal(most[name], last[name]) for name in whole)
    for name in quarter.keys() - set(whole):
        expected = torch.lerp(first[name].double(), last[name].double(), 0.25).float()
        torch.testing.assert_close(quarter[name], expected)


def test_what_lies_between_can_be_saved_and_loaded(ends: tuple[Run, Run], tmp_path: Path) -> None:
    frozen = replace(ends[1].profile, own_encoders=True, image_frozen=True, text_frozen=True)
    between = interpolate(ends[0], replace(ends[1], profile=frozen), 0.5)
    assert not between.model.training
    save_run(tmp_path, between.model, between.profile, between.tokenizer)
    assert differing(state(load_run(tmp_path).model), state(between.model)) == set()


def test_runs_that_are_not_one_model_are_named(ends: tuple[Run, Run], first: Path) -> None:
    before, after = ends
    wide = load_run(first)
    wide.model.image_projection = torch.nn.Linear(wide.model.image_encoder.width, 5, bias=False)
    with pytest.raises(ValueError, match=r"image_projection.weight has shapes \(32, .*\(5, "):
        interpolate(before, wide, 0.5)
    more = load_run(first)
    more.model.extra = torch.nn.Linear(2, 2)
    with pytest.raises(ValueError, match=r"extra.bias is in one alone"):
        interpolate(before, more, 0.5)
    for share in (-0.1, 1.1):
        with pytest.raises(ValueError, match="share is a number from 0"):
            interpolate(before, after, share)
    words = train.make_tokenizer(TINY, ("other words altogether",))
    with pytest.raises(ValueError, match="have different vocabularies"):
        interpolate(before, replace(after, tokenizer=words), 0.5)


# ---- fewer pictures


@pytest.mark.parametrize("which", [None, "both"])
def test_fewer_pictures_have_their_own_captions_and_inputs(first: Path, which: str | None) -> None:
    profile = freeze(continue_from(first), which)
    trainer, val, _ = train.begin(profile, progress=False)
    whole, some = trainer.train, fewer_pictures(trainer.train, 20, seed=3)
    assert len(some.pairs.images) == len(some.images) == 20
    assert len(some.pairs.captions) == len(some.texts) == 100
    for row, name in enumerate(some.pairs.images):
        before = whole.pairs.images.index(name)
        assert [some.pairs.captions[i] for i in some.pairs.captions_of(row)] == [
            whole.pairs.captions[i] for i in whole.pairs.captions_of(before)
        ]
        assert torch.equal(some.images.batch([row]), whole.images.batch([before]))
        captions = np.array(some.pairs.captions_of(row)), np.array(whole.pairs.captions_of(before))
        found = [split.texts.batch(rows) for split, rows in zip((some, whole), captions, strict=True)]  # noqa: E501  # fmt: skip
        assert all(map(torch.equal, *((f,) if which else f for f in found)))
    assert set(some.pairs.images) < set(fewer_pictures(whole, 30, seed=3).pairs.images)
    assert some.pairs.images != fewer_pictures(whole, 20, seed=4).pairs.images
    short = Trainer(replace(profile, batch_size=10), trainer.model, some)
    with progress_bar(short, "few", progress=False) as bar:
        short.run_epoch(bar)
    short.validate(val)
    assert short.step == 2 and short.history[-1]["loss"] > 0
    for wrong in (0, 65):
        with pytest.raises(ValueError, match=f"number from 1 to 64, .* not {wrong}"):
            fewer_pictures(whole, wrong)


def test_a_profile_of_the_course_begins_nowhere() -> None:
    assert LAPTOP.start == "" and not LAPTOP.own_encoders and LAPTOP.image_knows
    assert not QUICK.image_knows
    assert np.isclose(QUICK.image_lr, 2e-3)
