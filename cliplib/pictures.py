"""Pictures: from a file to uint8 pixels (once), from pixels to normalised batches (fast)."""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from tqdm import tqdm

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
WORKERS = min(8, os.cpu_count() or 1)
EXIF_ORIENTATION = 0x0112
CHUNK = 2**18  # values normalised at a time: about 1 MB of float32, which stays in a core's cache


class DataError(ValueError):
    """A fault in a data set, as a sentence that names files and lines."""


def summarise(what: str, faults: Sequence[str], remedy: str) -> str:
    """One text for any number of faults: the first ten, then a count."""
    shown = "".join(f"\n  {fault}" for fault in faults[:10])
    more = f"\n  … and {len(faults) - 10} more" if len(faults) > 10 else ""
    return f"{what}:{shown}{more}\n{remedy}"


@dataclass(frozen=True)
class ImageTransform:
    """How a picture becomes an encoder's input. Nothing in it is random.

    size: pixels, height and width. crop: 0 squashes the whole picture to a square; a share such as
    0.9 scales the shorter side to size / 0.9 and keeps the central square. mean and std belong to
    values from 0 to 1. interpolation: "bilinear" or "bicubic".
    Raises: ValueError when a value cannot work.
    """

    size: int
    crop: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"size is a number of pixels, at least 1, not {self.size!r}.")
        if not 0 <= self.crop <= 1:
            raise ValueError(f"crop is 0 (whole picture) or a share up to 1, not {self.crop!r}.")
        if self.interpolation not in FILTERS:
            raise ValueError(
                f"interpolation must be 'bilinear' or 'bicubic', not {self.interpolation!r}."
            )
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise ValueError(
                f"mean and std are three numbers each (red, green, blue), std above 0; "
                f"they are {self.mean!r} and {self.std!r}."
            )

    def load(self, path: Path) -> np.ndarray:
        """The picture's pixels, RGB.

        Shapes: (size, size, 3) uint8. Raises: DataError naming the file when it cannot be decoded.
        """
        shorter = self.size if self.crop == 0 else int(self.size / self.crop)
        picture = open_rgb(path, shorter)
        resample = FILTERS[self.interpolation]
        if self.crop == 0:
            return np.array(picture.resize((self.size, self.size), resample))  # (H, W, 3)
        width, height = picture.size
        scale = shorter / min(width, height)
        width = max(shorter, int(width * scale))
        height = max(shorter, int(height * scale))
        left, top = round((width - self.size) / 2), round((height - self.size) / 2)
        picture = picture.resize((width, height), resample)
        return np.array(picture.crop((left, top, left + self.size, top + self.size)))  # (H, W, 3)

    def normalise(self, pictures: np.ndarray | Tensor) -> Tensor:
        """uint8 pictures to an encoder's input, on the device where they are.

        Shapes: (B, H, W, 3) uint8 -> (B, 3, H, W) float32, channels last in memory.
        Raises: ValueError on another shape or type.
        """
        pixels = torch.as_tensor(pictures)
        if pixels.dtype != torch.uint8 or pixels.ndim != 4 or pixels.shape[3] != 3:
            raise ValueError(
                f"Expected uint8 pictures of shape (B, H, W, 3), got {pixels.dtype} of shape "
                f"{tuple(pixels.shape)}. Is it one picture without a batch, or already normalised?"
            )
        out = torch.empty(pixels.shape, dtype=torch.float32, device=pixels.device)
        scale, shift = self._scale_and_shift(pixels.shape[2], pixels.device)
        step = max(1, CHUNK // max(1, pixels[:1].numel()))
        for start in range(0, len(pixels), step):
            _normalise_into(out[start : start + step], pixels[start : start + step], scale, shift)
        return out.permute(0, 3, 1, 2)  # (B, 3, H, W)

    def _scale_and_shift(self, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """(x / 255 - mean) / std as x · scale + shift, for one row of pixels: (W · 3,) each."""
        mean = torch.tensor(self.mean, dtype=torch.float64)
        std = torch.tensor(self.std, dtype=torch.float64)
        scale, shift = (1 / (255 * std)).float(), (-mean / std).float()
        return scale.repeat(width).to(device), shift.repeat(width).to(device)


def _normalise_into(out: Tensor, pixels: Tensor, scale: Tensor, shift: Tensor) -> None:
    # Rows of W · 3 values, since the processor is slow on a last axis of 3.
    flat = out.view(*out.shape[:2], -1)  # (B, H, W * 3)
    flat.copy_(pixels.reshape(flat.shape)).mul_(scale).add_(shift)


def open_rgb(path: Path, shorter: int) -> Image.Image:
    """The picture upright and in RGB, transparent parts on white.

    A large JPEG is reduced by 2, 4 or 8 while it is decoded, its shorter side never below `shorter`
    pixels. Raises: DataError naming the file when it is missing, no picture, or cut off.
    """
    try:
        with Image.open(path) as picture:
            picture.draft(None, (shorter, shorter))
            if picture.getexif().get(EXIF_ORIENTATION, 1) != 1:
                picture = ImageOps.exif_transpose(picture)
            return _to_rgb(picture)
    except FileNotFoundError:
        raise DataError(f"{path} is missing.") from None
    except Exception as error:  # Pillow's readers raise whatever their parsing meets
        raise DataError(f"{path} cannot be decoded ({error}).") from error


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I"):  # 16 bits: Pillow would clip them to white
        return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8)).convert("RGB")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(white, picture).convert("RGB")
    return picture.convert("RGB")


def check_pictures(
    paths: Sequence[Path], workers: int = WORKERS, progress: bool = False
) -> list[str]:
    """Decodes every picture and returns a sentence for each that is damaged, in order."""

    def fault(path: Path) -> str | None:
        try:
            open_rgb(path, 1)
        except DataError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(workers) as pool:
        found = pool.map(fault, paths)
        bar = tqdm(found, total=len(paths), desc="opening pictures", disable=not progress)
        return [sentence for sentence in bar if sentence]


class PictureStore:
    """The pictures of a data set: each is decoded once, kept as uint8, and handed out in batches.

    workers: threads that decode. memory_limit: bytes; a set that needs more (size · size · 3 bytes
    a picture) is decoded anew each time. Left out, it is half of the memory that is free.
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

    @property
    def keeps(self) -> bool:
        """Whether decoded pictures stay in memory."""
        return self._kept is not None

    def uint8(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Shapes: rows (B,) -> (B, H, W, 3) uint8, a copy. Raises: DataError, IndexError."""
        rows = self._checked(rows)
        if self._kept is None:
            return self._decode(rows)
        self._decode_missing(rows)
        return self._kept[rows]  # (B, H, W, 3)

    def batch(self, rows: Sequence[int] | np.ndarray) -> Tensor:
        """An encoder's input; yours for as long as you hold it.

        Shapes: rows (B,) -> (B, 3, H, W) float32, normalised, channels last in memory.
        Raises: DataError naming every picture of the set that cannot be decoded; IndexError.
        """
        rows = self._checked(rows)
        if self._kept is None:
            source, rows = self._decode(rows), np.arange(len(rows))
        else:
            self._decode_missing(rows)
            source = self._kept
        size = self.transform.size
        out = torch.from_numpy(self._ring.take(len(rows) * size * size * 3))
        out = out.view(len(rows), size, size, 3)
        scale, shift = self.transform._scale_and_shift(size, out.device)
        step = max(1, CHUNK // (size * size * 3))
        for start in range(0, len(rows), step):
            pixels = torch.from_numpy(source[rows[start : start + step]])
            _normalise_into(out[start : start + step], pixels, scale, shift)
        return out.permute(0, 3, 1, 2)  # (B, 3, H, W)

    def batches(self, rows_of_batches: Iterable[np.ndarray]) -> Iterator[Tensor]:
        """`batch` of each, the next one prepared in a thread while the caller computes."""
        with ThreadPoolExecutor(1, thread_name_prefix="prefetch") as ahead:
            waiting = None
            for rows in rows_of_batches:
                started = ahead.submit(self.batch, rows)
                if waiting is not None:
                    yield waiting.result()
                waiting = started
            if waiting is not None:
                yield waiting.result()

    def _checked(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        rows = np.asarray(rows, dtype=np.int64)
        if len(rows) and not (0 <= rows.min() and rows.max() < len(self)):
            raise IndexError(
                f"Rows go from 0 to {len(self) - 1}; {rows.min()} to {rows.max()} were asked for."
            )
        return rows

    def _decode_missing(self, rows: np.ndarray) -> None:
        missing = np.unique(rows[~self._decoded[rows]])
        if len(missing):
            self._kept[missing] = self._decode(missing)
            self._decoded[missing] = True

    def _decode(self, rows: np.ndarray) -> np.ndarray:
        try:
            return np.stack(list(self._pool.map(self.transform.load, [self.paths[r] for r in rows])))
        except DataError as error:
            rest = [path for path, done in zip(self.paths, self._decoded, strict=True) if not done]
            faults = check_pictures(rest) or [str(error)]
            raise DataError(
                summarise(
                    f"{len(faults)} of {len(self)} pictures cannot be used",
                    faults,
                    "Copy them again, or leave them out with load_pairs(…, skip_bad=True).",
                )
            ) from error


class BufferRing:
    """A few large buffers, each used again only when nothing that was made from it is alive.

    The operating system clears fresh memory page by page, which takes several times as long as the
    arithmetic on it.
    """

    def __init__(self, buffers: int = 3) -> None:
        # Three live at a time: the batch being used, the one waiting, the one being made.
        self._slots: list[tuple[np.ndarray, weakref.ref]] = []
        self._buffers = buffers
        self._lock = threading.Lock()

    def take(self, count: int) -> np.ndarray:
        """Shapes: (count,) float32, its values left over from before."""
        with self._lock:
            # A tensor and all its views keep `handle` alive, so a dead one frees the buffer.
            unused = [slot for slot in self._slots if slot[1]() is None]
            fitting = [slot for slot in unused if len(slot[0]) >= count]
            self._slots = [slot for slot in self._slots if slot[1]() is not None] + fitting
            if fitting:
                buffer = self._slots.pop()[0]
            else:
                buffer = np.empty(count, np.float32)
            handle = buffer[:count]
            if len(self._slots) < self._buffers:
                self._slots.append((buffer, weakref.ref(handle)))
            return handle


def free_memory() -> int:
    """Bytes that programs can still take; where the system does not say, half of what it has."""
    if sys.platform == "win32":
        return _free_memory_windows()
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if "MemAvailable" in line)
        group = Path("/sys/fs/cgroup/memory.max")  # a container's own limit
        limit = group.read_text().strip() if group.exists() else "max"
        return free if limit == "max" else min(free, int(limit))
    except (OSError, StopIteration):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def _free_memory_windows() -> int:
    import ctypes

    status = (ctypes.c_ulonglong * 8)(64)  # MEMORYSTATUSEX: two 32-bit, then seven 64-bit numbers
    ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))
    return int(status[2])  # ullAvailPhys
