"""Files that are either whole or not there: written aside, then renamed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor


def write_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Lets `write` fill a file beside `path`, then renames it; a failed write leaves no trace."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + ".aside")
    try:
        write(aside)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    write_whole(path, lambda aside: aside.write_text(text, encoding="utf-8"))


def write_json(path: Path, content: object) -> None:
    write_text(path, json.dumps(content, indent=1) + "\n")


def write_tensors(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> None:
    """Tensors as safetensors, with `about` in the file's header."""
    dense = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_whole(path, lambda aside: save_file(dense, aside, dict(about)))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a safetensors file and its header.

    Tensors are memory-mapped; on Windows they are copies, for there a mapped file cannot be
    replaced, as an index or a training's state is.
    Raises: ValueError when it is not a whole safetensors file; a pickle is never read.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            about = file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(
            f"{path} is not a whole safetensors file ({error}). Pickled checkpoints (.pt, .bin) "
            "are not read here, because loading one can run any code."
        ) from None
    if os.name == "nt":
        tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    return tensors, about


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hex digits; a large one is never whole in memory."""
    hashed = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(2**20):
            hashed.update(piece)
    return hashed.hexdigest()


def digest(*parts: str | bytes | Tensor) -> str:
    """A short hash of texts and tensors (dtype, shape and bytes)."""
    sha = hashlib.sha256()
    for part in parts:
        if isinstance(part, Tensor):
            tensor = part.detach().cpu().contiguous()
            sha.update(f"{str(tensor.dtype).removeprefix('torch.')}{tuple(tensor.shape)}".encode())
            sha.update(tensor.reshape(-1).view(torch.uint8).numpy())  # NumPy has no bfloat16
        else:
            sha.update(part.encode() if isinstance(part, str) else part)
        sha.update(b"\0")
    return sha.hexdigest()[:16]


def files_digest(paths: Sequence[Path]) -> str:
    """Names the pictures of a list by file name, size and time of change, without reading them."""
    facts = ((path.name, path.stat()) for path in paths)
    return digest(*(f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in facts))
