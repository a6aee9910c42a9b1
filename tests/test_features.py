"""Kept features: computed once, never stale, whole after any interruption."""

from __future__ import annotations

import dataclasses
import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from cliplib import features
from cliplib.config import QUICK
from cliplib.data import TokenTable
from cliplib.encoders import ImageEncoder, masked_mean, text_encoder, train_tokenizer
from cliplib.features import (
    FeatureTable,
    caption_features,
    files_digest,
    image_inputs,
    kept,
    picture_features,
    text_inputs,
    weights_digest,
)
from cliplib.pictures import ImageTransform
from cliplib.store import PictureStore

TRANSFORM = ImageTransform(8, 0, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bilinear")
MADE_BY = {"encoder": "squares", "weights": "abc"}
CAPTIONS = [
    "A red house and a blue cat in the snow at night",
    "A cat.",
    "Two red boats on the sea",
    "A red boat",
    "",
    "A blue house and a red cat and a red boat on the sea at night",
    "A cat at night",
]


@pytest.fixture(autouse=True)
def made_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where features are kept, four rows to a part."""
    monkeypatch.setenv("CLIPLIB_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(features, "PART", 4)
    monkeypatch.setattr(features, "PICTURES_AT_ONCE", 3)
    monkeypatch.setattr(features, "CAPTIONS_AT_ONCE", 3)
    monkeypatch.setattr(features, "pick_device", lambda: torch.device("cpu"))
    return tmp_path / "data" / "features"


class Squares:
    """Encodes row r as (r, r²) and remembers which rows it was asked for."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.rows: list[int] = []
        self.fails_at = fails_at

    def __call__(self, rows: np.ndarray) -> Tensor:
        if self.fails_at in rows:
            raise KeyboardInterrupt
        self.rows += rows.tolist()
        return torch.as_tensor(np.stack([rows, rows**2], axis=1)).float()


SQUARES = torch.tensor([[row, row**2] for row in range(10)]).float()


def keep_squares(encode: Squares, made_by: dict[str, str] = MADE_BY) -> Tensor:
    return kept("pictures", made_by, 10, encode, rows_at_once=3, progress=False)


def test_features_are_computed_once_and_read_afterwards(made_here: Path) -> None:
    first, again = Squares(), Squares()
    assert torch.equal(keep_squares(first), SQUARES)
    assert first.rows == list(range(10))
    assert torch.equal(keep_squares(again), SQUARES)
    assert again.rows == []
    (path,) = made_here.iterdir()
    assert path.name.startswith("pictures-") and path.suffix == ".safetensors"


def test_anything_else_that_made_them_makes_them_anew(made_here: Path) -> None:
    keep_squares(Squares())
    for change in ({"weights": "abd"}, {"encoder": "cubes"}, {"transform": "mirrored"}):
        other = Squares()
        keep_squares(other, MADE_BY | change)
        assert other.rows == list(range(10)), change
    assert len(list(made_here.iterdir())) == 4, "none overwrites another"


def test_a_header_that_says_otherwise_is_not_believed(made_here: Path) -> None:
    keep_squares(Squares())
    (path,) = made_here.iterdir()
    features.write_tensors(path, {"features": torch.zeros(10, 2)}, MADE_BY | {"weights": "old"})
    assert torch.equal(keep_squares(Squares()), SQUARES)


def test_an_interruption_costs_one_part_at_most(made_here: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        keep_squares(Squares(fails_at=9))
    assert not list(made_here.glob("*.safetensors")), "parts are not the whole"
    resumed = Squares()
    assert torch.equal(keep_squares(resumed), SQUARES)
    assert resumed.rows == [8, 9], "the first two parts were kept"
    assert [path.suffix for path in made_here.iterdir()] == [".safetensors"]


def test_a_long_pass_is_foretold_and_a_short_one_is_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(features, "seconds_a_row", lambda encode, rows: 0.5)
    for count in (60, 61):
        kept("pictures", MADE_BY | {"pictures": str(count)}, count, Squares(), 3, progress=True)
    told = capsys.readouterr().out
    assert told == "An encoder now runs over 61 pictures, once: about 30 seconds.\n"


def test_a_row_is_timed_on_the_second_batch() -> None:
    def slow_at_first(rows: np.ndarray) -> Tensor:
        time.sleep(0.1 if calls else 0.5)
        calls.append(len(rows))
        return torch.zeros(len(rows), 2)

    calls: list[int] = []
    assert 0.02 <= features.seconds_a_row(slow_at_first, 5) < 0.06
    assert calls == [5, 5]


def test_a_gpu_takes_more_at_once() -> None:
    assert features.at_once(16, torch.device("cpu")) == 16
    assert features.at_once(16, torch.device("cuda")) == 128


def test_parts_of_another_making_are_not_used() -> None:
    with pytest.raises(KeyboardInterrupt):
        keep_squares(Squares(fails_at=9))
    other = Squares()
    keep_squares(other, MADE_BY | {"weights": "abd"})
    assert other.rows == list(range(10))


@pytest.mark.parametrize("left", [0.0, 0.5, 0.98])
def test_a_damaged_part_is_made_again(made_here: Path, left: float) -> None:
    with pytest.raises(KeyboardInterrupt):
        keep_squares(Squares(fails_at=9))
    first, _ = sorted(made_here.glob("*.parts/*"))
    first.write_bytes(first.read_bytes()[: int(left * first.stat().st_size)])
    resumed = Squares()
    assert torch.equal(keep_squares(resumed), SQUARES)
    assert resumed.rows == [0, 1, 2, 3, 8, 9]


@pytest.mark.parametrize("left", [0.0, 0.5, 0.98])
def test_a_damaged_file_is_made_again(made_here: Path, left: float) -> None:
    keep_squares(Squares())
    (path,) = made_here.iterdir()
    path.write_bytes(path.read_bytes()[: int(left * path.stat().st_size)])
    again = Squares()
    assert torch.equal(keep_squares(again), SQUARES)
    assert again.rows == list(range(10))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_features_are_single_precision_and_can_be_trained_on(dtype: torch.dtype) -> None:
    def encode(rows: np.ndarray) -> Tensor:
        return torch.as_tensor(rows)[:, None].to(dtype)

    for _ in range(2):  # computed, then read
        found = kept("pictures", MADE_BY, 6, encode, rows_at_once=4, progress=False)
        assert found.dtype == torch.float32 and found.shape == (6, 1)
        head = nn.Linear(1, 1)
        head(found).sum().backward()
        assert head.weight.grad.item() == 15


def test_a_table_hands_out_rows_like_a_store() -> None:
    table = FeatureTable(SQUARES)
    assert len(table) == 10
    assert torch.equal(table.batch(np.array([3, 0, 3])), SQUARES[[3, 0, 3]])
    batches = list(table.batches([np.array([1]), np.array([2, 9])]))
    assert [batch.shape for batch in batches] == [(1, 2), (2, 2)]
    assert torch.equal(batches[1], SQUARES[[2, 9]])


class CountingPictures(nn.Module):
    """A tiny image encoder that counts the pictures it sees."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.layer = nn.Conv2d(3, 5, 3)
        self.register_buffer("mean", torch.zeros(5))
        self.seen = 0

    def forward(self, pictures: Tensor) -> Tensor:
        self.seen += len(pictures)
        return self.layer(pictures).amax((2, 3)) - self.mean


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    random = np.random.default_rng(0)
    found = []
    for number in range(7):
        path = tmp_path / f"{number}.png"
        Image.fromarray(random.integers(0, 256, (12, 10, 3), np.uint8)).save(path)
        found.append(path)
    return found


def seen_by(encoder: CountingPictures, paths: list[Path], transform: ImageTransform) -> int:
    before = encoder.seen
    picture_features(encoder, "counting", paths, transform, progress=False)
    return encoder.seen - before


def test_picture_features_equal_a_direct_pass(paths: list[Path]) -> None:
    encoder = CountingPictures()
    pictures = PictureStore(paths, TRANSFORM).batch(np.arange(7))
    with torch.no_grad():
        direct = encoder(pictures)
    for _ in range(2):  # computed, then read
        found = picture_features(encoder, "counting", paths, TRANSFORM, progress=False)
        assert torch.allclose(found.batch(np.arange(7)), direct, atol=1e-6)
        assert not found.features.requires_grad, "the encoder is frozen"
    assert encoder.seen == 14


def test_picture_features_are_of_the_network_in_evaluation_mode(paths: list[Path]) -> None:
    encoder = ImageEncoder("test_resnet", pretrained=False).train()
    pictures = PictureStore(paths, encoder.transform(32, 0)).batch(np.arange(7))
    found = picture_features(encoder, "x", paths, encoder.transform(32, 0), progress=False)
    with torch.no_grad():
        direct = encoder.eval()(pictures)
    assert torch.allclose(found.features, direct, atol=1e-5)


def test_whatever_changes_pictures_makes_their_features_anew(paths: list[Path]) -> None:
    encoder = CountingPictures()
    assert seen_by(encoder, paths, TRANSFORM) == 7
    assert seen_by(encoder, paths, TRANSFORM) == 0

    with torch.no_grad():
        encoder.layer.weight[0, 0, 0, 0] += 1e-3
    assert seen_by(encoder, paths, TRANSFORM) == 7, "a weight"
    encoder.mean += 1
    assert seen_by(encoder, paths, TRANSFORM) == 7, "a buffer"

    for change in ({"size": 9}, {"crop": 0.9}, {"mean": (0.5, 0.5, 0.4)},
                   {"std": (0.5, 0.5, 0.4)}, {"interpolation": "bicubic"}):  # fmt: skip
        assert seen_by(encoder, paths, dataclasses.replace(TRANSFORM, **change)) == 7, change

    assert seen_by(encoder, paths[::-1], TRANSFORM) == 7, "the order"
    assert seen_by(encoder, paths[:6], TRANSFORM) == 6, "one fewer"
    Image.new("RGB", (12, 10), "red").save(paths[2])
    assert seen_by(encoder, paths, TRANSFORM) == 7, "another picture of another size"
    assert seen_by(encoder, paths, TRANSFORM) == 0


def test_a_picture_of_the_same_size_but_of_another_time_is_noticed(paths: list[Path]) -> None:
    before = files_digest(paths)
    assert files_digest(paths) == before
    stat = paths[0].stat()
    os.utime(paths[0], ns=(stat.st_atime_ns, stat.st_mtime_ns + 1_000_000_000))
    assert files_digest(paths) != before


def test_a_pass_over_pictures_goes_on_where_it_was_interrupted(
    paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, forward = CountingPictures(), CountingPictures.forward

    def interrupted(self: CountingPictures, pictures: Tensor) -> Tensor:
        if self.seen >= 4:
            raise KeyboardInterrupt
        return forward(self, pictures)

    with monkeypatch.context() as patch:
        patch.setattr(CountingPictures, "forward", interrupted)
        with pytest.raises(KeyboardInterrupt):
            seen_by(encoder, paths, TRANSFORM)
    assert encoder.seen == 4
    assert seen_by(encoder, paths, TRANSFORM) == 3


class CountingWords(nn.Module):
    """A tiny text encoder whose answer depends on every token, its place and the mask."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(6)
        self.words, self.places = nn.Embedding(100, 5), nn.Embedding(30, 5)
        self.seen, self.padding = 0, 0

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        self.seen += len(ids)
        self.padding += int((mask == 0).sum())
        places = self.places(torch.arange(ids.shape[1]))
        return masked_mean((self.words(ids) + places).tanh(), mask)


TOKENIZER = train_tokenizer(CAPTIONS * 2, 60, max_tokens=20)


def test_caption_features_equal_a_direct_pass_in_order() -> None:
    encoder = CountingWords()
    ids, mask = TokenTable(TOKENIZER.encode(CAPTIONS)).batch(range(7))
    with torch.no_grad():
        direct = encoder(ids, mask)
    assert (direct[:, None] - direct[None]).abs().sum(2).add(torch.eye(7)).min() > 0.01
    encoder.seen = encoder.padding = 0
    for _ in range(2):  # computed, then read
        found = caption_features(encoder, "words", CAPTIONS, TOKENIZER, progress=False)
        assert torch.allclose(found.features, direct, atol=1e-6)
    assert encoder.seen == 7
    assert encoder.padding < 0.5 * (mask == 0).sum(), "sorted by length inside"


def test_whatever_changes_captions_makes_their_features_anew() -> None:
    encoder = CountingWords()

    def newly_seen(captions: list[str], tokenizer: object = TOKENIZER) -> int:
        before = encoder.seen
        caption_features(encoder, "words", captions, tokenizer, progress=False)
        return encoder.seen - before

    assert (newly_seen(CAPTIONS), newly_seen(CAPTIONS)) == (7, 0)
    assert newly_seen([*CAPTIONS[:6], "A cat at sea"]) == 7, "one caption"
    assert newly_seen(CAPTIONS[::-1]) == 7, "their order"
    assert newly_seen(CAPTIONS, train_tokenizer(CAPTIONS * 2, 60, max_tokens=6)) == 7, "their cut"
    with torch.no_grad():
        encoder.places.weight[0, 0] += 1e-3
    assert newly_seen(CAPTIONS) == 7, "a weight"


def test_a_digest_of_weights_knows_names_and_buffers() -> None:
    one, other = CountingPictures(), CountingPictures()
    assert weights_digest(one) == weights_digest(other)
    other.mean[0] = 1e-3
    assert weights_digest(one) != weights_digest(other)
    assert weights_digest(nn.ModuleDict({"a": nn.ReLU()})) == weights_digest(nn.ReLU())
    layer = nn.Linear(2, 2)
    named = [weights_digest(nn.ModuleDict({name: layer})) for name in "ab"]
    assert named[0] != named[1]
    assert weights_digest(layer) != weights_digest(layer.half())
    assert weights_digest(nn.Linear(2, 2).bfloat16()), "which NumPy does not know"


def test_only_frozen_encoders_have_kept_features(paths: list[Path], made_here: Path) -> None:
    torch.manual_seed(8)
    profile = dataclasses.replace(QUICK, image_size=32, text_width=16, vocabulary_size=60)
    frozen = dataclasses.replace(
        profile, image_pretrained=True, image_frozen=True, text_pretrained=True, text_frozen=True
    )
    image, text = ImageEncoder("test_resnet", pretrained=False), text_encoder(profile)
    raw = image_inputs(profile, image, paths), text_inputs(profile, text, CAPTIONS, TOKENIZER)
    assert isinstance(raw[0], PictureStore) and isinstance(raw[1], TokenTable)
    assert not made_here.exists()
    pictures = image_inputs(frozen, image, paths, progress=False)
    captions = text_inputs(frozen, text, CAPTIONS, TOKENIZER, progress=False)
    assert isinstance(pictures, FeatureTable) and isinstance(captions, FeatureTable)
    with torch.no_grad():
        assert torch.allclose(pictures.features, image(raw[0].batch(range(7))), atol=1e-5)
        assert torch.allclose(captions.features, text(*raw[1].batch(range(7))), atol=1e-5)
    assert sorted(path.name.split("-")[0] for path in made_here.iterdir()) == [
        "captions",
        "pictures",
    ]
    logits = ImageEncoder("test_resnet", pretrained=False, output="logits")
    wide = image_inputs(dataclasses.replace(frozen, image_output="logits"), logits, paths, False)
    assert wide.features.shape == (7, 1000)
