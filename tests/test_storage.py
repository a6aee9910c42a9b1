"""Files that are whole or not there, and hashes that notice every change."""

from __future__ import annotations

import errno
import json
import pickle
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from cliplib import storage
from cliplib.storage import (
    digest,
    read_tensors,
    write_json,
    write_tensors,
    write_text,
    write_whole,
)


def disk_full_after_a_few_bytes(path: Path) -> None:
    path.write_text("half of i", encoding="utf-8")
    raise OSError(errno.ENOSPC, "No space left on device")


def ctrl_c_after_a_few_bytes(path: Path) -> None:
    path.write_text("half of i", encoding="utf-8")
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("cut", "error"),
    [(disk_full_after_a_few_bytes, OSError), (ctrl_c_after_a_few_bytes, KeyboardInterrupt)],
)
def test_a_failed_write_leaves_the_old_file_and_no_trace(
    tmp_path: Path, cut: object, error: type[BaseException]
) -> None:
    path = tmp_path / "metrics.json"
    with pytest.raises(error):
        write_whole(path, cut)
    assert list(tmp_path.iterdir()) == []
    write_text(path, "the old one")
    with pytest.raises(error):
        write_whole(path, cut)
    assert [file.name for file in tmp_path.iterdir()] == ["metrics.json"]
    assert path.read_text(encoding="utf-8") == "the old one"


def test_a_file_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "note.txt"

    def write(aside: Path) -> None:
        assert aside.parent == path.parent, "a rename between disks would copy"
        aside.write_text("begun", encoding="utf-8")
        assert not path.exists()
        aside.write_text("done", encoding="utf-8")

    write_whole(path, write)
    assert path.read_text(encoding="utf-8") == "done"
    write_text(path, "newer: äöü …")
    assert path.read_text(encoding="utf-8") == "newer: äöü …"
    assert [file.name for file in path.parent.iterdir()] == ["note.txt"]


def test_json_comes_back(tmp_path: Path) -> None:
    content = {"profile": "quick", "recall": [0.5, 1], "nested": {"none": None}}
    write_json(tmp_path / "a.json", content)
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == content
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"no": object()})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == content


def test_tensors_come_back_with_their_header(tmp_path: Path) -> None:
    tensors = {
        "weight": torch.randn(3, 4).T,  # not contiguous
        "steps": torch.tensor(7),
        "half": torch.randn(2).bfloat16(),
        "trained": torch.nn.Parameter(torch.randn(2, 2)),
    }
    write_tensors(tmp_path / "a.safetensors", tensors, {"profile": "quick"})
    found, about = read_tensors(tmp_path / "a.safetensors")
    assert about == {"profile": "quick"} and set(found) == set(tensors)
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor)
    assert [file.name for file in tmp_path.iterdir()] == ["a.safetensors"]


class Trap:
    """A pickle that does something when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.path), "w")


@pytest.mark.parametrize("name", ["model.pt", "model.safetensors"])
def test_a_pickle_is_never_read(tmp_path: Path, name: str) -> None:
    path, sprung = tmp_path / name, tmp_path / "sprung"
    torch.save({"weight": torch.zeros(2), "trap": Trap(sprung)}, path)
    with pytest.raises(ValueError, match=rf"{name} is not a whole safetensors file.*run any code"):
        read_tensors(path)
    path.write_bytes(pickle.dumps(Trap(sprung)))
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        read_tensors(path)
    assert not sprung.exists()


@pytest.mark.parametrize("kept", [0.0, 0.02, 0.5, 0.999])
def test_a_file_that_was_cut_off_is_refused(tmp_path: Path, kept: float) -> None:
    path = tmp_path / "cut.safetensors"
    write_tensors(path, {"weight": torch.randn(100, 10)}, {})
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(ValueError, match=r"cut\.safetensors is not a whole safetensors file"):
        read_tensors(path)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("system", ["posix", "nt"])
def test_tensors_are_mapped_but_on_windows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: str
) -> None:
    """There a mapped file cannot be replaced. Only the name of the system is Windows' here."""
    path = tmp_path / "rows.safetensors"
    rows = torch.randn(500, 64)
    write_tensors(path, {"rows": rows}, {})
    monkeypatch.setattr(storage, "os", SimpleNamespace(name=system))
    found, _ = read_tensors(path)
    assert torch.equal(found["rows"], rows)
    assert (str(path) in Path("/proc/self/maps").read_text()) == (system == "posix")


def test_a_digest_is_short_and_repeatable() -> None:
    parts = ("weights", torch.arange(6.0), b"bytes")
    assert digest(*parts) == digest(*parts)
    assert len(digest(*parts)) == 16 and int(digest(*parts), 16) >= 0
    assert digest("text") == digest(b"text")


def test_a_digest_notices_every_change() -> None:
    ones = torch.ones(2, 3)
    variants = {
        "as it is": digest(ones),
        "dtype": digest(ones.double()),
        "same bytes, other dtype": digest(ones.view(torch.int32)),
        "shape": digest(ones.reshape(3, 2)),
        "flat": digest(ones.reshape(6)),
        "content": digest(ones + torch.eye(2, 3) * 1e-6),
        "twice": digest(ones, ones),
        "named": digest("weight", ones),
        "half": digest(ones.half()),
        "bfloat16": digest(ones.bfloat16()),
        "scalar": digest(torch.tensor(1.0)),
        "one row": digest(torch.tensor([1.0])),
        "ab, c": digest("ab", "c"),
        "a, bc": digest("a", "bc"),
        "c, ab": digest("c", "ab"),
        "nothing": digest(),
        "empty text": digest(""),
        "no rows": digest(torch.zeros(0, 2)),
    }
    assert len(set(variants.values())) == len(variants)


def test_a_digest_looks_at_values_not_at_memory() -> None:
    table = torch.randn(4, 3)
    assert digest(table.T) == digest(table.T.contiguous()) != digest(table)
    assert digest(torch.nn.Parameter(table)) == digest(table)
