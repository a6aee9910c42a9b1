"""Transforms, damaged pictures, the store and its speed beside a plain loader."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cliplib.config import COURSE
from cliplib.memory import BufferRing, free_memory
from cliplib.pictures import (
    DataError,
    ImageTransform,
    check_pictures,
    open_rgb,
)
from cliplib.store import PictureStore

REAL = os.environ.get("CLIPLIB_FLICKR8K")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)


def transform(size: int = 16, crop: float = 0, interpolation: str = "bilinear") -> ImageTransform:
    return ImageTransform(size, crop, MEAN, STD, interpolation)


def noise(height: int, width: int, seed: int = 0) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def save(picture: Image.Image, path: Path, **options: object) -> Path:
    picture.save(path, **options)
    return path


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """Twenty different pictures of 20 × 30 pixels, without loss."""
    return [save(noise(20, 30, seed), tmp_path / f"{seed:02}.png") for seed in range(20)]


# ---- transforms


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_squash_keeps_the_whole_picture(tmp_path: Path, interpolation: str) -> None:
    path = save(noise(40, 70), tmp_path / "a.png")
    pixels = transform(16, 0, interpolation).load(path)
    resample = getattr(Image.Resampling, interpolation.upper())
    assert pixels.dtype == np.uint8 and pixels.shape == (16, 16, 3)
    assert np.array_equal(pixels, np.asarray(noise(40, 70).resize((16, 16), resample)))


@pytest.mark.parametrize("height, width", [(40, 71), (73, 40), (50, 50), (224, 300)])
@pytest.mark.parametrize("crop", [0.875, 0.9, 1.0])
def test_crop_is_torchvisions(tmp_path: Path, height: int, width: int, crop: float) -> None:
    vision = pytest.importorskip("torchvision.transforms")
    path = save(noise(height, width), tmp_path / "a.png")
    size = 32
    bicubic = vision.InterpolationMode.BICUBIC
    theirs = vision.Compose([vision.Resize(int(size / crop), bicubic), vision.CenterCrop(size)])
    ours = transform(size, crop, "bicubic").load(path)
    assert np.array_equal(ours, np.asarray(theirs(noise(height, width))))


def test_crop_loses_the_sides_and_squash_does_not(tmp_path: Path) -> None:
    picture = Image.new("RGB", (90, 30), RED)
    picture.paste(BLUE, (30, 0, 60, 30))
    path = save(picture, tmp_path / "a.png")
    assert (transform(10, 1.0).load(path)[:, 1:-1] == BLUE).all()
    assert (transform(9, 0).load(path)[:, 0] == RED).all()


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    picture = Image.new("RGB", (64, 32), RED)
    picture.paste(BLUE, (32, 0, 64, 32))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it a quarter clockwise
    path = save(picture, tmp_path / "a.jpg", exif=exif, quality=95, subsampling=0)
    upright = open_rgb(path, 32)
    assert upright.size == (32, 64)
    top, bottom = np.asarray(upright)[4, 16], np.asarray(upright)[60, 16]
    assert np.abs(top.astype(int) - RED).max() < 10
    assert np.abs(bottom.astype(int) - BLUE).max() < 10


def test_grey_and_cmyk(tmp_path: Path) -> None:
    grey = save(Image.new("L", (20, 20), 77), tmp_path / "grey.png")
    assert (transform().load(grey) == 77).all()
    cmyk = save(Image.new("RGB", (20, 20), RED).convert("CMYK"), tmp_path / "c.jpg", quality=95)
    assert np.abs(transform().load(cmyk).astype(int) - RED).max() < 10


def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path: Path) -> None:
    values = np.full((20, 20), 0x4D00, np.uint16)
    path = save(Image.fromarray(values), tmp_path / "deep.png")
    assert (transform().load(path) == 0x4D).all()


def test_transparent_parts_are_white(tmp_path: Path) -> None:
    clear = Image.new("RGBA", (20, 20), (0, 0, 0, 0))
    clear.paste((255, 0, 0, 255), (0, 0, 20, 10))
    palette = Image.new("P", (20, 20), 1)
    palette.putpalette([255, 0, 0, 0, 0, 0])
    palette.paste(0, (0, 0, 20, 10))
    rgba = save(clear, tmp_path / "rgba.png")
    indexed = save(palette, tmp_path / "indexed.png", transparency=1)
    for path in (rgba, indexed):
        pixels = transform(20).load(path)
        assert (pixels[:10] == RED).all(), path
        assert (pixels[10:] == WHITE).all(), path


def test_large_jpeg_is_reduced_while_decoding_never_below_what_is_needed(tmp_path: Path) -> None:
    picture = noise(9, 12).resize((1200, 900), Image.Resampling.BICUBIC)
    path = save(picture, tmp_path / "a.jpg", quality=95)
    assert open_rgb(path, 224).size == (300, 225)
    assert open_rgb(path, 226).size == (600, 450)
    assert open_rgb(path, 1000).size == (1200, 900)
    exact = np.asarray(picture.resize((224, 224), Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(transform(224, 0, "bicubic").load(path) - exact).mean() < 2


def test_normalise_is_what_it_says(paths: list[Path]) -> None:
    pixels = np.stack([transform().load(path) for path in paths])  # (B, H, W, 3)
    expected = (pixels / 255 - np.array(MEAN)) / np.array(STD)
    for given in (pixels, torch.from_numpy(pixels)):
        out = transform().normalise(given)
        assert out.shape == (20, 3, 16, 16) and out.dtype == torch.float32
        assert out.is_contiguous(memory_format=torch.channels_last)
        assert np.abs(out.permute(0, 2, 3, 1).numpy() - expected).max() < 1e-5


def test_normalise_refuses_another_shape_or_type() -> None:
    for wrong in (np.zeros((8, 8, 3), np.uint8), np.zeros((2, 8, 8, 3), np.float32)):
        with pytest.raises(ValueError, match=r"uint8 pictures of shape \(B, H, W, 3\), got"):
            transform().normalise(wrong)


@pytest.mark.parametrize(
    "field, value",
    [("size", 0), ("crop", 1.2), ("interpolation", "nearest"), ("std", (1.0, 0.0, 1.0))],
)
def test_transform_that_cannot_work(field: str, value: object) -> None:
    settings = {"size": 8, "crop": 0, "mean": MEAN, "std": STD, "interpolation": "bilinear"}
    with pytest.raises(ValueError, match=field):
        ImageTransform(**(settings | {field: value}))


# ---- damaged pictures


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9, 0.99])
def test_cut_off_file_is_damaged(tmp_path: Path, suffix: str, share: float) -> None:
    path = save(noise(300, 400), tmp_path / f"cut{suffix}")
    whole = path.read_bytes()
    assert check_pictures([path]) == []
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(DataError, match="cut"):
        transform().load(path)
    (sentence,) = check_pictures([path])
    assert str(path) in sentence


def test_check_names_all_and_only_the_damaged_in_order(paths: list[Path]) -> None:
    paths[3].write_text("<html>not found</html>")
    paths[11].unlink()
    first, second = check_pictures(paths, workers=3)
    assert first.startswith(f"{paths[3]} cannot be decoded")
    assert second == f"{paths[11]} is missing."


def test_store_names_every_damaged_picture_at_once(paths: list[Path]) -> None:
    paths[3].write_bytes(b"")
    paths[11].unlink()
    store = PictureStore(paths, transform(), workers=2)
    assert store.batch([0, 1]).shape[0] == 2
    with pytest.raises(DataError, match="2 of 20 pictures") as caught:
        store.batch([2, 3])  # the other damaged one is not among these rows
    assert "03.png" in str(caught.value) and "11.png is missing" in str(caught.value)
    assert "skip_bad=True" in str(caught.value)


# ---- the store


def test_batches_hold_the_rows_asked_for(paths: list[Path]) -> None:
    store = PictureStore(paths, transform(), workers=2)
    pixels = np.stack([transform().load(path) for path in paths])
    assert len(store) == 20
    for rows in ([7], [3, 19, 3, 0], np.arange(20)[::-1], range(5)):
        assert np.array_equal(store.uint8(rows), pixels[list(rows)])
        batch = store.batch(rows)
        assert batch.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(batch, transform().normalise(pixels[list(rows)]))


@pytest.mark.parametrize("size", [15, 16, 40, 97])
def test_every_size_is_normalised_alike(paths: list[Path], size: int) -> None:
    store = PictureStore(paths, transform(size), workers=2)
    expected = transform(size).normalise(store.uint8(range(20)))
    assert torch.equal(store.batch(range(20)), expected)


def test_rows_out_of_range(paths: list[Path]) -> None:
    store = PictureStore(paths, transform())
    for rows in ([20], [-1, 3]):
        with pytest.raises(IndexError, match="0 to 19"):
            store.batch(rows)


def test_each_picture_is_decoded_once(paths: list[Path]) -> None:
    store = PictureStore(paths, transform(), workers=2)
    first = store.batch(range(20)).clone()
    for path in paths:
        path.unlink()
    assert store.keeps
    assert torch.equal(store.batch(range(20)), first)


def test_set_beyond_the_memory_limit_is_decoded_anew(paths: list[Path]) -> None:
    needed = 20 * 16 * 16 * 3
    assert PictureStore(paths, transform(), memory_limit=needed).keeps
    store = PictureStore(paths, transform(), workers=2, memory_limit=needed - 1)
    assert not store.keeps
    first = store.batch(range(20)).clone()
    assert torch.equal(store.batch(range(20)), first)
    assert np.array_equal(store.uint8([4]), [transform().load(paths[4])])
    paths[4].unlink()
    with pytest.raises(DataError, match=r"04.png is missing"):
        store.batch([4])


def test_free_memory_is_a_sensible_number_of_bytes() -> None:
    assert 2**26 < free_memory() < 2**45


def test_batches_that_are_held_are_never_overwritten(paths: list[Path]) -> None:
    store = PictureStore(paths, transform(), workers=2)
    rows = [np.array([row, row + 1]) for row in range(19)]
    expected = [store.batch(row).clone() for row in rows]
    held = list(store.batches(rows))
    assert all(map(torch.equal, held, expected))
    parts = [store.batch(row)[1, :, 2:5] for row in rows]  # views of batches that are gone
    assert all(
        torch.equal(part, whole[1, :, 2:5]) for part, whole in zip(parts, expected, strict=True)
    )
    arrays = [store.batch(row).numpy() for row in rows]
    assert all(np.array_equal(array, whole) for array, whole in zip(arrays, expected, strict=True))


def test_buffers_are_used_again_when_nobody_holds_them() -> None:
    ring = BufferRing(buffers=2)
    address = (first := ring.take(1000)).data_ptr()
    second = ring.take(1000)
    assert second.data_ptr() != address
    third = ring.take(1000)  # more than the ring keeps
    view = first[10:20]
    del first
    assert ring.take(1000).data_ptr() not in (address, second.data_ptr(), third.data_ptr())
    del view
    smaller = ring.take(500)
    assert smaller.data_ptr() == address and smaller.shape == (500,)
    del smaller
    assert ring.take(2000).shape == (2000,)
    assert len(ring._slots) <= 2


def test_a_store_keeps_no_more_than_three_buffers(paths: list[Path]) -> None:
    store = PictureStore(paths, transform(), workers=2)
    seen = {batch.data_ptr() for batch in store.batches([np.arange(20)] * 30)}
    assert len(seen) <= 3


# ---- the next batch ahead


def test_next_batch_is_prepared_while_the_caller_computes(paths: list[Path]) -> None:
    store = PictureStore(paths, transform(), workers=2)
    batches = store.batches([np.arange(10), np.arange(10, 20)])
    next(batches)
    deadline = time.monotonic() + 5
    while not store._decoded.all() and time.monotonic() < deadline:
        time.sleep(0.005)
    assert store._decoded.all()
    assert len(list(batches)) == 1


def test_batches_of_nothing(paths: list[Path]) -> None:
    assert list(PictureStore(paths, transform()).batches([])) == []


def test_stopping_early_leaves_no_thread_behind(paths: list[Path]) -> None:
    gc.collect()  # what other tests left
    before = set(threading.enumerate())
    store = PictureStore(paths, transform(), workers=2)
    for _ in store.batches(np.arange(20).reshape(10, 2)):
        break
    batches = store.batches(np.arange(20).reshape(10, 2))
    with pytest.raises(KeyboardInterrupt):
        for _ in batches:
            raise KeyboardInterrupt
    batches.close()
    assert not [t for t in set(threading.enumerate()) - before if t.name.startswith("prefetch")]
    del store, batches
    gc.collect()
    deadline = time.monotonic() + 5
    while [t for t in set(threading.enumerate()) - before if t.name.startswith("decode")]:
        assert time.monotonic() < deadline, "the decoding threads outlive their store"
        time.sleep(0.01)


def test_errors_come_through_after_the_good_batches(paths: list[Path]) -> None:
    paths[4].write_bytes(b"")
    store = PictureStore(paths, transform(), workers=2)
    batches = store.batches(np.arange(20).reshape(10, 2))
    assert torch.equal(next(batches), store.batch([0, 1]))
    assert torch.equal(next(batches), store.batch([2, 3]))
    with pytest.raises(DataError, match=r"04.png"):
        next(batches)


def test_an_error_in_the_order_of_rows_comes_through(paths: list[Path]) -> None:
    def order() -> Iterator[np.ndarray]:
        yield np.arange(4)
        raise RuntimeError("no more rows")

    with pytest.raises(RuntimeError, match="no more rows"):
        list(PictureStore(paths, transform()).batches(order()))


# ---- speed on real photographs


@pytest.mark.skipif(not REAL, reason="CLIPLIB_FLICKR8K is not set: no real photographs to time")
def test_store_is_five_times_as_fast_as_a_plain_loader() -> None:
    """In a process of its own: what earlier tests left in this one slows threads, not workers."""
    done = subprocess.run(
        [sys.executable, "tests/loader_proof.py"], cwd=COURSE, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(COURSE)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rounds = [json.loads(line) for line in done.stdout.splitlines()]
    print(rounds)
    plain = np.median([found["plain"] for found in rounds])
    assert np.median([found["later"] for found in rounds]) >= 5 * plain
    assert np.median([found["first"] for found in rounds]) >= 0.7 * plain  # much of it is decoding
