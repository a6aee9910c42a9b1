"""Pictures: from a file to uint8 pixels, and from pixels to an encoder's input."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from tqdm.auto import tqdm

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
WORKERS = min(8, os.cpu_count() or 1)
EXIF_ORIENTATION = 0x0112
DAMAGED = "Copy them again, or leave them out with load_pairs(…, skip_bad=True)."


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

    def load(self, path: Path | BytesIO) -> np.ndarray:
        """The picture's pixels, RGB; of a file, or of what a file held.

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


def open_rgb(path: Path | BytesIO, shorter: int) -> Image.Image:
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


def load_sound(
    paths: Sequence[Path], transform: ImageTransform, pool: ThreadPoolExecutor
) -> tuple[dict[Path, np.ndarray], list[str]]:
    """Each sound picture's pixels, (size, size, 3) uint8, and a sentence for each damaged one."""

    def load(path: Path) -> np.ndarray | str:
        try:
            return transform.load(path)
        except DataError as error:
            return str(error)

    found = dict(zip(paths, pool.map(load, paths), strict=True))
    pixels = {path: one for path, one in found.items() if isinstance(one, np.ndarray)}
    return pixels, [one for one in found.values() if isinstance(one, str)]
