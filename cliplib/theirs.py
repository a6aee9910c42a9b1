"""A CLIP that others trained on the web, from the model hub by name, wherever ours stands."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn
from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel, SiglipModel
from transformers.image_processing_utils import BaseImageProcessor

from cliplib.checkpoint import Run
from cliplib.config import ORIGINAL
from cliplib.encoders import CaptionTokenizer
from cliplib.hub import CONFIG, VOCABULARY, WEIGHTS, fetch
from cliplib.loss import similarity_logits
from cliplib.model import CLIP
from cliplib.pictures import ImageTransform
from cliplib.storage import sha256_of

PREPROCESSING = ("preprocessor_config.json", "processor_config.json")
CLASSES = {"clip": CLIPModel, "siglip": SiglipModel}
TEXT_FILES = (".json", ".txt", ".model")  # settings and vocabularies, beside the weights


class TheirImageEncoder(nn.Module):
    """Their vision transformer behind the same calls as `ImageEncoder`.

    Shapes: (B, 3, H, W) normalised in, (B, D) pooled features out.
    """

    def __init__(self, network: nn.Module, prepared: ImageTransform) -> None:
        super().__init__()
        self.network = network
        self.width: int = network.config.hidden_size
        self.prepared = prepared

    def forward(self, pictures: Tensor) -> Tensor:
        return self.network(pixel_values=pictures).pooler_output  # (B, D)

    def transform(self, size: int, crop: float) -> ImageTransform:
        """How pictures are prepared: mean, deviation and interpolation are the model's own."""
        return replace(self.prepared, size=size, crop=crop)


class TheirTextEncoder(nn.Module):
    """Their text transformer behind the same call as `TextEncoder`.

    Shapes: token ids and mask (1 = real), both (B, L), in; (B, D) out.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.width: int = network.config.hidden_size

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        return self.network(input_ids=ids, attention_mask=mask).pooler_output  # (B, D)


class TheirCLIP(CLIP):
    """A CLIPModel or a SiglipModel in the parts of our own `CLIP`: the same two calls.

    CLIPModel has what ours has: two encoders, two projections without bias, one logit scale.
    SiglipModel projects inside its encoders and adds a bias to every logit, which a sigmoid then
    turns into the probability of one pair. With CLIPModel the bias is 0.
    Source: Radford et al. 2021 (arXiv 2103.00020); Zhai et al. 2023, SigLIP (arXiv 2303.15343).
    """

    def __init__(self, network: CLIPModel | SiglipModel, prepared: ImageTransform) -> None:
        images = TheirImageEncoder(network.vision_model, prepared)
        texts = TheirTextEncoder(network.text_model)
        of_clip = isinstance(network, CLIPModel)
        super().__init__(images, texts, network.config.projection_dim if of_clip else images.width)
        self.image_projection = network.visual_projection if of_clip else nn.Identity()
        self.text_projection = network.text_projection if of_clip else nn.Identity()
        self.log_logit_scale = nn.Parameter(network.logit_scale.detach().reshape(()))
        bias = torch.zeros(()) if of_clip else network.logit_bias.detach().reshape(())
        self.logit_bias = nn.Parameter(bias)

    def logits(self, images: Tensor, texts: Tensor) -> Tensor:
        """Scale times cosine plus bias. Shapes: (N, E) and (M, E) unit rows in, (N, M) out."""
        return similarity_logits(images, texts, self.logit_scale) + self.logit_bias


class TheirTokenizer(CaptionTokenizer):
    """Sentences to their tokens, behind the same calls as `CaptionTokenizer`.

    `fills`: every sentence is filled up to max_tokens, and what fills it is read like any other
    token. SigLIP was trained so: it takes a sentence's vector from the last position. CLIP takes
    it from the end-of-text token, and a batch is padded to the longest of its own.
    """

    def __init__(self, folder: Path, max_tokens: int, fills: bool) -> None:
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(folder)
        except ImportError as error:
            raise OSError(
                f"The tokenizer in {folder} needs a package that is not installed (SigLIP's is "
                "sentencepiece): pip install sentencepiece protobuf"
            ) from error
        self._folder = folder
        self.max_tokens = max_tokens
        self.fills = fills
        self.pad_id: int = self._tokenizer.pad_token_id or 0
        self.vocabulary_size: int = len(self._tokenizer)

    def encode(self, sentences: Sequence[str]) -> list[list[int]]:
        padding = "max_length" if self.fills else False
        tokens = self._tokenizer(
            list(sentences), padding=padding, truncation=True, max_length=self.max_tokens
        )
        return tokens["input_ids"]

    def tokens(self, sentence: str) -> list[str]:
        return self._tokenizer.convert_ids_to_tokens(self.encode([sentence])[0])

    def to_json(self) -> str:
        """What the ids depend on: settings, and the hash of each file that is read."""
        files = sorted(self._folder.iterdir())
        hashes = {path.name: sha256_of(path) for path in files if path.suffix in TEXT_FILES}
        return json.dumps({"max_tokens": self.max_tokens, "fills": self.fills, "files": hashes})


def load_theirs(name: str, revision: str = "", data: str = "flickr8k") -> Run:
    """A web-trained CLIP by its name on the model hub (or a folder), ready wherever a run is.

    `revision` is the hub's, "" what is kept or newest; `data` is what is searched by default. There
    is no threshold, so a search never says that nothing matches.
    Raises: OSError when files are neither kept nor to be had; ValueError when it is no CLIPModel
    or SiglipModel, weights are missing, or pictures are prepared in a way that is not ours.
    """
    folder = fetch(name, revision, (CONFIG, PREPROCESSING, VOCABULARY, WEIGHTS))
    kind = json.loads((folder / CONFIG[0]).read_text(encoding="utf-8")).get("model_type")
    if kind not in CLASSES:
        raise ValueError(
            f"{name} is a model of type {kind!r}; only {' and '.join(map(repr, CLASSES))} can "
            "stand where ours does, such as 'openai/clip-vit-base-patch32'."
        )
    prepared = transform_of(AutoImageProcessor.from_pretrained(folder), name)
    network = _network(CLASSES[kind], folder, name)
    profile = replace(
        ORIGINAL, name=name, data=data,
        image_encoder=name, image_revision=revision, image_frozen=True,
        image_size=prepared.size, image_crop=prepared.crop,
        text_encoder=name, text_revision=revision, text_frozen=True,
        max_tokens=network.config.text_config.max_position_embeddings,
    )  # fmt: skip
    model = TheirCLIP(network, prepared).eval()
    tokenizer = TheirTokenizer(folder, profile.max_tokens, fills=kind == "siglip")
    return Run(folder, profile, model, tokenizer, prepared)


def _network(
    kind: type[CLIPModel] | type[SiglipModel], folder: Path, name: str
) -> CLIPModel | SiglipModel:
    network, report = kind.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    if missing := sorted(report["missing_keys"]):  # transformers drew them at random
        raise ValueError(f"The weights of {name} lack {len(missing)} tensors: {missing[0]} …")
    return network


def transform_of(processor: BaseImageProcessor, name: str) -> ImageTransform:
    """Our form of an image processor's settings: the whole picture squashed, or a central square.

    Two things stay ours: half of an odd margin is rounded as by torchvision, theirs down, a pixel
    apart; large JPEGs are reduced while decoded (1280 × 960: mean difference 0.6 of 255 levels).
    Raises: ValueError when the settings say anything else.
    """
    size, cut = dict(processor.size), dict(getattr(processor, "crop_size", None) or {})
    shorter, square = size.get("shortest_edge"), size.get("height")
    crops = bool(getattr(processor, "do_center_crop", False))
    ours = processor.do_resize and processor.do_rescale and processor.do_normalize
    ours = ours and math.isclose(processor.rescale_factor, 1 / 255)
    cropped = crops and shorter and cut.get("height") == cut.get("width") and cut["height"] > 0
    squashed = not crops and square and square == size.get("width")
    if not ours or not (squashed or (cropped and cut["height"] <= shorter)):
        raise ValueError(
            f"{name} prepares pictures with size {size} and crop {cut if crops else None}; only a "
            "whole picture squashed to a square, or the central square of one that is not smaller, "
            "can be made here, its values then divided by 255 and normalised."
        )
    pixels = square if squashed else cut["height"]
    filters = Image.Resampling(processor.resample).name.lower()
    crop = 0.0 if squashed else _share(pixels, shorter)
    mean, std = tuple(processor.image_mean), tuple(processor.image_std)
    return ImageTransform(pixels, crop, mean, std, filters)


def _share(size: int, shorter: int) -> float:
    """The share of the shorter side, such that `ImageTransform` finds that side from it exactly."""
    share = size / shorter
    while int(size / share) < shorter:  # the division was rounded down
        share = math.nextafter(share, 0)
    return share
