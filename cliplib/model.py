"""CLIP: two encoders, two projections, one logit scale. The only place that normalises."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cliplib.config import Profile
from cliplib.encoders import ImageEncoder, text_encoder

INITIAL_TEMPERATURE = 0.07
LARGEST_LOGIT_SCALE = 100.0

Tokens = tuple[Tensor, Tensor]  # ids and mask, both (B, L)


class CLIP(nn.Module):
    """Pictures and sentences to unit vectors in one space of E dimensions.

    Both calls take raw input, or the features (B, D) that a frozen encoder gave before: that is
    how training on kept features is the same loop as training everything.
    Source: Radford et al. 2021, sections 2.3 to 2.5 (arXiv 2103.00020).
    """

    def __init__(
        self, image_encoder: nn.Module, text_encoder: nn.Module, embed_dim: int,
        head_dropout: float = 0.0, image_power: float = 1.0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.image_power = image_power
        self.image_encoder = image_encoder
        self.text_encoder = text_encoder
        self.image_projection = nn.Linear(image_encoder.width, embed_dim, bias=False)
        self.text_projection = nn.Linear(text_encoder.width, embed_dim, bias=False)
        self.dropout = nn.Dropout(head_dropout)
        # the logarithm is learned, so that the scale stays positive and steps are relative
        self.log_logit_scale = nn.Parameter(torch.tensor(math.log(1 / INITIAL_TEMPERATURE)))

    @property
    def logit_scale(self) -> Tensor:
        """The multiplier of the cosines (1/temperature): starts at 1/0.07, is kept at most 100."""
        return self.log_logit_scale.exp()

    def encode_image(self, pictures: Tensor) -> Tensor:
        """(B, 3, H, W) normalised pictures, or (B, D) features, to (B, E) unit vectors."""
        features = pictures if pictures.ndim == 2 else self.image_encoder(pictures)
        if self.image_power != 1:
            features = signed_power(features, self.image_power)
        return unit(self.image_projection(self.dropout(features)))

    def encode_text(self, tokens: Tokens | Tensor) -> Tensor:
        """Ids and mask, both (B, L), or (B, D) features, to (B, E) unit vectors."""
        features = tokens if isinstance(tokens, Tensor) else self.text_encoder(*tokens)
        return unit(self.text_projection(self.dropout(features)))

    @torch.no_grad()
    def clamp_logit_scale(self) -> None:
        """Keeps the logit scale at most 100; called after every step of the optimiser."""
        self.log_logit_scale.clamp_(max=math.log(LARGEST_LOGIT_SCALE))


def build_clip(profile: Profile) -> CLIP:
    """The profile's model, its pretrained encoders loaded, its own parts freshly drawn."""
    return CLIP(
        ImageEncoder(
            profile.image_encoder,
            profile.image_pretrained,
            profile.image_output,
            profile.image_size,
            profile.image_revision,
        ),
        text_encoder(profile),
        profile.embed_dim,
        profile.head_dropout,
        profile.image_power,
    )


def put_into_training(model: CLIP, profile: Profile) -> None:
    """Training mode, but an image encoder trained before keeps the statistics that it came with.

    Batch normalisation would replace them, learned from a million pictures, by those of a batch.
    """
    model.train()
    for module in model.image_encoder.modules() if profile.image_knows else ():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def checkpoint_activations(model: CLIP) -> None:
    """Both encoders forget what happens inside a layer and compute it again on the way back.

    Source: Chen et al. 2016, Training Deep Nets with Sublinear Memory Cost (arXiv 1604.06174).
    """
    model.image_encoder.network.set_grad_checkpointing(True)
    text = model.text_encoder.network
    text.config.use_cache = False  # of no use to an encoder, and not together with this
    # transformers is changing the name
    enable = getattr(text, "activation_checkpointing_enable", None)
    (enable or text.gradient_checkpointing_enable)()


def unit(vectors: Tensor) -> Tensor:
    """Vectors of length 1, in float32 at least: half precision would leave lengths off by 0.1 %.

    Shapes: (B, E) in and out.
    """
    at_least = torch.promote_types(vectors.dtype, torch.float32)
    return F.normalize(vectors.to(at_least), dim=-1)


def signed_power(features: Tensor, power: float) -> Tensor:
    """Each feature's size to a power, its sign kept: below 1 it evens out features with long tails.

    Shapes: any in, the same out.
    Source: Perronnin, Sanchez and Mensink 2010, Improving the Fisher Kernel for Large-Scale Image
    Classification, section 3.2 (doi 10.1007/978-3-642-15561-1_11).
    """
    # the floor keeps the slope at 0 finite: ReLU gives many zeros, and an encoder that learns NaN
    return features.sign() * features.abs().clamp(min=1e-6) ** power
