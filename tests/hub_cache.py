"""A model hub's cache for tests: networks of the true classes and file names, random weights."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from string import ascii_lowercase, digits

import timm
import torch
from timm.models import save_for_hf
from transformers import BertConfig, BertModel

from cliplib.config import ORIGINAL, Profile

IMAGE_REPOSITORY = f"timm/{ORIGINAL.image_encoder}"
TEXT_REPOSITORY = ORIGINAL.text_encoder
COMMIT = "c0ffee" + 34 * "0"  # what refs/main names
WORDS = """
a the on in of at with and is two dog man woman boy girl child red blue green yellow black white
boat house tree car cat bird sea beach sand snow grass sky sun moon night running playing standing
water street ball
"""


def tiny_towers(home: Path) -> Profile:
    """Lays both encoders of `original`, tiny, into the cache under `home` (HF_HOME).

    Gives the profile that reaches them: only "hf-hub:" names read which network it is from the
    cache; the plain name that `original` has wants the full-size weights.
    """
    tiny_vit(snapshot(home, IMAGE_REPOSITORY))
    tiny_bert(snapshot(home, TEXT_REPOSITORY))
    return replace(ORIGINAL, image_encoder=f"hf-hub:{IMAGE_REPOSITORY}")


def full_size_towers(home: Path) -> None:
    """Lays both encoders of `original` in their true size: 0.8 GB of random weights."""
    torch.manual_seed(0)
    full = timm.create_model(ORIGINAL.image_encoder, pretrained=False)
    save_for_hf(full, snapshot(home, IMAGE_REPOSITORY), safe_serialization=True)
    bert = snapshot(home, TEXT_REPOSITORY)
    BertModel(BertConfig()).save_pretrained(bert)  # transformers' defaults are BERT-base
    lay_vocabulary(bert, BertConfig().vocab_size)


def snapshot(home: Path, repository: str, commit: str = COMMIT, reference: str = "main") -> Path:
    """An empty folder for a repository's files, where the hub's client looks for them."""
    kept = home / "hub" / f"models--{repository.replace('/', '--')}"
    (kept / "refs").mkdir(parents=True, exist_ok=True)
    (kept / "refs" / reference).write_text(commit)
    folder = kept / "snapshots" / commit
    folder.mkdir(parents=True)
    return folder


def tiny_vit(folder: Path, seed: int = 0, size: int = 224) -> None:
    """A vision transformer 64 wide, timm's own `test_vit`, with the preprocessing of the large."""
    torch.manual_seed(seed)
    network = timm.create_model("test_vit", img_size=size)
    save_for_hf(network, folder, model_args={"img_size": size}, safe_serialization=True)
    config = json.loads((folder / "config.json").read_text())
    config["pretrained_cfg"] |= {
        "input_size": [3, size, size], "fixed_input_size": True, "crop_pct": 0.9
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))


def tiny_bert(folder: Path, seed: int = 0, width: int = 32) -> None:
    torch.manual_seed(seed)
    size = lay_vocabulary(folder)
    config = BertConfig(
        vocab_size=size, hidden_size=width, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=2 * width, max_position_embeddings=512,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)


def lay_vocabulary(folder: Path, size: int = 0) -> int:
    """vocab.txt of some words and all letters, filled up to `size` pieces; gives its size."""
    letters = [*ascii_lowercase, *digits, *".,'-!?"]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters]
    pieces += [f"##{letter}" for letter in letters] + [
        word for word in WORDS.split() if len(word) > 1
    ]
    pieces += [f"[unused{number}]" for number in range(size - len(pieces))]
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    settings = {"do_lower_case": True, "tokenizer_class": "BertTokenizer", "model_max_length": 128}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return len(pieces)
