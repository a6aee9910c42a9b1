"""The pictures of a data set in batches: decoded once, kept in memory or in a file, read ahead."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import gcd
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from cliplib.config import data_root
from cliplib.memory import BufferRing, free_memory
from cliplib.pictures import (
    DAMAGED,
    WORKERS,
    DataError,
    ImageTransform,
    check_pictures,
    summarise,
)
from cliplib.storage import digest, files_digest, write_whole

DECODED_A_TASK = 8  # handing over a task costs as much as normalising a picture or two
LINES = 16  # of a picture, normalised at a time: long loops whose numbers stay in a core's cache
CPU = torch.device("cpu")
Asked = TypeVar("Asked")
Made = TypeVar("Made")
SPARE_DISK = 2 * 10**9  # bytes that a file of decoded pictures leaves free


class PictureStore:
    """The pictures of a data set: each is decoded once, kept as uint8, and handed out in batches.

    workers: threads that decode. memory_limit: bytes; a set that needs more (size · size · 3 bytes
    a picture) is decoded anew each time. Left out, it is half of the memory that is free.
    `in_file` keeps them on the disk instead.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        transform: ImageTransform,
        workers: int = WORKERS,
        memory_limit: int | None = None,
    ) -> None:
        self.paths = list(paths)
        self.transform = transform
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
        self._ring = BufferRing()
        limit = free_memory() // 2 if memory_limit is None else memory_limit
        shape = (len(self.paths), transform.size, transform.size, 3)
        self._kept = np.empty(shape, np.uint8) if np.prod(shape) <= limit else None
        self._decoded = np.zeros(len(self.paths), bool)

    def __len__(self) -> int:
        return len(self.paths)

    def in_file(self, progress: bool = True) -> PictureStore:
        """Itself, its pictures now decoded in a file from which only what is asked for is read.

        For sets that memory cannot hold. The file lies under CLIPLIB_DATA/pixels and is found again
        as long as pictures and transform are the same. Without room on the disk nothing changes.
        Raises: DataError naming every picture that cannot be decoded.
        """
        shape = (len(self), self.transform.size, self.transform.size, 3)
        key = digest(files_digest(self.paths), repr(self.transform))
        path = data_root() / "pixels" / f"{key}.npy"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            if shutil.disk_usage(path.parent).free < np.prod(shape) + SPARE_DISK:
                return self
            write_whole(path, lambda aside: self._write_pixels(aside, shape, progress))
        self._kept = np.load(path, mmap_mode="r")
        self._decoded[:] = True
        return self

    def _write_pixels(self, path: Path, shape: tuple[int, ...], progress: bool) -> None:
        pixels = np.lib.format.open_memmap(path, "w+", np.uint8, shape)  # (N, H, W, 3)
        parts = np.array_split(np.arange(len(self)), max(1, len(self) // 64))
        for rows in tqdm(parts, "decoding pictures into a file", disable=not progress):
            self._fill(rows, lambda at, found, rows=rows: np.copyto(pixels[rows[at]], found))
        pixels.flush()

    @property
    def keeps(self) -> bool:
        """Whether decoded pictures stay in memory."""
        return self._kept is not None

    def uint8(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Shapes: rows (B,) -> (B, H, W, 3) uint8, a copy. Raises: like `batch`."""
        size = self.transform.size
        out = np.empty((len(rows), size, size, 3), np.uint8)
        self._fill(rows, lambda at, pixels: np.copyto(out[at], pixels))
        return out

    def batch(self, rows: Sequence[int] | np.ndarray) -> Tensor:
        """An encoder's input; yours for as long as you hold it.

        Shapes: rows (B,) -> (B, 3, H, W) float32, normalised, channels last in memory.
        Raises: DataError naming every picture of the set that cannot be decoded; IndexError.
        """
        size = self.transform.size
        out = self._ring.take(len(rows) * size * size * 3).view(len(rows), size, size, 3)
        values = out.numpy()
        # numpy in our own threads, since torch's would fight with the threads of a training step.
        lines = size // gcd(size, LINES)
        scale, shift = self.transform.scale_and_shift(size * size // lines)

        def normalise(at: int, pixels: np.ndarray) -> None:
            flat = values[at].reshape(lines, -1)  # (lines, H * W * 3 / lines)
            np.copyto(flat, pixels.reshape(lines, -1))
            flat *= scale
            flat += shift

        self._fill(rows, normalise)
        return out.permute(0, 3, 1, 2)  # (B, 3, H, W)

    def batches(
        self, rows_of_batches: Iterable[np.ndarray], device: torch.device = CPU
    ) -> Iterator[Tensor]:
        """`batch` of each on the device, the next one prepared in a thread meanwhile.

        An accelerator gets uint8, a quarter of the bytes, and normalises by itself.
        """
        if device == CPU:
            yield from ahead(self.batch, rows_of_batches)
            return
        for pixels in ahead(lambda rows: self._for_transfer(rows, device), rows_of_batches):
            yield self.transform.normalise(pixels.to(device, non_blocking=pixels.is_pinned()))

    def _for_transfer(self, rows: np.ndarray, device: torch.device) -> Tensor:
        pixels = torch.from_numpy(self.uint8(rows))  # (B, H, W, 3)
        return pixels.pin_memory() if device.type == "cuda" else pixels  # copied while it computes

    def _fill(
        self, rows: Sequence[int] | np.ndarray, use: Callable[[int, np.ndarray], None]
    ) -> None:
        """Calls use(position in rows, pixels (H, W, 3)) for every row, in the pool's threads."""
        rows = np.asarray(rows, dtype=np.int64)  # (B,)
        if len(rows) and (rows.min() < 0 or rows.max() >= len(self)):
            raise IndexError(
                f"Rows go from 0 to {len(self) - 1}; {rows.min()} to {rows.max()} were asked for."
            )

        kept = self._kept is not None and self._decoded[rows].all()
        step = DECODED_A_TASK if kept else 1

        def fill_some(start: int) -> None:
            for at in range(start, min(start + step, len(rows))):
                use(at, self._pixels(int(rows[at])))

        try:
            list(self._pool.map(fill_some, range(0, len(rows), step)))
        except DataError as error:
            raise self._all_damaged(error) from error

    def _pixels(self, row: int) -> np.ndarray:
        if self._kept is None:
            return self.transform.load(self.paths[row])  # (H, W, 3)
        if not self._decoded[row]:
            self._kept[row] = self.transform.load(self.paths[row])
            self._decoded[row] = True
        return self._kept[row]

    def _all_damaged(self, first: DataError) -> DataError:
        rest = [path for path, done in zip(self.paths, self._decoded, strict=True) if not done]
        faults = check_pictures(rest) or [str(first)]
        what = f"{len(faults)} of {len(self)} pictures cannot be used"
        return DataError(summarise(what, faults, DAMAGED))


def ahead(make: Callable[[Asked], Made], rows_of_batches: Iterable[Asked]) -> Iterator[Made]:
    """`make` of each, the next one made in a thread while the caller computes."""
    with ThreadPoolExecutor(1, thread_name_prefix="prefetch") as prefetch:
        waiting = None
        for rows in rows_of_batches:
            started = prefetch.submit(make, rows)
            if waiting is not None:
                yield waiting.result()
            waiting = started
        if waiting is not None:
            yield waiting.result()
