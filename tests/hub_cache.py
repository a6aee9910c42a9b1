"""A model hub's cache for tests: networks of the true classes and file names, random weights."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from string import ascii_lowercase, digits

import timm
import torch
from sentencepiece import SentencePieceTrainer
from timm.models import save_for_hf
from transformers import (
    BertConfig,
    BertModel,
    CLIPConfig,
    CLIPModel,
    SiglipConfig,
    SiglipModel,
)

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


def tiny_clip(folder: Path, seed: int = 0, end_of_text: int | None = 2) -> None:
    """A CLIPModel 32 wide with the settings, files and vocabulary's form of OpenAI's.

    `end_of_text` is what the configuration says: 2 in OpenAI's own, which is wrong and means "the
    largest id"; None for the true id, as in later ones.
    """
    torch.manual_seed(seed)
    size = lay_clip_vocabulary(folder)
    tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    tower |= {"num_attention_heads": 2}
    text = {"vocab_size": size, "max_position_embeddings": 24, "bos_token_id": size - 2,
            "eos_token_id": size - 1 if end_of_text is None else end_of_text}  # fmt: skip
    vision = {"hidden_size": 48, "image_size": 32, "patch_size": 8}
    config = CLIPConfig(text_config=tower | text, vision_config=tower | vision, projection_dim=16)
    CLIPModel(config).save_pretrained(folder)
    of_openai = {  # as in openai/clip-vit-base-patch32, whose fields are older than the classes
        "crop_size": 32, "do_center_crop": True, "do_normalize": True, "do_resize": True,
        "feature_extractor_type": "CLIPFeatureExtractor", "resample": 3, "size": 32,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(of_openai))


def lay_clip_vocabulary(folder: Path) -> int:
    """vocab.json and merges.txt of all letters and a few words; gives the vocabulary's size."""
    letters = [*ascii_lowercase, *digits, *".,'-!?"]
    pieces = letters + [f"{letter}</w>" for letter in letters]
    merges = []
    for word in WORDS.split():
        parts = [*word[:-1], f"{word[-1]}</w>"]
        while len(parts) > 1:
            merges.append(f"{parts[0]} {parts[1]}")
            parts = [parts[0] + parts[1], *parts[2:]]
            pieces.append(parts[0])
    pieces = [*dict.fromkeys(pieces), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    lines = ["#version: 0.2", *dict.fromkeys(merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n")
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 24}
    settings |= {"unk_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return len(pieces)


def tiny_siglip(folder: Path, seed: int = 0) -> None:
    """A SiglipModel 32 wide with the settings, files and vocabulary's form of Google's."""
    torch.manual_seed(seed)
    model = BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter([*WORDS.split("\n"), ascii_lowercase, digits] * 4),
        model_writer=model, vocab_size=80, hard_vocab_limit=False, minloglevel=2,
        pad_id=0, eos_id=1, unk_id=2, bos_id=-1,
    )  # fmt: skip
    (folder / "spiece.model").write_bytes(model.getvalue())
    settings = {"tokenizer_class": "SiglipTokenizer", "model_max_length": 16}
    settings |= {"do_lower_case": True, "model_input_names": ["input_ids"]}
    settings |= {"pad_token": "</s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    tower |= {"num_attention_heads": 2}
    config = SiglipConfig(
        text_config=tower | {"vocab_size": 96, "max_position_embeddings": 16},
        vision_config=tower | {"image_size": 32, "patch_size": 8},
    )
    network = SiglipModel(config)
    with torch.no_grad():  # as a training starts
        network.logit_scale.fill_(math.log(10))
        network.logit_bias.fill_(-10)
    network.save_pretrained(folder)
    of_google = {  # as in google/siglip-base-patch16-224
        "do_normalize": True, "do_rescale": True, "do_resize": True, "resample": 3,
        "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5],
        "image_processor_type": "SiglipImageProcessor", "processor_class": "SiglipProcessor",
        "rescale_factor": 0.00392156862745098, "size": {"height": 32, "width": 32},
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(of_google))
