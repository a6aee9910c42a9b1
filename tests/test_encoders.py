"""The encoders and the tokenizer: widths, padding, weights that are not there, the real towers."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor
from transformers import AutoModel, AutoTokenizer, PreTrainedTokenizerFast

from cliplib.config import COURSE, LAPTOP, QUICK
from cliplib.encoders import (
    ImageEncoder,
    TextEncoder,
    hub_tokenizer,
    load_tokenizer,
    masked_mean,
    pick_device,
    text_encoder,
    train_tokenizer,
)

TINY = dataclasses.replace(QUICK, text_width=16, text_layers=2, vocabulary_size=60, max_tokens=12)
CAPTIONS = ["A red boat on the sea.", "Two blue cats in the snow", "A red house at night"] * 3


def pad(ids: list[list[int]], length: int) -> tuple[Tensor, Tensor]:
    rows = torch.tensor([row + [0] * (length - len(row)) for row in ids])
    mask = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in ids])
    return rows, mask  # (B, L), (B, L)


@pytest.fixture
def tiny_text_encoder() -> TextEncoder:
    torch.manual_seed(3)
    return text_encoder(TINY).eval()


def test_the_mean_is_over_real_tokens_only() -> None:
    torch.manual_seed(0)
    hidden, lengths = torch.randn(3, 7, 5), (7, 4, 1)
    mask = torch.tensor([[int(at < length) for at in range(7)] for length in lengths])
    means = masked_mean(hidden, mask)
    for row, length in enumerate(lengths):
        assert torch.allclose(means[row], hidden[row, :length].mean(0), atol=1e-7)
    noisy = torch.where(mask[:, :, None] == 1, hidden, 1e6 * torch.randn(3, 7, 5))
    assert torch.equal(masked_mean(noisy, mask), means)
    assert torch.equal(masked_mean(hidden, torch.zeros_like(mask)), torch.zeros(3, 5))


@pytest.mark.parametrize("weights", ["model.safetensors", "other.bin", ""])
def test_a_folder_of_ones_own_is_an_image_encoder(weights: str, tmp_path: Path) -> None:
    """With weights by the hub's name, by another one, and without any where none are asked for."""
    torch.manual_seed(3)
    network = timm.create_model("test_resnet", pretrained=False)
    timm.models.save_for_hf(network, tmp_path, safe_serialization=True)
    if weights != "model.safetensors":
        (tmp_path / "model.safetensors").unlink()
    if weights == "other.bin":
        torch.save(network.state_dict(), tmp_path / weights)
    loaded = ImageEncoder(f"local-dir:{tmp_path}", pretrained=bool(weights)).network
    same = torch.equal(loaded.conv1[0].weight, network.conv1[0].weight)
    assert same == bool(weights)


def test_padding_changes_no_sentence(tiny_text_encoder: TextEncoder) -> None:
    ids = [[2, 9, 17, 3], [2, 30, 31, 32, 33, 34, 3], [2, 5, 3]]
    batch = tiny_text_encoder(*pad(ids, 7))
    assert batch.shape == (3, 16)
    assert torch.allclose(tiny_text_encoder(*pad(ids, 12)), batch, atol=1e-6)
    for row, alone in enumerate(ids):
        assert torch.allclose(
            tiny_text_encoder(*pad([alone], len(alone)))[0], batch[row], atol=1e-6
        )
    assert not torch.allclose(batch[0], batch[1], atol=1e-2), "else the test could not fail"


def test_the_small_bert_is_as_the_profile_says(tiny_text_encoder: TextEncoder) -> None:
    config = tiny_text_encoder.network.config
    assert (config.hidden_size, config.num_hidden_layers, config.vocab_size) == (16, 2, 60)
    assert tiny_text_encoder.width == 16 and config.max_position_embeddings == 12
    ids, mask = pad([[2, 9, 17, 3]], 4)
    trained = tiny_text_encoder.train()
    assert torch.equal(trained(ids, mask), trained(ids, mask)), "no dropout inside it"


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_vit", "test_convnext"])
def test_the_width_is_what_comes_out(name: str) -> None:
    pictures = torch.randn(2, 3, 160, 160)
    for output in ("features", "logits"):
        encoder = ImageEncoder(name, pretrained=False, output=output).eval()
        with torch.no_grad():
            assert encoder(pictures).shape == (2, encoder.width)
        assert (encoder.width == 1000) == (output == "logits")


@pytest.mark.parametrize("name", ["test_vit", "test_vit3", "test_resnet"])
@pytest.mark.parametrize("size", [64, 160, 192])
def test_any_size_that_is_wanted(name: str, size: int) -> None:
    encoder = ImageEncoder(name, pretrained=False, size=size).eval()
    with torch.no_grad():
        assert encoder(torch.randn(2, 3, size, size)).shape == (2, encoder.width)
    assert encoder.transform(size, 0).size == size


@pytest.mark.parametrize("name", ["test_vit", "test_vit3"])
def test_a_size_that_is_no_multiple_of_the_patches_is_a_sentence(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} cuts .* multiple of 16, such as 160.* it is 70"):
        ImageEncoder(name, pretrained=False, size=70)


def test_the_features_are_what_the_classifier_sees() -> None:
    classifier = ImageEncoder("test_resnet", pretrained=False, output="logits").eval()
    features = ImageEncoder("test_resnet", pretrained=False).eval()
    weights = classifier.network.state_dict()
    features.network.load_state_dict(
        {k: v for k, v in weights.items() if not k.startswith("fc.")}, strict=True
    )
    pictures = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        logits = classifier.network.fc(features(pictures))
        assert torch.allclose(logits, classifier(pictures), atol=1e-5)


def test_a_name_that_timm_does_not_know() -> None:
    for name in ("resnet_99", "test_resnet.no_such_weights"):
        with pytest.raises(ValueError, match=rf"no image encoder '{name}'.*list_models\(\)"):
            ImageEncoder(name, pretrained=False)


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet"])
def test_pictures_are_prepared_as_the_network_wants(name: str) -> None:
    transform = ImageEncoder(name, pretrained=False).transform(48, 0.9)
    wanted = timm.data.resolve_data_config(
        {}, pretrained_cfg=timm.get_pretrained_cfg(name).to_dict()
    )
    assert (transform.size, transform.crop) == (48, 0.9), "these are the profile's"
    assert transform.mean == wanted["mean"] and transform.std == wanted["std"]
    assert transform.interpolation == wanted["interpolation"]


def test_the_two_networks_above_want_different_things() -> None:
    one, other = (
        ImageEncoder(name, pretrained=False).transform(48, 0)
        for name in ("test_resnet", "test_efficientnet")
    )
    assert one.mean != other.mean and one.interpolation != other.interpolation


def test_the_device_is_the_fastest_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for cuda, mps, expected in [(True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")]:
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=cuda: there)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda there=mps: there)
        assert pick_device().type == expected


def test_sentences_become_pieces_between_cls_and_sep() -> None:
    tokenizer = train_tokenizer(CAPTIONS, 200, max_tokens=9)
    assert tokenizer.tokens("A RED Boat") == ["[CLS]", "a", "red", "boat", "[SEP]"]
    assert tokenizer.tokens("") == ["[CLS]", "[SEP]"]
    ids = tokenizer.encode(["A red boat", "a red boat on the sea", ""])
    assert [len(row) for row in ids] == [5, 8, 2], "unpadded"
    assert len({row[0] for row in ids}) == len({row[-1] for row in ids}) == 1
    assert ids[0][:4] == ids[1][:4]
    assert tokenizer.pad_id not in ids[0] + ids[1]
    assert tokenizer.encode([]) == []


def test_long_sentences_are_cut_and_still_end() -> None:
    tokenizer = train_tokenizer(CAPTIONS, 200, max_tokens=6)
    assert tokenizer.tokens("a red boat on the sea at night") == [
        "[CLS]", "a", "red", "boat", "on", "[SEP]",
    ]  # fmt: skip


def test_a_word_of_unknown_letters_is_unknown() -> None:
    tokenizer = train_tokenizer(CAPTIONS, 200, max_tokens=9)
    assert tokenizer.tokens("a ЖЖ boat") == ["[CLS]", "a", "[UNK]", "boat", "[SEP]"]


def test_a_tokenizer_comes_back_from_its_text() -> None:
    tokenizer = train_tokenizer(CAPTIONS, 200, max_tokens=9)
    again = load_tokenizer(tokenizer.to_json(), max_tokens=9)
    assert again.encode(CAPTIONS) == tokenizer.encode(CAPTIONS)
    assert (again.pad_id, again.vocabulary_size) == (tokenizer.pad_id, tokenizer.vocabulary_size)
    assert again.to_json() == tokenizer.to_json()
    assert max(map(len, load_tokenizer(tokenizer.to_json(), 4).encode(CAPTIONS))) == 4


def test_training_a_tokenizer_twice_gives_the_same() -> None:
    once, twice = (train_tokenizer(CAPTIONS, 60, 9).to_json() for _ in range(2))
    assert once == twice


@pytest.mark.parametrize("size", [30, 60, 512])
def test_a_vocabulary_is_no_larger_than_asked_for(size: int) -> None:
    assert 5 < train_tokenizer(CAPTIONS, size, 9).vocabulary_size <= size


def test_captions_of_many_letters_fit_the_encoder() -> None:
    letters = [chr(0x4E00 + number) for number in range(900)]
    captions = [" ".join(letters[start : start + 9]) for start in range(0, 900, 9)] * 2
    tokenizer = train_tokenizer(captions, TINY.vocabulary_size, TINY.max_tokens)
    ids = tokenizer.encode(captions)
    assert max(map(max, ids)) < TINY.vocabulary_size
    text_encoder(TINY)(*pad(ids[:4], TINY.max_tokens))


@pytest.fixture
def kept_bert(tmp_path: Path, tiny_text_encoder: TextEncoder) -> Path:
    """A folder as the hub's cache holds them, which `pretrained` names as well as a hub name."""
    tiny_text_encoder.network.half().save_pretrained(tmp_path / "bert")
    tokenizer = Tokenizer.from_str(train_tokenizer(CAPTIONS, 60, 12).to_json())
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]")
    fast.save_pretrained(tmp_path / "bert")
    return tmp_path / "bert"


def test_half_precision_weights_are_used_in_single(
    kept_bert: Path, tiny_text_encoder: TextEncoder
) -> None:
    profile = dataclasses.replace(TINY, text_encoder=str(kept_bert), text_pretrained=True)
    loaded = text_encoder(profile).eval()
    assert {weight.dtype for weight in loaded.parameters()} == {torch.float32}
    batch = pad([[2, 9, 17, 3], [2, 5, 3]], 5)
    saved = tiny_text_encoder.float()
    assert torch.allclose(loaded(*batch), saved(*batch), atol=1e-6)


def test_the_tokenizer_that_belongs_to_an_encoder(kept_bert: Path) -> None:
    own = train_tokenizer(CAPTIONS, 60, 12)
    assert hub_tokenizer(str(kept_bert), 12).encode(CAPTIONS) == own.encode(CAPTIONS)
    assert max(map(len, hub_tokenizer(str(kept_bert), 5).encode(CAPTIONS))) == 5


@pytest.mark.parametrize("layers", [1, 3])
def test_attention_of_both_towers_is_the_fused_one(
    kept_bert: Path, monkeypatch: pytest.MonkeyPatch, layers: int
) -> None:
    calls = []
    fused = F.scaled_dot_product_attention

    def counted(*arguments: object, **settings: object) -> Tensor:
        calls.append(arguments[0].shape)
        return fused(*arguments, **settings)

    monkeypatch.setattr(F, "scaled_dot_product_attention", counted)
    scratch = dataclasses.replace(TINY, text_layers=layers)
    kept = dataclasses.replace(TINY, text_encoder=str(kept_bert), text_pretrained=True)
    for profile, expected in ((scratch, layers), (kept, TINY.text_layers)):
        text_encoder(profile)(*pad([[2, 9, 17, 3], [2, 5, 3]], 4))
        assert len(calls) == expected
        calls.clear()
    vit = ImageEncoder("test_vit", pretrained=False)
    vit(torch.randn(2, 3, 160, 160))
    assert len(calls) == len(vit.network.blocks) > 1


def test_a_revision_without_weights_of_the_hub_is_a_sentence() -> None:
    with pytest.raises(ValueError, match="image_revision is 'v1', but no weights of test_resnet"):
        ImageEncoder("test_resnet", pretrained=False, revision="v1")


MISSES = """
import dataclasses, json, time
from cliplib.config import LAPTOP
from cliplib.encoders import ImageEncoder, hub_tokenizer, text_encoder

calls = [
    lambda: ImageEncoder(LAPTOP.image_encoder, pretrained=True),
    lambda: text_encoder(LAPTOP),
    lambda: hub_tokenizer(LAPTOP.text_encoder, 128),
]
for call in calls:
    start = time.perf_counter()
    try:
        call()
    except OSError as error:
        print(json.dumps([type(error).__name__, str(error), time.perf_counter() - start]))
"""


def test_weights_that_are_not_there(tmp_path: Path) -> None:
    settings = {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    unset = ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "TORCH_HOME")
    environment = {k: v for k, v in os.environ.items() if k not in unset} | settings
    done = subprocess.run(
        [sys.executable, "-c", MISSES],
        cwd=COURSE, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    misses = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(misses) == 3
    for (kind, sentence, seconds), name in zip(
        misses, (f"timm/{LAPTOP.image_encoder}", *[LAPTOP.text_encoder] * 2), strict=True
    ):
        assert kind == "OSError", "no library's own error"
        assert sentence.startswith(f"{name} is neither in the model cache nor to be had")
        assert "Go online once" in sentence and "HF_HOME" in sentence
        assert seconds < 5


KEPT = Path(os.environ.get("HF_HOME", "")) / "hub"
needs_the_real_towers = pytest.mark.skipif(
    not (KEPT / "models--timm--tf_efficientnet_lite0.in1k").exists(),
    reason="HF_HOME names no model cache with the laptop profile's towers",
)


@needs_the_real_towers
@pytest.mark.parametrize(("output", "width"), [("features", 1280), ("logits", 1000)])
def test_the_real_image_tower(output: str, width: int) -> None:
    encoder = ImageEncoder(LAPTOP.image_encoder, pretrained=True, output=output).eval()
    assert encoder.width == width
    red = torch.full((1, 3, 96, 96), -1.0)
    red[:, 0] = 1.0
    with torch.no_grad():
        red_out, grey_out = encoder(red), encoder(torch.zeros(1, 3, 96, 96))
    assert red_out.shape == (1, width)
    assert torch.nn.functional.cosine_similarity(red_out, grey_out) < 0.9
    transform = encoder.transform(224, 0)
    assert transform.interpolation == "bicubic" and transform.mean == (0.5, 0.5, 0.5)


SENTENCES = [
    "A dog runs across the beach.",
    "A puppy is running over the sand by the sea, its tongue hanging out of its mouth.",
    "Two men repair a car in a garage.",
]


@needs_the_real_towers
def test_the_real_text_tower() -> None:
    tokenizer = hub_tokenizer(LAPTOP.text_encoder, LAPTOP.max_tokens)
    ids = tokenizer.encode(SENTENCES)
    assert tokenizer.tokens("A Dog")[::3] == ["[CLS]", "[SEP]"] and tokenizer.pad_id == 0
    encoder = text_encoder(LAPTOP).eval()
    assert encoder.width == LAPTOP.text_width == 384
    with torch.no_grad():
        features = encoder(*pad(ids, max(map(len, ids)))).numpy()  # (3, 384)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    cosines = unit @ unit.T
    assert cosines[0, 1] > 0.5 > 0.3 > max(cosines[0, 2], cosines[1, 2])

    network = AutoModel.from_pretrained(LAPTOP.text_encoder).eval()
    words = AutoTokenizer.from_pretrained(LAPTOP.text_encoder)
    for sentence, found in zip(SENTENCES, features, strict=True):
        with torch.no_grad():
            hidden = network(**words(sentence, return_tensors="pt")).last_hidden_state[0]
        assert np.abs(hidden.numpy().mean(axis=0) - found).max() < 1e-5


@needs_the_real_towers
def test_what_is_kept_is_read_without_the_internet(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*_: object, **__: object) -> None:
        pytest.fail("asks the internet, which takes over a minute where there is none")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket, "getaddrinfo", asked)
    ImageEncoder(LAPTOP.image_encoder, pretrained=True)
    text_encoder(LAPTOP)
    assert hub_tokenizer(LAPTOP.text_encoder, 128).tokens("Hi") == ["[CLS]", "hi", "[SEP]"]
