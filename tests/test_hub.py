"""Pretrained encoders' files: from a stand-in for the hub once, then from the cache, unasked."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import timm
from hub_cache import tiny_bert, tiny_vit
from hub_server import Hub, serve_hub
from timm.models import save_for_hf

from cliplib.config import COURSE, ORIGINAL
from cliplib.hub import CONFIG, WEIGHTS, fetch, weights_in, weights_used

NEW, OLD = "ab" * 20, "cd" * 20  # commits: what main names, and the tag v1
TINY = replace(
    ORIGINAL, image_encoder="hf-hub:timm/tiny_vit", text_encoder="someone/tiny-bert",
    image_revision="", text_revision="", head_epochs=0,
)  # fmt: skip

LOADS = """
import contextlib, io, json, sys, time
from pathlib import Path
from huggingface_hub import constants
from cliplib.config import Profile
from cliplib.encoders import hub_tokenizer
from cliplib.model import build_clip
from cliplib.train import pretrained_weights

def load(profile):
    model = build_clip(profile)
    words = hub_tokenizer(profile.text_encoder, 128, profile.text_revision).tokens("A dog")
    return pretrained_weights(model) | {"words": " ".join(words)}

for line in sys.stdin:
    home, fields = json.loads(line)
    constants.HF_HUB_CACHE = str(Path(home) / "hub")
    said, weights, started = io.StringIO(), {}, time.perf_counter()
    with contextlib.redirect_stdout(said):
        try:
            weights = load(Profile(**fields))
        except (OSError, ValueError) as error:
            print("error", type(error).__name__, error)
    print(json.dumps([weights, said.getvalue(), time.perf_counter() - started]), flush=True)
"""


class Loader:
    """A process in which the hub's client knows no other hub than the given one; it may ask it."""

    def __init__(self, address: str) -> None:
        unset = ("HF_HUB_OFFLINE", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN")
        environment = {k: v for k, v in os.environ.items() if k not in unset}
        environment |= {"HF_ENDPOINT": address, "no_proxy": "127.0.0.1"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", LOADS], cwd=COURSE, env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def __call__(self, home: Path, **changes: object) -> tuple[dict[str, str], str, float]:
        """Loads both towers with the cache in `home`: what was loaded, what was said, seconds."""
        profile = asdict(replace(TINY, **changes))
        self.process.stdin.write(json.dumps([str(home), profile]) + "\n")
        self.process.stdin.flush()
        return tuple(json.loads(self.process.stdout.readline()))

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    """Three repositories as folders, two of them with two revisions that hold other weights."""
    root = tmp_path_factory.mktemp("hub")
    made: dict[tuple[str, str], Path] = {}
    for seed, commit in enumerate((NEW, OLD)):
        for name, make in (("timm/tiny_vit", tiny_vit), ("someone/tiny-bert", tiny_bert)):
            made[name, commit] = root / name / commit
            made[name, commit].mkdir(parents=True)
            make(made[name, commit], seed)
    bert = made["someone/tiny-bert", NEW]  # what large repositories hold beside what is read
    (bert / "pytorch_model.bin").write_bytes(b"\0" * 5_000_000)
    (bert / "README.md").write_text("---\nlicense: mit\n---\n")
    (bert / "onnx").mkdir()
    (bert / "onnx" / "model.json").write_text("{}")
    vocabulary = made["someone/tiny-bert", OLD] / "vocab.txt"  # an older one, without dogs
    vocabulary.write_text(vocabulary.read_text().replace("\ndog\n", "\nfrog\n"))
    made["timm/test_vit.r160_in1k", NEW] = root / "plain"
    save_for_hf(timm.create_model("test_vit"), root / "plain", safe_serialization=True)
    return made


@pytest.fixture(scope="module")
def hub(folders: dict[tuple[str, str], Path]) -> Iterator[Hub]:
    """Each repository by the addresses that the hub's client asks for, at all its revisions."""
    files: dict[str, bytes] = {}
    commits: dict[str, str] = {}
    for (name, commit), folder in folders.items():
        there = {str(path.relative_to(folder)): path.read_bytes()
                 for path in sorted(folder.rglob("*")) if path.is_file()}  # fmt: skip
        siblings = [{"rfilename": file, "size": len(content)} for file, content in there.items()]
        info = json.dumps({"id": name, "sha": commit, "siblings": siblings}).encode()
        for revision in (commit, "main" if commit == NEW else "v1"):
            files[info_of(name, revision)] = info
            for file, content in there.items():
                files[f"/{name}/resolve/{revision}/{file}"] = content
                commits[f"/{name}/resolve/{revision}/{file}"] = commit
    refusals = {
        info_of("timm/no_such", "main"): "RepoNotFound",
        info_of("someone/tiny-bert", "v9"): "RevisionNotFound",
    }
    with serve_hub(files) as server:
        server.commits, server.refusals = commits, refusals
        yield server


def info_of(repository: str, revision: str) -> str:
    return f"/api/models/{repository}/revision/{revision}?blobs=true"


@pytest.fixture(scope="module")
def load(hub: Hub) -> Iterator[Loader]:
    with closing(Loader(hub.address)) as loader:
        yield loader


@pytest.fixture(autouse=True)
def unasked(hub: Hub) -> None:
    hub.asked.clear()


def hash_of(hub: Hub, repository: str, revision: str) -> str:
    content = hub.files[f"/{repository}/resolve/{revision}/model.safetensors"]
    return hashlib.sha256(content).hexdigest()


def size_of(folder: Path, *without: str) -> int:
    files = [path for path in folder.iterdir() if path.is_file() and path.name not in without]
    return sum(path.stat().st_size for path in files)


def test_downloaded_once_with_its_size_said_then_never_asked_again(
    hub: Hub, folders: dict[tuple[str, str], Path], load: Loader, tmp_path: Path
) -> None:
    weights, said, _ = load(tmp_path)
    vit = size_of(folders["timm/tiny_vit", NEW])
    bert = size_of(folders["someone/tiny-bert", NEW], "pytorch_model.bin")
    sentences = [line for line in said.splitlines() if line.startswith("Downloading")]
    assert sentences == [
        f"Downloading timm/tiny_vit from the model hub, once: {vit / 1e6:.0f} MB.",
        f"Downloading someone/tiny-bert from the model hub, once: {bert / 1e3:.0f} kB.",
    ]
    assert weights == {
        "image_encoder_revision": NEW, "text_encoder_revision": NEW,
        "image_encoder_sha256": hash_of(hub, "timm/tiny_vit", "main"),
        "text_encoder_sha256": hash_of(hub, "someone/tiny-bert", "main"),
        "words": "[CLS] a dog [SEP]",
    }  # fmt: skip
    got = [path for method, path, _ in hub.asked if method == "GET" and "resolve" in path]
    assert not any("pytorch_model.bin" in path or "onnx" in path for path in got)
    assert [path.rsplit("/")[-1] for path in got].count("model.safetensors") == 2
    assert any(path.endswith("/README.md") for path in got), "the card names the licence"

    hub.asked.clear()
    again, said, _ = load(tmp_path)
    assert again == weights and "Downloading" not in said
    assert hub.asked == [], "what is kept is read without asking the hub"


def test_a_plain_timm_name_comes_from_its_own_repository(
    hub: Hub, load: Loader, tmp_path: Path
) -> None:
    changes = {"image_encoder": "test_vit.r160_in1k"}
    weights, said, _ = load(tmp_path, **changes)
    assert "Downloading timm/test_vit.r160_in1k from the model hub, once: 1 MB." in said
    assert weights["image_encoder_sha256"] == hash_of(hub, "timm/test_vit.r160_in1k", "main")
    hub.asked.clear()
    assert load(tmp_path, **changes)[0] == weights and hub.asked == []


@pytest.mark.parametrize("revision", ["v1", OLD])
def test_the_revision_of_the_profile_reaches_both_towers(
    hub: Hub, load: Loader, tmp_path: Path, revision: str
) -> None:
    load(tmp_path)  # the newest is kept too, and must not be taken for it
    changes = {"image_revision": revision, "text_revision": revision}
    weights, said, _ = load(tmp_path, **changes)
    assert said.count("Downloading") == 2
    assert weights["words"] == "[CLS] a d ##o ##g [SEP]", "the tokenizer is of that revision too"
    for tower, repository in (("image", "timm/tiny_vit"), ("text", "someone/tiny-bert")):
        assert weights[f"{tower}_encoder_revision"] == OLD
        assert weights[f"{tower}_encoder_sha256"] == hash_of(hub, repository, "v1")
        assert hash_of(hub, repository, "v1") != hash_of(hub, repository, "main")
    hub.asked.clear()
    assert load(tmp_path, **changes)[0] == weights and hub.asked == []


def test_a_download_that_breaks_off_is_not_taken_for_whole(
    hub: Hub, load: Loader, tmp_path: Path
) -> None:
    text_alone = {"image_encoder": "test_resnet", "image_pretrained": False}
    address = "/someone/tiny-bert/resolve/main/model.safetensors"
    content = hub.files.pop(address)
    _, said, seconds = load(tmp_path, **text_alone)
    assert "error OSError someone/tiny-bert is neither in the model cache nor to be had" in said
    assert seconds < 60
    hub.files[address] = content
    weights, said, _ = load(tmp_path, **text_alone)
    rest = len(content)
    assert f"tiny-bert from the model hub, once: {rest / 1e3:.0f} kB." in said, "the rest alone"
    assert weights["text_encoder_sha256"] == hash_of(hub, "someone/tiny-bert", "main")
    assert "image_encoder_sha256" not in weights, "from scratch"


def test_names_and_revisions_that_the_hub_does_not_have(
    hub: Hub, load: Loader, tmp_path: Path
) -> None:
    _, said, _ = load(tmp_path, image_encoder="hf-hub:timm/no_such")
    assert "error OSError The model hub has no timm/no_such, or" in said
    _, said, _ = load(tmp_path, text_revision="v9")
    assert "error OSError The model hub has no revision 'v9' of someone/tiny-bert" in said


def test_no_hub_at_all_is_a_sentence_at_once(tmp_path: Path) -> None:
    with closing(Loader("http://127.0.0.1:9")) as load:  # nobody listens there
        _, said, seconds = load(tmp_path)
    assert "timm/tiny_vit is neither in the model cache nor to be had from the model hub" in said
    assert "Go online once and it is kept" in said and "HF_HOME" in said
    assert seconds < 20


def test_a_folder_of_ones_own_stands_for_itself(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    assert fetch(str(tmp_path), "", (CONFIG, WEIGHTS)) == tmp_path
    expected = {"revision": "local", "sha256": hashlib.sha256(b"weights").hexdigest()}
    assert weights_used(tmp_path) == expected
    with pytest.raises(ValueError, match="is a folder, so it has no revision 'v1'"):
        fetch(str(tmp_path), "v1", (WEIGHTS,))
    assert weights_used(None) == {}


@pytest.mark.parametrize("name", ["timm/resnet18@v1", "a/b/c"])
def test_a_name_that_cannot_be(name: str) -> None:
    with pytest.raises(ValueError, match=r"neither a folder .* belongs in image_revision"):
        fetch(name, "", (WEIGHTS,))


def test_weights_in_parts_are_all_told(tmp_path: Path) -> None:
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
             "model.safetensors.index.json", "pytorch_model.bin", "config.json"]  # fmt: skip
    for name in names:
        (tmp_path / name).write_text(name)
    assert [path.name for path in weights_in(tmp_path)] == names[:2]
    hashes = [hashlib.sha256(name.encode()).hexdigest() for name in names[:2]]
    assert weights_used(tmp_path)["sha256"].split() == hashes
