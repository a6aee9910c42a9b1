"""Web-trained models: tiny ones of the true classes in a hub cache, against transformers' own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hub_cache import COMMIT, snapshot, tiny_bert, tiny_clip, tiny_siglip
from hub_server import COMMIT as SERVED_COMMIT
from hub_server import serve_hub
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel, SiglipModel

from cliplib import search
from cliplib.checkpoint import Run, load_run
from cliplib.config import COURSE, shipped_checkpoint
from cliplib.data import TokenTable
from cliplib.drawing import draw
from cliplib.evaluate import compare_runs, measure_run
from cliplib.picturebook import compose
from cliplib.retrieval import recalls
from cliplib.theirs import TheirTokenizer, load_theirs, transform_of

try:
    from transformers import CLIPImageProcessorPil, SiglipImageProcessorPil

    BACKENDS = {"pil": {"backend": "pil"}, "torchvision": {"backend": "torchvision"}}
except ImportError:  # transformers 5.0: the same two, by other names
    from transformers import CLIPImageProcessor as CLIPImageProcessorPil
    from transformers import SiglipImageProcessor as SiglipImageProcessorPil

    BACKENDS = {"pil": {"use_fast": False}, "torchvision": {"use_fast": True}}

NAMES = ("someone/tiny-clip", "someone/tiny-later-clip", "someone/tiny-siglip")
CLIP, LATER_CLIP, SIGLIP = NAMES
CLASSES = {CLIP: CLIPModel, LATER_CLIP: CLIPModel, SIGLIP: SiglipModel}
OLD = "0ddba11" + 33 * "0"  # an earlier commit of the CLIP, which the tag v1 names
CAPTIONS = (
    "A dog.",
    "Two boys and a girl, in the sea!",
    "a red boat",
    " ".join(["the man with the yellow ball is standing"] * 9),  # longer than any may be
)
COLOURS = ("red", "blue", "green", "yellow", "white", "purple")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What HF_HOME names: a cache with two CLIPs, one in two revisions, and a SigLIP."""
    home = tmp_path_factory.mktemp("home")
    tiny_clip(snapshot(home, CLIP), seed=0)
    tiny_clip(snapshot(home, CLIP, OLD, "v1"), seed=1)
    tiny_clip(snapshot(home, LATER_CLIP), seed=2, end_of_text=None)
    tiny_siglip(snapshot(home, SIGLIP), seed=3)
    return home


@pytest.fixture(autouse=True)
def cached(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setenv("CLIPLIB_DATA", str(tmp_path / "data"))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six drawn pictures that are no squares, a caption each; all of them are the test split."""
    folder = tmp_path_factory.mktemp("pairs")
    (folder / "Images").mkdir()
    (folder / "splits").mkdir()
    for number, colour in enumerate(COLOURS):
        picture = draw(compose(f"{colour} boat", sky="day" if number % 2 else "night"), 160)
        picture.crop((0, 0, 160, 112)).save(folder / "Images" / f"{colour}.png")
    rows = [f"{colour}.png,A {colour} boat on the sea." for colour in COLOURS]
    (folder / "captions.txt").write_text("\n".join(["image,caption", *rows]) + "\n")
    for split, names in {"train": (), "val": (), "test": COLOURS}.items():
        lines = "".join(f"{name}.png\n" for name in names)
        (folder / "splits" / f"{split}.txt").write_text(lines)
    return folder


def their_tokens(run: Run, sentences: tuple[str, ...], padding: str | bool) -> dict[str, Tensor]:
    tokenizer = AutoTokenizer.from_pretrained(run.folder)
    longest = run.model.text_encoder.network.config.max_position_embeddings
    return tokenizer(
        list(sentences), padding=padding, truncation=True, max_length=longest, return_tensors="pt"
    )


def their_pictures(run: Run, paths: list[Path], backend: str = "pil") -> Tensor:
    processor = AutoImageProcessor.from_pretrained(run.folder, **BACKENDS[backend])
    pictures = [Image.open(path).convert("RGB") for path in paths]
    return processor(pictures, return_tensors="pt")["pixel_values"]  # (B, 3, H, W)


@torch.inference_mode()
def their_logits(run: Run, name: str, pixels: Tensor, sentences: tuple[str, ...]) -> Tensor:
    """transformers' own logits_per_image, its model loaded anew, in the numbers of the pixels."""
    network = CLASSES[name].from_pretrained(run.folder, dtype=pixels.dtype).eval()
    padding = "max_length" if name == SIGLIP else True
    tokens = their_tokens(run, sentences, padding)
    return network(**tokens, pixel_values=pixels).logits_per_image  # (N, M)


@torch.inference_mode()
def our_logits(run: Run, pixels: Tensor, sentences: tuple[str, ...]) -> Tensor:
    table = TokenTable(run.tokenizer.encode(sentences), run.tokenizer.pad_id)
    texts = run.model.encode_text(table.batch(range(len(sentences))))
    return run.model.logits(run.model.encode_image(pixels), texts)  # (N, M)


@pytest.mark.parametrize("name", NAMES)
def test_logits_are_transformers_own(name: str, pairs: Path) -> None:
    """In double precision, captions of different lengths in one batch, one of them cut off."""
    run = load_theirs(name)
    run.model.double()
    pixels = their_pictures(run, sorted((pairs / "Images").iterdir())).double()
    expected = their_logits(run, name, pixels, CAPTIONS)
    assert expected.shape == (6, 4)
    assert expected.std(0).min() > 1e-3 and expected.std(1).min() > 1e-3, "nothing to compare"
    assert (our_logits(run, pixels, CAPTIONS) - expected).abs().max() < 1e-10


@pytest.mark.parametrize("name", NAMES)
@torch.inference_mode()
def test_both_calls_give_unit_vectors_of_one_size(name: str) -> None:
    model = load_theirs(name).model
    images = model.encode_image(torch.randn(5, 3, 32, 32))
    texts = model.encode_text((torch.randint(3, 70, (5, 16)), torch.ones(5, 16, dtype=torch.long)))
    assert images.shape == texts.shape == (5, 32 if name == SIGLIP else 16)
    for vectors in (images, texts):
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(5))
    assert not model.training
    network = CLASSES[name].from_pretrained(load_theirs(name).folder)
    torch.testing.assert_close(model.logit_scale, network.logit_scale.exp().reshape(()))
    assert model.logit_bias.item() == (-10 if name == SIGLIP else 0)


@pytest.mark.parametrize("name", NAMES)
def test_a_sentence_means_the_same_alone_and_beside_a_longer_one(name: str) -> None:
    run = load_theirs(name)
    alone = search.embed_words(run, CAPTIONS[:1])[0]
    torch.testing.assert_close(search.embed_words(run, CAPTIONS)[0], alone)


def test_siglip_that_is_not_filled_up_gives_other_numbers(pairs: Path) -> None:
    """So the comparison above would turn red if the filling were missing."""
    run = load_theirs(SIGLIP)
    short = CAPTIONS[:3]  # the longest fills all positions by itself
    pixels = their_pictures(run, sorted((pairs / "Images").iterdir()))
    expected = their_logits(run, SIGLIP, pixels, short)
    assert (our_logits(run, pixels, short) - expected).abs().max() < 1e-5
    assert {len(ids) for ids in run.tokenizer.encode(short)} == {16}
    unfilled = TheirTokenizer(run.folder, 16, fills=False)
    assert len({len(ids) for ids in unfilled.encode(short)}) == 3
    other = Run(run.folder, run.profile, run.model, unfilled, run.transform)
    assert (our_logits(other, pixels, short) - expected).abs().max() > 1e-2


@pytest.mark.parametrize("name", [CLIP, SIGLIP])
@pytest.mark.parametrize("size", [(160, 112), (112, 160), (640, 480)])
def test_pictures_are_prepared_as_by_the_models_own_processor(
    name: str, size: tuple[int, int], tmp_path: Path
) -> None:
    """Pillow's backend: the same pixels, so only the order of the arithmetic differs. torchvision's
    backend resizes by another implementation, which rounds some values otherwise: by one of 255.
    """
    path = tmp_path / "picture.png"
    draw(compose("red boat", "white bird", "green tree"), 640).resize(size).save(path)
    run = load_theirs(name)
    ours = run.transform.normalise(run.transform.load(path)[None])
    with_pillow = their_pictures(run, [path])
    assert ours.shape == with_pillow.shape == (1, 3, 32, 32) and with_pillow.std() > 0.3
    assert (ours - with_pillow).abs().max() < 1e-5
    level = 1 / (255 * min(run.transform.std))
    assert (ours - their_pictures(run, [path], "torchvision")).abs().max() < 1.01 * level


def test_an_odd_margin_is_cut_one_pixel_apart(tmp_path: Path) -> None:
    """47 columns to 32: 7.5 on each side. torchvision and we leave out 8 on the left, they 7."""
    path = tmp_path / "picture.png"
    draw(compose("red boat", "white bird"), 164).crop((0, 0, 164, 111)).save(path)
    run = load_theirs(CLIP)
    ours = run.transform.normalise(run.transform.load(path)[None])
    assert (ours[..., :-1] - their_pictures(run, [path])[..., 1:]).abs().max() < 1e-5


def test_a_square_out_of_a_larger_picture(tmp_path: Path) -> None:
    """32 / 93 is rounded, and 32 / (32 / 93) falls short of 93: the picture must have 93 rows."""
    path = tmp_path / "picture.png"
    draw(compose("red boat", "white bird"), 160).crop((0, 0, 160, 111)).save(path)
    processor = CLIPImageProcessorPil(
        size={"shortest_edge": 93}, crop_size={"height": 32, "width": 32}
    )
    transform = transform_of(processor, "it")
    expected = processor(Image.open(path), return_tensors="pt")["pixel_values"]
    ours = transform.normalise(transform.load(path)[None])
    assert (ours - expected).abs().max() < 1e-5


def test_a_preparation_that_is_not_ours_is_told() -> None:
    square, wide = {"height": 32, "width": 32}, {"height": 32, "width": 48}
    others = [
        CLIPImageProcessorPil(size={"shortest_edge": 32}, do_center_crop=False),
        CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=wide),
        CLIPImageProcessorPil(size={"shortest_edge": 24}, crop_size=square),
        SiglipImageProcessorPil(size=wide),
        SiglipImageProcessorPil(size=square, do_normalize=False),
        SiglipImageProcessorPil(size=square, rescale_factor=1 / 127.5),
    ]
    for processor in others:
        with pytest.raises(ValueError, match=r"^it prepares pictures with size"):
            transform_of(processor, "it")
    with pytest.raises(ValueError, match="interpolation must be"):
        transform_of(SiglipImageProcessorPil(size=square, resample=Image.Resampling.BOX), "it")


def test_another_revision_has_other_weights_and_a_name() -> None:
    newest, older = load_theirs(CLIP), load_theirs(CLIP, "v1")
    assert (newest.folder.name, older.folder.name) == (COMMIT, OLD)
    assert older.profile.image_revision == older.profile.text_revision == "v1"
    ours, theirs = (search.embed_words(run, ["a dog"]) for run in (newest, older))
    assert not torch.allclose(ours, theirs, atol=0.01)


def test_what_cannot_stand_where_ours_does_is_told(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(OSError, match="neither in the model cache nor to be had"):
        load_theirs("someone/never-kept")
    bert = tmp_path / "bert"
    bert.mkdir()
    tiny_bert(bert)
    with pytest.raises(ValueError, match="a model of type 'bert'; only 'clip' and 'siglip'"):
        load_theirs(str(bert))
    lacking = tmp_path / "lacking"
    lacking.mkdir()
    tiny_clip(lacking)
    tensors = load_file(lacking / "model.safetensors")
    del tensors["visual_projection.weight"]
    save_file(tensors, lacking / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"lack 1 tensors: visual_projection\.weight"):
        load_theirs(str(lacking))

    def without_sentencepiece(folder: Path) -> None:
        raise ImportError("SiglipTokenizer requires the SentencePiece library")

    monkeypatch.setattr(AutoTokenizer, "from_pretrained", without_sentencepiece)
    with pytest.raises(OSError, match="pip install sentencepiece"):
        load_theirs(SIGLIP)


@pytest.mark.parametrize("name", NAMES)
def test_recall_is_that_of_transformers_own_logits(name: str, pairs: Path) -> None:
    run = load_theirs(name)
    paths = [pairs / "Images" / f"{colour}.png" for colour in COLOURS]
    captions = tuple(f"A {colour} boat on the sea." for colour in COLOURS)
    logits = their_logits(run, name, their_pictures(run, paths), captions)  # (N, M)
    expected = recalls(logits.T.numpy(), np.arange(6))
    measured = measure_run(run, pairs, "test", progress=False)
    assert measured == expected
    assert 0 < measured["t2i_r5"] < 1, "a gallery in which everything or nothing is found"


def test_mine_against_theirs_is_a_table_in_per_cent(pairs: Path) -> None:
    runs = {"mine": load_run(shipped_checkpoint()), "theirs": load_theirs(CLIP)}
    table = compare_runs(runs, pairs, "test", progress=False)
    assert list(table.index) == ["mine", "theirs"]
    assert list(table.columns) == ["t2i_r1", "t2i_r5", "t2i_r10", "i2t_r1", "i2t_r5", "i2t_r10"]
    for name, run in runs.items():
        measured = measure_run(run, pairs, "test", progress=False)
        for column in table.columns:
            assert table.loc[name, column] == round(100 * measured[column], 1)
    assert table.loc["mine"].mean() > table.loc["theirs"].mean(), "trained, and not"


@pytest.mark.parametrize("name", [CLIP, SIGLIP])
def test_command_searches_a_folder_by_name(
    name: str, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = pairs / "Images", tmp_path / "answers.png"
    arguments = ["--model", name, "--folder", str(folder), "--out", str(out)]
    assert search.main([*arguments, "a red boat", "--top", "4"]) == 0
    lines = capsys.readouterr().out.splitlines()
    run = load_theirs(name)
    assert f"Model: {name} (trained by others on the web), from {run.folder}" in lines
    assert not any("Nothing here matches" in line for line in lines)
    paths = sorted(folder.iterdir())
    logits = their_logits(run, name, their_pictures(run, paths), ("a red boat",))[:, 0]
    best = logits.argsort(descending=True)[:4]
    first = next(number for number, line in enumerate(lines) if line.startswith("rank"))
    answers = [line.split() for line in lines[first + 1 : first + 5]]
    assert [answer[2] for answer in answers] == [paths[row].name for row in best]
    cosines = (logits - run.model.logit_bias.detach()) / run.model.logit_scale.detach()
    assert [answer[1] for answer in answers] == [f"{cosines[row]:.2f}" for row in best]
    assert Image.open(out).size[0] > 200

    like = str(folder / "blue.png")
    assert search.main([*arguments, "--picture", like, "--top", "1"]) == 0
    assert re.search(r"^ +1 +1\.00 +blue\.png", capsys.readouterr().out, re.MULTILINE)


def test_command_finds_captions_and_its_data_set_is_the_profiles(
    pairs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CLIPLIB_FLICKR8K", str(pairs))
    monkeypatch.setattr("cliplib.data.download.fetch", lambda source, progress: pairs)
    picture = str(pairs / "Images" / "blue.png")
    asked = ["--model", CLIP, "--profile", "laptop", "--captions", "--picture", picture]
    assert search.main(asked) == 0
    out = capsys.readouterr().out
    assert f"Gallery: {pairs}, split test, 6 pictures" in out
    assert "boat on the sea." in out


def test_a_model_and_a_run_together_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert search.main(["boat", "--model", CLIP, "--run", "runs/mine"]) == 1
    assert "give one" in capsys.readouterr().err
    assert search.main(["boat", "--model", "someone/never-kept"]) == 1
    assert "neither in the model cache nor to be had" in capsys.readouterr().err


LOADS_TWICE = f"""
from cliplib.theirs import load_theirs
print(load_theirs({SIGLIP!r}).tokenizer.tokens("a dog"))
print("once more")
load_theirs({SIGLIP!r})
"""


def test_downloaded_once_with_its_size_said_then_never_asked_again(
    home: Path, tmp_path: Path
) -> None:
    kept = home / "hub" / f"models--{SIGLIP.replace('/', '--')}" / "snapshots" / COMMIT
    files = {path.name: path.read_bytes() for path in kept.iterdir()}
    sizes = [{"rfilename": name, "size": len(content)} for name, content in files.items()]
    info = json.dumps({"id": SIGLIP, "sha": SERVED_COMMIT, "siblings": sizes}).encode()
    served = {f"/{SIGLIP}/resolve/main/{name}": content for name, content in files.items()}
    with serve_hub(served | {f"/api/models/{SIGLIP}/revision/main?blobs=true": info}) as hub:
        unset = ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN")
        environment = {name: value for name, value in os.environ.items() if name not in unset}
        environment |= {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "new"),
                        "HF_HUB_OFFLINE": "0", "no_proxy": "127.0.0.1"}  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", LOADS_TWICE], cwd=COURSE, env=environment,
            capture_output=True, text=True,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    total = sum(map(len, files.values())) / 1e3
    said = f"Downloading {SIGLIP} from the model hub, once: {total:.0f} kB."
    assert done.stdout.splitlines()[0] == said
    assert done.stdout.splitlines()[-1] == "once more"
    for method, there in (("GET", hub.files), ("HEAD", served)):
        asked = [path for how, path, _ in hub.asked if how == method and path in hub.files]
        assert sorted(asked) == sorted(there), "each once"
