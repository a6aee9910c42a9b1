"""Shards: written and read back, trained from as from a folder, with flat memory."""

from __future__ import annotations

import errno
import os
import random
import shutil
import subprocess
import sys
import tarfile
from collections import Counter
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cliplib import data, picturebook, shards, streaming, train, trainer
from cliplib.checkpoint import load_run
from cliplib.config import COURSE, QUICK
from cliplib.data import DataError, ensure, load_pairs
from cliplib.features import FeatureTable
from cliplib.gallery import find_gallery
from cliplib.pictures import ImageTransform, open_rgb
from cliplib.shards import read_index, read_samples, shards_of, write_shards
from cliplib.storage import read_tensors
from cliplib.store import PictureStore
from cliplib.streaming import StreamedPictures, StreamedSplit, Window

TINY = replace(
    QUICK, image_size=32, text_width=64, embed_dim=32, epochs=3, batch_size=16, head_dropout=0.1
)
SIZES = {"train": 70, "val": 16, "test": 16, "unseen": 8}
PLAIN = ImageTransform(32, 0, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bilinear")


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory):
    """A picture book of 110 pictures in a data folder of this module's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPLIB_DATA", str(tmp_path_factory.mktemp("data")))
        patch.setattr(picturebook, "SPLIT_SIZES", SIZES)
        yield ensure("picturebook", progress=False)


@pytest.fixture(scope="module")
def packed(book: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The book as shards: 70 training pictures in four of at most 20."""
    return write_shards(book, tmp_path_factory.mktemp("packed") / "shards", 20, progress=False)


def copy_of(packed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(packed, tmp_path / "copy"))


def paths(packed: Path, split: str) -> list[Path]:
    return [packed / shard.name for shard in shards_of(packed, split)]


# ---- written and read back


def test_bytes_and_captions_come_back_unchanged(book: Path, packed: Path) -> None:
    for split, count in SIZES.items():
        pairs = load_pairs(book, split)
        expected = {
            name: (path.read_bytes(), tuple(pairs.captions[i] for i in pairs.captions_of(row)))
            for row, (name, path) in enumerate(zip(pairs.images, pairs.paths(), strict=True))
        }
        samples = list(read_samples(paths(packed, split)))
        assert len(samples) == count
        found = {s.name: (s.picture.getvalue(), s.captions) for s in samples}
        assert found == expected


def test_the_index_says_what_is_there(packed: Path) -> None:
    index = read_index(packed)
    assert [shard.pictures for shard in index["train"]] == [20, 20, 20, 10]
    assert sum(shard.captions for shard in index["train"]) == 350
    assert {p.name for p in packed.iterdir()} == {
        "shards.json", *(shard.name for own in index.values() for shard in own)
    }  # fmt: skip
    text, sound = shards.report_shards(packed)
    assert sound and "train      4 shards" in text


def test_any_tar_reads_them_and_the_same_seed_writes_the_same_bytes(
    book: Path, packed: Path, tmp_path: Path
) -> None:
    with tarfile.open(packed / "val-000000.tar") as opened:
        names = opened.getnames()
    assert Counter(name.split(".")[1] for name in names) == {"jpg": 16, "json": 16}
    again = write_shards(book, tmp_path / "again", 20, progress=False)
    assert read_index(again) == read_index(packed)
    other = write_shards(book, tmp_path / "other", 20, seed=1, progress=False)
    assert read_index(other) != read_index(packed)


def test_the_order_in_shards_is_not_that_of_the_folder(book: Path, packed: Path) -> None:
    names = [sample.name for sample in read_samples(paths(packed, "train"))]
    listed = list(load_pairs(book, "train").images)
    assert sorted(names) == sorted(listed) and names != listed
    assert len(set(names[:20]) & set(listed[:20])) < 20


def test_a_shard_ends_at_its_megabytes(book: Path, tmp_path: Path) -> None:
    out = write_shards(book, tmp_path / "small", megabytes=0.2, progress=False)
    own = shards_of(out, "train")
    assert len(own) > 2 and sum(shard.pictures for shard in own) == 70
    assert all(200_000 <= shard.bytes < 300_000 for shard in own[:-1])


def test_larger_pictures_are_made_smaller_and_smaller_ones_stay(tmp_path: Path) -> None:
    folder = tmp_path / "two"
    (folder / "Images").mkdir(parents=True)
    for at, size in enumerate([(300, 200), (90, 100), (400, 300)]):
        values = np.random.default_rng(at).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
        Image.fromarray(values).save(folder / "Images" / f"p.{at}.png")
    rows = "".join(f"p.{at}.png,a caption\n" for at in range(3))
    (folder / "captions.txt").write_text(f"image,caption\n{rows}")
    out = write_shards(folder, tmp_path / "out", size=100, progress=False)
    found = {
        sample.name: sample.picture
        for split in read_index(out)
        for sample in read_samples(paths(out, split))
    }
    assert {name: open_rgb(picture, 400).size for name, picture in found.items()} == {
        "p.0.png": (150, 100), "p.1.png": (90, 100), "p.2.png": (133, 100)
    }  # fmt: skip
    assert found["p.1.png"].getvalue() == (folder / "Images" / "p.1.png").read_bytes()


# ---- what goes wrong


def test_a_broken_picture_is_named_or_left_out(
    book: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(book, tmp_path / "book"))
    bad = load_pairs(folder, "train").images[3]
    (folder / "Images" / bad).write_bytes(b"no picture")
    with pytest.raises(DataError, match=bad):
        write_shards(folder, tmp_path / "out", progress=False)
    assert not list(tmp_path.glob("out*"))
    out = write_shards(folder, tmp_path / "out", skip_bad=True, progress=False)
    assert bad in capsys.readouterr().out
    names = {sample.name for sample in read_samples(paths(out, "train"))}
    assert len(names) == 69 and bad not in names


def test_a_full_disk_is_named_and_leaves_nothing(
    book: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []

    def full(path: Path) -> str:
        written.append(path)
        if len(written) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        return "0"

    monkeypatch.setattr(shards, "sha256_of", full)
    with pytest.raises(DataError, match=r"disk of .* is full.*No shards were kept"):
        write_shards(book, tmp_path / "out", 20, progress=False)
    assert len(written) == 3 and not list(tmp_path.iterdir())


def test_a_writing_that_was_killed_is_not_taken_for_whole(
    book: Path, packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = copy_of(packed, tmp_path)
    (killed / "shards.json").unlink()  # it comes last
    with pytest.raises(DataError, match=r"no shards.json, which is written last"):
        train.settle(train.read_arguments(["--data", str(killed)]))
    aside = tmp_path / "out.aside"  # what a killed one leaves is no obstacle
    killed.rename(aside)
    write_shards(book, tmp_path / "out", 20, progress=False)
    assert not aside.exists() and read_index(tmp_path / "out") == read_index(packed)


def test_the_index_is_written_after_all_shards(
    book: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = []
    sound = shards.write_json
    monkeypatch.setattr(
        shards,
        "write_json",
        lambda path, content: there.extend(path.parent.iterdir()) or sound(path, content),
    )
    write_shards(book, tmp_path / "out", 20, progress=False)
    assert len(there) == 4 + 1 + 1 + 1


def test_a_missing_or_cut_shard_is_named(packed: Path, tmp_path: Path) -> None:
    cut = copy_of(packed, tmp_path)
    (cut / "train-000001.tar").unlink()
    whole = (cut / "train-000002.tar").read_bytes()
    (cut / "train-000002.tar").write_bytes(whole[:-5000])
    with pytest.raises(DataError) as told:
        ensure(str(cut))
    assert "train-000001.tar is missing" in str(told.value)
    assert f"train-000002.tar has {len(whole) - 5000:,} bytes" in str(told.value)


def test_a_changed_byte_is_found(packed: Path, tmp_path: Path) -> None:
    changed = copy_of(packed, tmp_path)
    content = bytearray((changed / "train-000002.tar").read_bytes())
    content[3000] ^= 1
    (changed / "train-000002.tar").write_bytes(content)
    text, sound = data.report(changed)
    assert not sound and "train-000002.tar was changed" in text


def test_a_shard_that_breaks_off_stops_training_with_its_name(packed: Path, tmp_path: Path) -> None:
    broken = copy_of(packed, tmp_path)
    window = Window(broken, "train", seed=0)
    content = (broken / "train-000003.tar").read_bytes()
    (broken / "train-000003.tar").write_bytes(content[:20_000])
    with pytest.raises(DataError, match=r"train-000003\.tar cannot be read"):
        list(window.epoch(0))


def test_without_the_library_a_sentence_says_what_to_install(
    book: Path, packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setitem(sys.modules, "webdataset", None)
    assert data.main(["shard", str(book), "--out", str(tmp_path / "out")]) == 1
    assert "python -m pip install webdataset" in capsys.readouterr().err
    assert train.main(["--data", str(packed), "--out", str(tmp_path / "run")]) == 1
    assert "python -m pip install webdataset" in capsys.readouterr().err


def test_the_command_writes_reports_and_refuses_a_folder_that_is_there(
    book: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["shard", str(book), "--out", str(tmp_path / "out"), "--pictures-a-shard", "50"]
    assert data.main(command) == 0
    assert "train      2 shards" in capsys.readouterr().out
    assert data.main(command) == 1
    assert "is there already" in capsys.readouterr().err
    assert data.main(["shard", str(tmp_path / "out"), "--out", str(tmp_path / "more")]) == 1
    assert "name the folder that they were made from" in capsys.readouterr().err
    assert data.main(["shard", str(book), "--out", "x", "--pictures-a-shard", "0"]) == 1
    assert "pictures a shard must be above 0, not 0" in capsys.readouterr().err


def test_what_needs_the_pictures_as_files_says_so(packed: Path) -> None:
    with pytest.raises(DataError, match="shards, which only training reads"):
        find_gallery(str(packed), None, None)


# ---- the stream


def names_of(window: Window, rows: range) -> list[str]:
    return [window.sample(row).name for row in rows]


def test_each_picture_passes_once_an_epoch_in_an_order_of_its_own(packed: Path) -> None:
    window = Window(packed, "train", seed=0, buffer=30)
    first, second = names_of(window, range(70)), names_of(window, range(70, 140))
    assert len(set(first)) == len(set(second)) == 70
    assert first != second
    assert names_of(Window(packed, "train", seed=0, buffer=30), range(70, 140)) == second
    assert names_of(Window(packed, "train", seed=1, buffer=30), range(70)) != first


def test_neighbours_in_a_shard_are_parted(packed: Path) -> None:
    """Batches of one epoch hold others than those of the next, not the same in another order."""
    window = Window(packed, "train", seed=0, buffer=30)
    batches = [set(names_of(window, range(start, start + 16))) for start in (0, 70)]
    assert len(batches[0] & batches[1]) < 12


def test_captions_are_the_pictures_own_and_drawn_anew_each_epoch(book: Path, packed: Path) -> None:
    pairs = load_pairs(book, "train")
    own = {
        name: {pairs.captions[i] for i in pairs.captions_of(row)}
        for row, name in enumerate(pairs.images)
    }
    window, drawn = Window(packed, "train", seed=0), {}
    for row in range(140):
        window.holds = 3
        name = window.sample(row).name
        told = [window.caption(turn * streaming.TURN + row) for turn in range(6)]
        assert set(told[:5]) == own[name] and told[5] == told[0]
        drawn.setdefault(name, []).append(told[0])
    assert sum(one != other for one, other in drawn.values()) > 35


def test_only_the_last_few_are_at_hand_and_what_has_gone_comes_again(packed: Path) -> None:
    window = Window(packed, "train", seed=0, buffer=30)
    window.holds = 8
    first = names_of(window, range(70))
    assert len(window._at_hand) == 8
    assert window.sample(2).name == first[2]
    assert names_of(window, range(3, 10)) == first[3:10]


def test_pixels_are_those_of_the_folder(book: Path, packed: Path) -> None:
    pairs = load_pairs(book, "train")
    store = PictureStore(pairs.paths(), PLAIN)
    window = Window(packed, "train", seed=0)
    window.holds = 48
    streamed, rows = StreamedPictures(window, PLAIN), np.arange(16)
    found = streamed.batch(rows)
    places = [pairs.images.index(name) for name in names_of(window, range(16))]
    assert torch.equal(found, store.batch(places))
    assert len(streamed) == 70


def test_a_plan_is_worked_out_and_asks_for_each_picture_once(packed: Path) -> None:
    split = StreamedSplit(Window(packed, "train", seed=0), PLAIN, None, "train")
    plan = split.plan(TINY, epoch=2)
    rows = np.concatenate([rows for rows, _ in plan])
    assert len(plan) == 4 and rows.tolist() == list(range(140, 204))
    captions = plan[-1][1]
    assert captions.shape == (2, 16) and (captions % streaming.TURN == plan[3][0]).all()
    assert [len(rows) for rows, _ in plan[1:3]] == [16, 16]
    with pytest.raises(IndexError):
        plan[4]
    with pytest.raises(ValueError, match="batch_size is 71"):
        split.plan(replace(TINY, batch_size=71), 0)


def test_several_processes_have_the_batch_of_one(
    packed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each decodes its part; captions of all, which the loss's floor asks for, are known to all."""
    whole = [s.name for s in Window(packed, "train", seed=0).epoch(0)][:64]
    seen = []
    trainers = [train.begin(replace(TINY, data=str(packed)), progress=False)[0] for _ in range(2)]
    monkeypatch.setattr("cliplib.processes.world", lambda: 2)
    for rank, begun in enumerate(trainers):
        monkeypatch.setattr("cliplib.processes.rank", lambda rank=rank: rank)
        window = begun.train.window
        for rows, captions in begun.plan(0):
            (own,) = begun.encoder.chunks(rows)
            begun.train.images.uint8(own)
            seen += [window.sample(row).name for row in own]
            assert all(begun.train.pairs.captions[int(number)] for number in captions[0])
    assert sorted(seen) == sorted(whole), "none twice, none left out"


# ---- training


@pytest.fixture(scope="module")
def profile(packed: Path) -> object:
    return replace(TINY, name="quick-shards", data=str(packed))


@pytest.fixture(scope="module")
def finished(profile: object, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "finished"
    train.train(profile, out, progress=False)
    return out


def weights(run: Path) -> dict[str, torch.Tensor]:
    return read_tensors(run / "model.safetensors")[0]


def equal(one: Path, other: Path) -> bool:
    first, second = weights(one), weights(other)
    return all(torch.equal(first[name], second[name]) for name in first)


def test_training_from_shards_is_reproducible(
    profile: object, finished: Path, tmp_path: Path
) -> None:
    metrics = train.train(profile, tmp_path / "again", progress=False)
    assert metrics["gallery_images"] == 16 and "t2i_r10" in metrics
    assert equal(finished, tmp_path / "again")
    train.train(replace(profile, seed=1), tmp_path / "other", test=False, progress=False)
    assert not equal(finished, tmp_path / "other")


def test_resuming_gives_what_an_uninterrupted_run_gives(
    profile: object, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = trainer.Trainer._step

    def step(self: trainer.Trainer, *batch: object) -> dict[str, float]:
        if self.step == self.steps_an_epoch + 2:
            raise KeyboardInterrupt
        return sound(self, *batch)

    with monkeypatch.context() as patch:
        patch.setattr(trainer.Trainer, "_step", step)
        with pytest.raises(KeyboardInterrupt):
            train.train(profile, tmp_path / "run", progress=False)
    train.train(profile, tmp_path / "run", resume=True, progress=False)
    assert equal(finished, tmp_path / "run")
    assert (finished / "history.csv").read_text() == (tmp_path / "run/history.csv").read_text()


def test_shards_and_folder_measure_alike(finished: Path, packed: Path, book: Path) -> None:
    run = load_run(finished)
    measured = [
        train.measure_split(run.model, train.prepare_split(
            run.profile, run.model, run.tokenizer, folder, "test", progress=False
        ))
        for folder in (packed, book)
    ]  # fmt: skip
    for name in ("t2i_r1", "t2i_r5", "i2t_r10", "gallery_captions"):
        assert measured[0][name] == measured[1][name]


def test_the_vocabulary_is_the_folders(finished: Path, book: Path) -> None:
    expected = train.make_tokenizer(TINY, load_pairs(book, "train").captions)
    assert load_run(finished).tokenizer.to_json() == expected.to_json()


def test_a_vocabulary_is_learned_from_the_first_captions(
    packed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "VOCABULARY_FROM", 12)
    told = shards.vocabulary_captions(packed)
    first = [text for sample in read_samples(paths(packed, "train")) for text in sample.captions]
    assert list(told) == first[:12]


def test_chunks_train_what_a_whole_batch_trains(profile: object, tmp_path: Path) -> None:
    """Gradient caching asks for each chunk's pictures and captions again."""
    still = replace(profile, head_dropout=0.0, image_encoder="test_vit", image_size=160, epochs=1)
    runs = []
    for size in (0, 4):
        out = tmp_path / str(size)
        train.train(replace(still, chunk_size=size), out, test=False, progress=False)
        runs.append(weights(out))
    for name, whole in runs[0].items():
        torch.testing.assert_close(runs[1][name], whole, rtol=0, atol=2e-4)


def test_frozen_encoders_run_over_the_stream(
    finished: Path, profile: object, packed: Path, tmp_path: Path
) -> None:
    """Features are those that would be kept, and only projections learn."""
    start = train.continue_from(finished, 1.0)
    frozen = replace(train.freeze(start, "both"), epochs=2)
    begun = train.begin(frozen, progress=False)[0]
    begun.model.train()  # as before each epoch
    rows, _ = begun.plan(0)[0]
    features = begun.train.images.batch(rows)
    assert features.shape == (16, begun.model.image_encoder.width) and not features.requires_grad
    pixels = StreamedPictures(begun.train.window, begun.train.images.inputs.transform).batch(rows)
    with torch.no_grad():
        expected = begun.model.image_encoder.eval()(pixels)
    assert torch.equal(features, FeatureTable(expected).batch(np.arange(16)))
    metrics = train.train(frozen, tmp_path / "run", test=False, progress=False)
    assert 0 <= metrics["val_t2i_r1"] <= 1
    before, after = weights(finished), weights(tmp_path / "run")
    moved = {name for name in after if not torch.equal(before[name], after[name])}
    assert moved == {"image_projection.weight", "text_projection.weight", "log_logit_scale"}


def test_the_command_trains_from_shards(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setitem(train.PROFILES, "quick", replace(TINY, batch_size=64))
    command = ["--data", str(packed), "--out", str(tmp_path / "run"), "--epochs", "1"]
    assert train.main([*command, "--table", "x.csv"]) == 1
    assert "--table has no place there" in capsys.readouterr().err
    assert train.main([*command, "--no-test"]) == 0
    told = capsys.readouterr().out
    assert "a batch has 35 pairs instead of 64" in told and "val_t2i_r1" in told


# ---- memory

# VmHWM, since a process that was started by a large one inherits that one's ru_maxrss
STREAM = """
import sys
from pathlib import Path
import numpy as np
from tests.test_shards import PLAIN
from cliplib.shards import read_samples
from cliplib.config import QUICK
from cliplib.encoders import train_tokenizer
from cliplib.streaming import StreamedSplit, Window

def most():
    told = open("/proc/self/status").read()
    return int(told.split("VmHWM:")[1].split()[0]) / 1000

words = train_tokenizer(("a red boat at night",), 200, 40)
split = StreamedSplit(Window(Path(sys.argv[1]), "train", 0, buffer=100), PLAIN, words, "train")
for rows, captions in (plan := split.plan(QUICK, 0))[:2]:
    split.images.batch(rows), split.texts.batch(captions[0])
before, seen = most(), 0
for epoch in range(2):
    plan = split.plan(QUICK, epoch)
    pictures = split.images.batches(rows for rows, _ in plan)
    for (rows, captions), batch in zip(plan, pictures, strict=True):
        split.texts.batch(captions.reshape(-1))
        seen += len(batch)
print(seen, most() - before)
"""


def large_set(folder: Path, pictures: int) -> Path:
    """Noise of 32 × 32 pixels, which JPEG can hardly pack; twenty different pictures, repeated."""
    (folder / "Images").mkdir(parents=True)
    (folder / "splits").mkdir()
    files = []
    for seed in range(20):
        pixels = np.frombuffer(random.Random(seed).randbytes(32 * 32 * 3), np.uint8)
        file = BytesIO()
        Image.fromarray(pixels.reshape(32, 32, 3)).save(file, "JPEG", quality=95)
        files.append(file.getvalue())
    names = [f"{at:05}.jpg" for at in range(pictures + 2)]
    for at, name in enumerate(names):
        (folder / "Images" / name).write_bytes(files[at % 20])
    rows = [f"{name},caption {turn} of {name} and more\n" for name in names for turn in range(5)]
    (folder / "captions.txt").write_text("image,caption\n" + "".join(rows))
    for split, own in (("train", names[:-2]), ("val", names[-2:-1]), ("test", names[-1:])):
        (folder / "splits" / f"{split}.txt").write_text("".join(f"{name}\n" for name in own))
    return folder


@pytest.mark.skipif(sys.platform != "linux", reason="Peak memory is read from Linux's /proc.")
def test_memory_does_not_grow_with_the_set(tmp_path: Path) -> None:
    """4,000 pictures have 10 MB of files, 20 MB of captions' tokens and 12 MB of pixels."""
    grown = {}
    for pictures in (500, 4000):
        folder = large_set(tmp_path / str(pictures), pictures)
        out = write_shards(folder, tmp_path / f"{pictures}-shards", 250, progress=False)
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(COURSE), *sys.path])}
        ran = subprocess.run(
            [sys.executable, "-c", STREAM, str(out)],
            env=environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        seen, more = ran.stdout.split()
        assert int(seen) == 2 * (pictures // 128 * 128)
        grown[pictures] = float(more)
    assert grown[4000] < grown[500] + 4, grown
