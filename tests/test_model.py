"""CLIP's own part: unit vectors, the logit scale, features that stand in for raw input."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor, nn

from cliplib.config import QUICK
from cliplib.loss import contrastive_loss
from cliplib.model import CLIP, build_clip, signed_power

TINY = dataclasses.replace(
    QUICK, text_width=16, vocabulary_size=50, max_tokens=8, embed_dim=12, head_dropout=0.5
)


class Plain(nn.Linear):
    width = 3


@pytest.fixture
def model() -> CLIP:
    torch.manual_seed(5)
    return build_clip(TINY).eval()


@pytest.fixture
def pictures() -> Tensor:
    return torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def tokens() -> tuple[Tensor, Tensor]:
    ids = torch.tensor([[2, 7, 8, 3], [2, 9, 3, 0], [2, 30, 31, 3], [2, 40, 3, 0]])
    return ids, (ids > 0).long()


def test_embeddings_are_unit_rows(
    model: CLIP, pictures: Tensor, tokens: tuple[Tensor, Tensor]
) -> None:
    for embeddings in (model.encode_image(pictures), model.encode_text(tokens)):
        assert embeddings.shape == (4, 12)
        assert torch.allclose(embeddings.norm(dim=1), torch.ones(4), atol=1e-6)
        assert (embeddings[0] - embeddings[1]).abs().max() > 1e-4


def test_only_the_direction_of_features_counts(model: CLIP) -> None:
    features = torch.randn(3, 96)
    assert torch.allclose(
        model.encode_image(1000 * features), model.encode_image(features), atol=1e-6
    )
    assert torch.allclose(model.encode_image(-features), -model.encode_image(features))


def test_features_lead_where_raw_input_leads(
    model: CLIP, pictures: Tensor, tokens: tuple[Tensor, Tensor]
) -> None:
    picture_features = model.image_encoder(pictures)
    text_features = model.text_encoder(*tokens)
    assert picture_features.shape == (4, 96) and text_features.shape == (4, 16)
    assert torch.equal(model.encode_image(picture_features), model.encode_image(pictures))
    assert torch.equal(model.encode_text(text_features), model.encode_text(tokens))


def test_the_logit_scale_starts_at_one_over_the_temperature(model: CLIP) -> None:
    assert model.logit_scale.item() == pytest.approx(1 / 0.07)
    assert "log_logit_scale" in dict(model.named_parameters()), "it is learned"


@pytest.mark.parametrize("slope", [-1.0, 1.0])
def test_a_huge_step_leaves_a_scale_that_works(model: CLIP, slope: float) -> None:
    optimiser = torch.optim.SGD([model.log_logit_scale], lr=60.0)
    (slope * model.log_logit_scale).backward()
    optimiser.step()
    model.clamp_logit_scale()
    if slope < 0:
        assert model.logit_scale.item() == pytest.approx(100, rel=1e-6)
    else:
        assert 0 < model.logit_scale.item() < 1, "however small, never negative"


def test_the_clamp_leaves_smaller_scales_alone(model: CLIP) -> None:
    before = model.logit_scale.item()
    model.clamp_logit_scale()
    assert model.logit_scale.item() == before
    assert model.log_logit_scale.requires_grad


def test_dropout_is_for_training_only(model: CLIP) -> None:
    features = torch.randn(6, 96)
    still = model.encode_image(features)
    assert torch.equal(model.encode_image(features), still)
    plain = CLIP(model.image_encoder, model.text_encoder, 12)
    plain.load_state_dict(model.state_dict())
    assert torch.equal(plain.train().encode_image(features), still), "none unless asked for"
    model.train()
    words = torch.randn(6, 16)
    assert not torch.equal(model.encode_image(features), model.encode_image(features))
    assert not torch.equal(model.encode_text(words), model.encode_text(words))


def test_everything_learns(model: CLIP, pictures: Tensor, tokens: tuple[Tensor, Tensor]) -> None:
    model.train()
    images, texts = model.encode_image(pictures), model.encode_text(tokens)
    contrastive_loss(images, texts, model.logit_scale).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    for part in ("image_projection.weight", "text_projection.weight", "log_logit_scale"):
        assert model.get_parameter(part).grad.any(), part


def test_the_profile_says_how_wide(model: CLIP) -> None:
    for head, width in ((model.image_projection, 96), (model.text_projection, 16)):
        assert head.weight.shape == (12, width) and head.bias is None
    logits = build_clip(dataclasses.replace(TINY, image_output="logits"))
    assert logits.image_projection.weight.shape == (12, 1000)
    assert model.dropout.p == 0.5


def test_any_two_encoders_will_do() -> None:
    clip = CLIP(Plain(5, 3), Plain(7, 3), embed_dim=2)
    assert clip.encode_image(torch.randn(4, 3)).shape == (4, 2)
    other = build_clip(dataclasses.replace(TINY, image_encoder="test_vit", image_size=160))
    assert other.encode_image(torch.randn(2, 3, 160, 160)).shape == (2, 12)


def test_signed_power_keeps_signs_and_is_used_before_the_projection() -> None:
    features = torch.tensor([[4.0, -9.0, 0.0]])
    assert torch.equal(signed_power(features, 0.5), torch.tensor([[2.0, -3.0, 0.0]]))
    clip = CLIP(Plain(3, 3), Plain(3, 3), embed_dim=2, image_power=0.5)
    rooted = clip.image_projection(torch.tensor([[2.0, -3.0, 0.0]]))
    expected = rooted / rooted.norm()
    assert torch.allclose(clip.encode_image(features), expected, atol=1e-6)


def test_signed_power_has_a_slope_at_zero() -> None:
    features = torch.tensor([[4.0, -1.0, 0.0]], requires_grad=True)
    signed_power(features, 0.5).sum().backward()
    assert torch.allclose(features.grad, torch.tensor([[0.25, 0.5, 0.0]]))
