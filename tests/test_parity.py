"""The same weights and inputs through implementations that are not ours give the same numbers.

`sentence-transformers` for sentence embeddings; `open_clip_torch` for a whole CLIP: its vision
tower around timm, its text tower around transformers with its own mean over tokens, its
projections, its logits and its loss.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hub_cache import tiny_bert
from open_clip.loss import ClipLoss
from open_clip.model import CustomTextCLIP
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn

from cliplib.config import LAPTOP, ORIGINAL, Profile
from cliplib.data import TokenTable
from cliplib.encoders import ImageEncoder, hub_tokenizer, text_encoder
from cliplib.loss import contrastive_loss, similarity_logits
from cliplib.model import CLIP

SENTENCES = [
    "A dog.",
    "Two dogs run on the beach at night, and a child in red stands in the water.",
    "a man",
    "The sun over the sea; a boat, white, with two women playing ball in it!",
    "A street with snow",
]
KEPT = Path(os.environ.get("HF_HOME", "")) / "hub"
HAS_TOWERS = all(
    (KEPT / f"models--{name.replace('/', '--')}").exists()
    for name in (f"timm/{LAPTOP.image_encoder}", LAPTOP.text_encoder)
)
real = pytest.param(
    "real",
    marks=pytest.mark.skipif(
        not HAS_TOWERS, reason="HF_HOME names no model cache with the laptop profile's towers"
    ),
)


@pytest.fixture(params=["tiny", real])
def profile(request: pytest.FixtureRequest, tmp_path: Path) -> Profile:
    """The laptop profile, and the original with a tiny vision transformer and a tiny BERT."""
    if request.param == "real":
        return replace(LAPTOP, image_size=96)  # double precision is slow
    tiny_bert(tmp_path)
    return replace(
        ORIGINAL, image_encoder="test_vit", image_size=160, image_pretrained=False,
        text_encoder=str(tmp_path), head_epochs=0,
    )  # fmt: skip


def padded_batch(profile: Profile) -> tuple[Tensor, Tensor]:
    tokenizer = hub_tokenizer(profile.text_encoder, profile.max_tokens, profile.text_revision)
    ids, mask = TokenTable(tokenizer.encode(SENTENCES), tokenizer.pad_id).batch(range(5))
    assert mask.sum(1).min() < 0.5 * mask.shape[1], "else padding is not tried"
    return ids, mask  # (B, L) each


def test_sentence_embeddings_as_sentence_transformers_gives_them(profile: Profile) -> None:
    tower = text_encoder(profile).eval()
    with torch.inference_mode():
        ours = tower(*padded_batch(profile))  # (B, D)
    theirs = SentenceTransformer(str(tower.folder), device="cpu")
    expected = theirs.encode(SENTENCES, convert_to_tensor=True)
    if "Normalize" in [type(module).__name__ for module in theirs]:  # MiniLM's authors add it
        ours = F.normalize(ours, dim=1)
    assert expected.shape == (5, tower.width)
    assert (ours - expected).abs().max() < 1e-5
    assert (ours[0] - expected[1]).abs().max() > 1e-2, "else the test could not fail"


def our_clip(profile: Profile) -> CLIP:
    torch.manual_seed(0)
    images = ImageEncoder(profile.image_encoder, profile.image_pretrained, size=profile.image_size)
    return CLIP(images, text_encoder(profile), embed_dim=24).double().eval()


def as_open_clip(ours: CLIP, profile: Profile) -> CustomTextCLIP:
    """open_clip's own model of the same two towers, with our weights in it."""
    theirs = CustomTextCLIP(
        embed_dim=24,
        vision_cfg={
            "timm_model_name": profile.image_encoder, "timm_pool": "", "timm_proj": "linear",
            "image_size": profile.image_size,
        },
        text_cfg={
            "hf_model_name": str(ours.text_encoder.folder), "hf_model_pretrained": False,
            "hf_proj_type": "linear", "hf_pooler_type": "mean_pooler",
        },
    ).double().eval()  # fmt: skip
    theirs.visual.trunk.load_state_dict(ours.image_encoder.network.state_dict())
    theirs.visual.head.proj.load_state_dict(ours.image_projection.state_dict())
    bert = ours.text_encoder.network.state_dict()
    without_head = {name: value for name, value in bert.items() if not name.startswith("pooler.")}
    theirs.text.transformer.load_state_dict(without_head)
    theirs.text.proj.load_state_dict(ours.text_projection.state_dict())
    with torch.no_grad():
        theirs.logit_scale.copy_(ours.log_logit_scale)
    return theirs


@pytest.mark.parametrize("scale", [1 / 0.07, 100.0])
def test_logits_loss_and_gradients_as_open_clip_gives_them(profile: Profile, scale: float) -> None:
    ours = our_clip(profile)
    with torch.no_grad():
        ours.log_logit_scale.fill_(scale).log_()
    theirs = as_open_clip(ours, profile)
    pictures = torch.randn(5, 3, profile.image_size, profile.image_size, dtype=torch.double)
    ids, mask = padded_batch(profile)

    images, texts = ours.encode_image(pictures), ours.encode_text((ids, mask))  # (B, E) each
    logits = similarity_logits(images, texts, ours.logit_scale)  # (B, B)
    loss = contrastive_loss(images, texts, ours.logit_scale)
    loss.backward()
    their_logits, _ = theirs.get_logits(pictures, ids)
    their_loss = ClipLoss()(*theirs(pictures, ids))
    their_loss.backward()

    assert (logits - their_logits).abs().max() < 1e-10
    assert logits.std() > 1e-2, "else all rows are alike and the test says nothing"
    assert abs(loss - their_loss) < 1e-10
    assert (ours.log_logit_scale.grad - theirs.logit_scale.grad).abs() < 1e-10
    compare_gradients(ours.image_encoder.network, theirs.visual.trunk)
    compare_gradients(ours.text_encoder.network, theirs.text.transformer)
    compare_gradients(ours.image_projection, theirs.visual.head.proj)
    compare_gradients(ours.text_projection, theirs.text.proj)


def compare_gradients(ours: nn.Module, theirs: nn.Module) -> None:
    """Differences beside the module's largest gradient: a key's bias has none but rounding."""
    gradients = {name: parameter.grad for name, parameter in ours.named_parameters()}
    expected = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    largest = max(gradient.abs().max().item() for gradient in expected.values())
    assert largest > 1e-6, "else there is nothing to compare"
    for name, gradient in expected.items():
        assert (gradients[name] - gradient).abs().max() < 1e-10 * largest, name
