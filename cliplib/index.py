"""A folder's pictures as an encoder sees them, kept on disk and brought up to date file by file.

An index lies in CLIPLIB_DATA/index, in a folder named after what it depends on: the encoder's
weights, the transform and the folder of pictures. Its features are a row a picture; a CSV beside
them says which row is which file. The features' header names that CSV, so one renaming replaces
both. Parts of the same form lie there while an index is made: so an interrupted one goes on.
What a model makes of the features lies there too, as memory-mapped tables: so a search among a
million pictures loads none of their vectors before it looks at them.
"""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from cliplib.config import data_root
from cliplib.encoders import pick_device
from cliplib.features import PICTURES_AT_ONCE, at_once, weights_digest
from cliplib.pictures import WORKERS, ImageTransform, load_sound
from cliplib.storage import digest, read_tensors, write_tensors, write_whole
from cliplib.store import ahead

PART = 256  # pictures whose features are kept as soon as they are there
EMBEDDED_AT_ONCE = 4096  # rows of features that a model takes at a time
WHOLE, PARTS, MADE = "index.safetensors", "parts", "made"


@dataclass(frozen=True, order=True)
class Seen:
    """A picture's file when it was embedded; with another size or time it is another picture.

    Both are known without opening the file: 10,000 in a tenth of a second, where a hash of the
    contents would read gigabytes at every search. A file that was rewritten with the same size and
    then given its old time back is taken for unchanged.
    """

    name: str  # from the folder on, with "/" between
    size: int  # bytes
    changed: int  # ns


@dataclass(frozen=True, eq=False)
class Indexed:
    """The sound ones among the pictures asked for, in order, and a sentence for each other."""

    paths: tuple[Path, ...]  # (N,)
    places: tuple[Place, ...]  # (N,) of their features
    faults: tuple[str, ...]
    made: Path  # a folder for what is made of just these rows; it goes when the index changes

    @property
    def features(self) -> Tensor:
        """(N, D), memory-mapped where these are all pictures of the index in its order."""
        return _gathered(self.places)


Place = tuple[Tensor, int]  # a table of features and a row of it
Rows = dict[Seen, Place]


def index_pictures(
    encoder: nn.Module, name: str, paths: Sequence[Path], transform: ImageTransform,
    folder: Path | None = None, progress: bool = True,
) -> Indexed:  # fmt: skip
    """Features of a folder's pictures; only new and changed files are decoded and embedded.

    `encoder` is any module from normalised pictures to rows, `name` what it is called. `folder` is
    the one that the index is of; left out, the innermost that holds all the pictures. What it knows
    of other files there stays for as long as they do; what was deleted or changed leaves it. A file
    that cannot be decoded is left out, and tried again at every call.
    Raises: ValueError for a picture outside the folder.
    """
    device = pick_device()
    encoder = encoder.to(device, memory_format=torch.channels_last).eval()
    inside = folder or Path(os.path.commonpath([os.path.abspath(path.parent) for path in paths]))
    inside = Path(os.path.abspath(inside))
    made_by = {
        "encoder": name,
        "weights": weights_digest(encoder),
        "transform": repr(transform),
        "folder": ascii(str(inside)),  # a header holds no name that is not Unicode
    }
    home = data_root() / "index" / digest(json.dumps(made_by, sort_keys=True))
    files, faults = _look_at(paths, inside)
    whole = _read(home / WHOLE, made_by)
    known = dict(whole)
    for part in (home / PARTS).glob("*.safetensors"):
        known |= _read(part, made_by)
    known = _without_gone(known, files.values(), inside)
    new = {path: seen for path, seen in files.items() if seen not in known}

    def keep(part: Rows) -> None:
        known.update(part)
        _write(home / PARTS / f"{digest(_as_csv(part))}.safetensors", part, made_by)

    faults += _embed(new, encoder, transform, device, keep, progress)
    if known.keys() != whole.keys():
        _write(home / WHOLE, known, made_by)
        shutil.rmtree(home / MADE, ignore_errors=True)
    _tidy(home, known)
    sound = tuple(path for path in paths if files.get(path) in known)
    seen = [files[path] for path in sound]
    made = home / MADE / digest(*map(repr, seen))
    return Indexed(sound, tuple(known[one] for one in seen), tuple(faults), made)


def kept_embeddings(
    found: Indexed, made_by: str, embed: Callable[[Tensor], Tensor], dtype: torch.dtype
) -> Tensor:
    """The unit vectors of pictures, (N, E) in `dtype`, memory-mapped from a file made once.

    `embed` takes features (B, D) to vectors (B, E), `made_by` names all that it depends on. Of the
    same pictures the last table is kept: another model's, or another dtype, takes its place.
    """
    path = found.made / f"{digest(made_by, str(dtype))}.npy"
    try:
        return _mapped(path)
    except (OSError, ValueError):  # not there, or damaged
        shutil.rmtree(found.made, ignore_errors=True)
        features = found.features
        write_whole(path, lambda aside: _write_mapped(aside, features, embed, dtype))
        return _mapped(path)


def _mapped(path: Path) -> Tensor:
    """Mode "c" never writes to the file, and PyTorch takes it without a copy or a warning."""
    return torch.from_numpy(np.lib.format.open_memmap(path, "c"))


def _write_mapped(
    path: Path, features: Tensor, embed: Callable[[Tensor], Tensor], dtype: torch.dtype
) -> None:
    table = None
    for start in range(0, len(features), EMBEDDED_AT_ONCE):
        part = embed(features[start : start + EMBEDDED_AT_ONCE]).to("cpu", dtype).numpy()  # (B, E)
        if table is None:
            shape = (len(features), part.shape[1])
            table = np.lib.format.open_memmap(path, "w+", part.dtype, shape)
        table[start : start + len(part)] = part


def _look_at(paths: Sequence[Path], folder: Path) -> tuple[dict[Path, Seen], list[str]]:
    """The files as they are now, and a sentence for each that is not there."""
    files, faults = {}, []
    for path in paths:
        within = Path(os.path.abspath(path))
        if not within.is_relative_to(folder):
            raise ValueError(f"The index is of the pictures in {folder}; {path} is outside of it.")
        seen = _seen(folder, within.relative_to(folder).as_posix())
        if seen is None:
            faults.append(f"{path} is missing.")
        else:
            files[path] = seen
    return files, faults


def _seen(folder: Path, name: str) -> Seen | None:
    try:
        facts = os.stat(folder / name)
    except OSError:
        return None
    return Seen(name, facts.st_size, facts.st_mtime_ns)


def _without_gone(known: Rows, now: Iterable[Seen], folder: Path) -> Rows:
    """The rows of files that are still as they were; those not among `now` are looked at here."""
    there = set(now)
    return {s: row for s, row in known.items() if s in there or _seen(folder, s.name) == s}


@torch.inference_mode()
def _embed(
    files: Mapping[Path, Seen], encoder: nn.Module, transform: ImageTransform,
    device: torch.device, keep: Callable[[Rows], None], progress: bool,
) -> list[str]:  # fmt: skip
    """Hands the files' features to `keep`, a part at a time; a sentence for each that is broken."""
    paths, faults = list(files), []
    many = at_once(PICTURES_AT_ONCE, device)
    bar = tqdm(total=len(paths), desc="embedding pictures", disable=not (progress and paths))
    with bar, ThreadPoolExecutor(WORKERS, thread_name_prefix="decode") as pool:
        for start in range(0, len(paths), PART):
            part, rows = paths[start : start + PART], {}
            batches = (part[at : at + many] for at in range(0, len(part), many))
            for pixels, told in ahead(lambda batch: load_sound(batch, transform, pool), batches):
                if pixels:
                    pictures = torch.from_numpy(np.stack(list(pixels.values()))).to(device)
                    features = encoder(transform.normalise(pictures)).float().cpu()  # (B, D)
                    rows |= {files[path]: (features, row) for row, path in enumerate(pixels)}
                faults += told
                bar.update(len(pixels) + len(told))
            if rows:
                keep(rows)
    return faults


def _gathered(places: Sequence[Place]) -> Tensor:
    """The rows at these places, (N, D); those of one table in its order are that table, no copy."""
    if not places:
        return torch.empty(0, 0)
    table = places[0][0]
    if len(places) == len(table) and all(p[0] is table and p[1] == n for n, p in enumerate(places)):
        return table
    return torch.stack([some[row] for some, row in places])


def _write(path: Path, rows: Rows, made_by: Mapping[str, str]) -> None:
    """Features and their CSV; the features come last, and name the CSV, so both count or none."""
    table = _as_csv(rows)
    write_whole(path.parent / f"{digest(table)}.csv", lambda aside: aside.write_bytes(table))
    features = _gathered([rows[seen] for seen in sorted(rows)])
    write_tensors(path, {"features": features}, {**made_by, "csv": digest(table)})


def _as_csv(seen: Iterable[Seen]) -> bytes:
    """The table in the order of names; names that are no Unicode come back as they were."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["picture", "bytes", "changed_ns"])
    writer.writerows(astuple(one) for one in sorted(seen))
    return text.getvalue().encode("utf-8", "surrogatepass")


def _read(path: Path, made_by: Mapping[str, str]) -> Rows:
    """What `_write` wrote; nothing when it is not there, damaged or made by something else."""
    try:
        tensors, about = read_tensors(path)
        table = (path.parent / f"{about['csv']}.csv").read_bytes()
    except (OSError, ValueError, KeyError):
        return {}
    if about != {**made_by, "csv": digest(table)}:
        return {}
    lines = csv.reader(io.StringIO(table.decode("utf-8", "surrogatepass"), newline=""))
    files = [Seen(name, int(size), int(changed)) for name, size, changed in list(lines)[1:]]
    features = tensors["features"]
    return {seen: (features, row) for row, seen in enumerate(files)}


def _tidy(home: Path, known: Rows) -> None:
    """Takes away what the whole index holds or replaces, after it was written."""
    for table in home.glob("*.csv*"):  # also what a killed process left aside
        if table.name != f"{digest(_as_csv(known))}.csv":
            table.unlink()
    shutil.rmtree(home / PARTS, ignore_errors=True)
