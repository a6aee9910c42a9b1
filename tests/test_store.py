"""Pictures kept in a file, and batches on their way to an accelerator."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from cliplib import features, store
from cliplib.config import QUICK
from cliplib.encoders import ImageEncoder
from cliplib.pictures import DataError, ImageTransform
from cliplib.store import PictureStore

TRANSFORM = ImageTransform(16, 0, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bilinear")


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Twenty different pictures, without loss; the data folder is empty."""
    monkeypatch.setenv("CLIPLIB_DATA", str(tmp_path / "data"))
    made = [tmp_path / f"{seed:02}.png" for seed in range(20)]
    for seed, path in enumerate(made):
        values = np.random.default_rng(seed).integers(0, 256, (20, 30, 3), dtype=np.uint8)
        Image.fromarray(values).save(path)
    return made


def refuse_to_decode(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        pytest.fail("decodes a picture again")

    monkeypatch.setattr(ImageTransform, "load", refuse)


def test_a_file_holds_what_memory_would(paths: list[Path]) -> None:
    in_memory = PictureStore(paths, TRANSFORM)
    in_file = PictureStore(paths, TRANSFORM, memory_limit=0).in_file(progress=False)
    rows = np.array([3, 19, 0, 3])
    assert not PictureStore(paths, TRANSFORM, memory_limit=0).keeps and in_file.keeps
    assert np.array_equal(in_file.uint8(rows), in_memory.uint8(rows))
    assert torch.equal(in_file.batch(rows), in_memory.batch(rows))
    assert isinstance(in_file._kept, np.memmap), "only what is asked for is read"


def test_the_file_is_found_again(paths: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    expected = PictureStore(paths, TRANSFORM).in_file(progress=False).uint8(range(20))
    refuse_to_decode(monkeypatch)
    again = PictureStore(paths, TRANSFORM, memory_limit=0).in_file(progress=False)
    assert np.array_equal(again.uint8(range(20)), expected)


def test_a_changed_picture_or_transform_has_another_file(paths: list[Path]) -> None:
    PictureStore(paths, TRANSFORM).in_file(progress=False)
    Image.new("RGB", (20, 30), "blue").save(paths[4])
    changed = PictureStore(paths, TRANSFORM, memory_limit=0).in_file(progress=False)
    assert changed.uint8([4])[0, 0, 0].tolist() == [0, 0, 255]
    larger = ImageTransform(24, 0, TRANSFORM.mean, TRANSFORM.std, "bilinear")
    assert PictureStore(paths, larger).in_file(progress=False).uint8([0]).shape == (1, 24, 24, 3)


def test_a_picture_that_cannot_be_decoded_leaves_no_file(paths: list[Path], tmp_path: Path) -> None:
    paths[7].write_bytes(b"no picture")
    with pytest.raises(DataError, match=paths[7].name):
        PictureStore(paths, TRANSFORM, memory_limit=0).in_file(progress=False)
    assert not list((tmp_path / "data" / "pixels").iterdir())


def test_without_room_pictures_are_decoded_anew(
    paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10**9))
    found = PictureStore(paths, TRANSFORM, memory_limit=0).in_file(progress=False)
    assert not found.keeps and found.batch([1]).shape == (1, 3, 16, 16)
    assert not list((tmp_path / "data" / "pixels").iterdir())


def test_training_takes_the_file_when_memory_is_short(
    paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "free_memory", lambda: 1000)
    encoder = ImageEncoder("test_resnet", pretrained=False)
    inputs = features.image_inputs(QUICK, encoder, paths, progress=False)
    assert isinstance(inputs._kept, np.memmap)
    monkeypatch.setattr(store, "free_memory", lambda: 10**9)
    inputs = features.image_inputs(QUICK, encoder, paths, progress=False)
    assert inputs.keeps and not isinstance(inputs._kept, np.memmap)


@pytest.mark.parametrize("pinned", [False, True])
def test_an_accelerator_gets_bytes_and_makes_the_same_of_them(
    pinned: bool, paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without one here, a device that is not called "cpu" and computes like one stands in."""
    rows = [np.arange(8), np.arange(8, 20), np.array([3, 3])]
    on_cpu = [batch.clone() for batch in PictureStore(paths, TRANSFORM).batches(rows)]
    moved = []

    def to(tensor: torch.Tensor, device: object, non_blocking: bool = False) -> torch.Tensor:
        if tensor.dtype == torch.uint8:
            moved.append((tuple(tensor.shape), str(device), non_blocking))
        return tensor

    monkeypatch.setattr(torch.Tensor, "to", to)
    monkeypatch.setattr(torch.Tensor, "is_pinned", lambda tensor: pinned)
    elsewhere = list(PictureStore(paths, TRANSFORM).batches(rows, torch.device("mps")))
    monkeypatch.undo()
    # only from pinned memory may Python go on meanwhile: other memory could be used again too soon
    assert moved == [((len(some), 16, 16, 3), "mps", pinned) for some in rows]
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(on_cpu, elsewhere, strict=True))
