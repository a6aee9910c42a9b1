"""One pass of an encoder over a data set, kept on disk with what made it: so never stale."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from cliplib.config import Profile, data_root
from cliplib.data import TokenTable
from cliplib.encoders import CaptionTokenizer, ImageEncoder, TextEncoder, pick_device
from cliplib.meter import in_words
from cliplib.pictures import ImageTransform
from cliplib.storage import digest, files_digest, read_tensors, write_tensors
from cliplib.store import CPU, PictureStore

PART = 1024  # rows that are kept as soon as they are there
PICTURES_AT_ONCE = 16  # on two CPU cores twice as fast as 64: activations stay in the cache
CAPTIONS_AT_ONCE = 64
ON_A_GPU = 8  # times as many, so that it is busy
LONG = 20  # batches; for less, no forecast is worth its time

Encode = Callable[[np.ndarray], Tensor]  # rows (B,) to features (B, D)


class FeatureTable:
    """Kept features behind the same call as `PictureStore` and `TokenTable`."""

    def __init__(self, features: Tensor) -> None:
        self.features = features  # (N, D)

    def __len__(self) -> int:
        return len(self.features)

    def batch(self, rows: np.ndarray) -> Tensor:
        return self.features[torch.as_tensor(rows)]  # (B, D)

    def batches(
        self, rows_of_batches: Iterable[np.ndarray], device: torch.device = CPU
    ) -> Iterator[Tensor]:
        return (self.batch(rows).to(device) for rows in rows_of_batches)


def kept(
    title: str, made_by: dict[str, str], count: int, encode: Encode, rows_at_once: int,
    progress: bool = True,
) -> Tensor:  # fmt: skip
    """Features (count, D): read when they were made by exactly this before, else computed and kept.

    Computed in parts of 1,024 rows; after an interruption the next call goes on with the next part.
    `made_by` names all that the features depend on (model, weights, data, transform).
    """
    key = digest(json.dumps(made_by, sort_keys=True))
    path = data_root() / "features" / f"{title}-{key}.safetensors"
    found = _read_if_whole(path, made_by)
    if found is not None:
        return found
    parts = path.with_suffix(".parts")
    done: list[Tensor] = []
    left = count - PART * len(list(parts.glob("*.safetensors")))
    if progress and left > LONG * rows_at_once:
        told = in_words(left * seconds_a_row(encode, rows_at_once))
        print(f"An encoder now runs over {left:,} {title}, once: about {told}.")
    with tqdm(total=count, desc=title, unit=" rows", disable=not progress) as bar:
        for start in range(0, count, PART):
            rows = np.arange(start, min(start + PART, count))
            part_path = parts / f"{start:09d}.safetensors"
            part = _read_if_whole(part_path, made_by)
            if part is None:
                part = _encode_part(rows, encode, rows_at_once, bar)
                write_tensors(part_path, {"features": part}, made_by)
            else:
                bar.update(len(rows))
            done.append(part)
    features = torch.cat(done)  # (count, D)
    write_tensors(path, {"features": features}, made_by)
    shutil.rmtree(parts)
    return features


def at_once(on_a_cpu: int, device: torch.device) -> int:
    """How many rows an encoder takes at a time."""
    return on_a_cpu if device.type == "cpu" else ON_A_GPU * on_a_cpu


def seconds_a_row(encode: Encode, rows: int) -> float:
    """Timed on the second of two batches: in the first much is set up."""
    with torch.inference_mode():
        for _ in range(2):
            started = time.perf_counter()
            encode(np.arange(rows)).float().cpu()
    return (time.perf_counter() - started) / rows


def _encode_part(rows: np.ndarray, encode: Encode, rows_at_once: int, bar: tqdm) -> Tensor:
    encoded = []
    for start in range(0, len(rows), rows_at_once):
        batch = rows[start : start + rows_at_once]
        with torch.inference_mode():
            encoded.append(encode(batch).float().cpu())
        bar.update(len(batch))
    return torch.cat(encoded).clone()


def _read_if_whole(path: Path, made_by: dict[str, str]) -> Tensor | None:
    if not path.exists():
        return None
    try:
        tensors, about = read_tensors(path)
    except ValueError:  # damaged on disk: made again
        return None
    return tensors["features"] if about == made_by and "features" in tensors else None


def weights_digest(module: nn.Module) -> str:
    return digest(
        *(part for name, tensor in module.state_dict().items() for part in (name, tensor))
    )


def picture_features(
    encoder: nn.Module, name: str, paths: Sequence[Path], transform: ImageTransform,
    progress: bool = True,
) -> FeatureTable:  # fmt: skip
    """(N, D) features of pictures by an encoder: any module from normalised pictures to rows."""
    device = pick_device()
    encoder = encoder.to(device, memory_format=torch.channels_last).eval()
    store = PictureStore(paths, transform, memory_limit=0)  # each is needed once
    made_by = {
        "encoder": name,
        "weights": weights_digest(encoder),
        "pictures": files_digest(paths),
        "transform": repr(transform),
    }
    return FeatureTable(
        kept("pictures", made_by, len(paths), lambda rows: encoder(store.batch(rows).to(device)),
             at_once(PICTURES_AT_ONCE, device), progress)
    )  # fmt: skip


def caption_features(
    encoder: nn.Module, name: str, captions: Sequence[str], tokenizer: CaptionTokenizer,
    progress: bool = True,
) -> FeatureTable:  # fmt: skip
    """(M, D) features of captions by an encoder: any module from ids and mask to rows."""
    device = pick_device()
    encoder = encoder.to(device).eval()
    tokens = tokenizer.encode(captions)
    by_length = np.argsort([len(ids) for ids in tokens], kind="stable")  # little padding in a batch
    table = TokenTable([tokens[row] for row in by_length], tokenizer.pad_id)
    made_by = {
        "encoder": name,
        "weights": weights_digest(encoder),
        "captions": digest(*captions),
        "tokenizer": digest(tokenizer.to_json()),
    }

    def encode(rows: np.ndarray) -> Tensor:
        ids, mask = table.batch(rows)
        return encoder(ids.to(device), mask.to(device))

    many = at_once(CAPTIONS_AT_ONCE, device)
    ordered = kept("captions", made_by, len(captions), encode, many, progress)
    features = torch.empty_like(ordered)
    features[torch.as_tensor(by_length)] = ordered
    return FeatureTable(features)


def image_inputs(
    profile: Profile, encoder: ImageEncoder, paths: Sequence[Path], progress: bool = True
) -> PictureStore | FeatureTable:
    """What the model's `encode_image` takes: pictures, or a frozen encoder's kept features."""
    transform = encoder.transform(profile.image_size, profile.image_crop)
    if not profile.image_frozen:
        store = PictureStore(paths, transform)
        return store if store.keeps else store.in_file(progress)
    return picture_features(
        encoder, f"{profile.image_encoder}:{profile.image_output}", paths, transform, progress
    )


def text_inputs(
    profile: Profile, encoder: TextEncoder, captions: Sequence[str], tokenizer: CaptionTokenizer,
    progress: bool = True,
) -> TokenTable | FeatureTable:  # fmt: skip
    """What the model's `encode_text` takes: tokens, or a frozen encoder's kept features."""
    if not profile.text_frozen:
        return TokenTable(tokenizer.encode(captions), tokenizer.pad_id)
    return caption_features(encoder, profile.text_encoder, captions, tokenizer, progress)
