"""Pictures: from a file to uint8 pixels (once), from pixels to normalised batches (fast)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import gcd
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from tqdm.auto import tqdm

from cliplib.memory import BufferRing, free_memory

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
WORKERS = min(8, os.cpu_count() or 1)
EXIF_ORIENTATION = 0x0112
DECODED_A_TASK = 8  # handing over a task costs as much as normalising a picture or two
DAMAGED = "Copy them again, or leave them out with load_pairs(…, skip_bad=True)."
LINES = 16  # of a picture, normalised at a time: long loops whose numbers stay in a core's cache


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
        scale, shift = (torch.from_numpy(a).to(out.device) for a in self.scale_and_shift(1))
        out.copy_(pixels).mul_(scale).add_(shift)
        return out.permute(0, 3, 1, 2)  # (B, 3, H, W)

    def scale_and_shift(self, pixels: int) -> tuple[np.ndarray, np.ndarray]:
        """(x / 255 - mean) / std as x · scale + shift. Shapes: (pixels · 3,) float32 each."""
        mean, std = np.array(self.mean), np.array(self.std)
        scale, shift = 1 / (255 * std), -mean / std
        return np.tile(scale, pixels).astype(np.float32), np.tile(shift, pixels).astype(np.float32)


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
    return list(find_damaged(paths, workers, progress).values())


def find_damaged(
    paths: Sequence[Path], workers: int = WORKERS, progress: bool = False
) -> dict[Path, str]:
    """The damaged pictures among `paths`, each with a sentence that says what is wrong."""

    def fault(path: Path) -> str:
        try:
            open_rgb(path, 1)
        except DataError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(workers) as pool:
        bar = tqdm(
            pool.map(fault, paths), total=len(paths), desc="opening pictures", disable=not progress
        )
        return {path: sentence for path, sentence in zip(paths, bar, strict=True) if sentence}


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
