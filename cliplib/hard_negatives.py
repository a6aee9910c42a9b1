"""Captions that are almost right, as negatives in the batch: here such as deny what is there."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import torch
import torch.nn.functional as F
from torch import Tensor

from cliplib.loss import similarity_logits

DENIALS = ("{caption}, but no {kind}", "{caption} without {a} {kind}", "{caption} and no {kind}")


def deny(caption: str, kind: str, denial: str) -> str:
    """A caption that also says that a kind of thing is not there, in one of the DENIALS."""
    a = "an" if kind[0] in "aeiou" else "a"
    return denial.format(caption=caption.rstrip("."), kind=kind, a=a)


def denials(
    caption: str, here: Sequence[str], absent: Sequence[str], random: Random
) -> tuple[str, str]:
    """A caption that denies a kind which is absent, so it is true, and its hard negative: the same
    words, but what is denied is here. "" for the second where nothing is here to be denied.

    Raises: ValueError when no kind is absent.
    """
    if not absent:
        raise ValueError("absent is empty: a true denial needs a kind that is not in the picture.")
    denial = random.choice(DENIALS)
    true = deny(caption, random.choice(list(absent)), denial)
    return true, deny(caption, random.choice(list(here)), denial) if here else ""


def loss_with_negatives(
    images: Tensor, texts: Tensor, negatives: Tensor, logit_scale: Tensor
) -> Tensor:
    """The symmetric loss, where each picture picks its caption among B + H.

    A negative belongs to no picture, so it picks none. With H = 0 it is `contrastive_loss`.

    Shapes: images and texts (B, E), negatives (H, E), unit rows, and a scale; a scalar in nats.
    Raises: ValueError when the shapes do not fit.
    Source: Yuksekgonul et al. 2023, When and Why Vision-Language Models Behave like Bags-of-Words,
    and What to Do About It? (arXiv 2210.01936): NegCLIP.
    """
    if images.shape != texts.shape or images.ndim != 2 or negatives.shape[1:] != images.shape[1:]:
        raise ValueError(
            "loss_with_negatives needs images and texts (B, E) and negatives (H, E); got "
            f"{tuple(images.shape)}, {tuple(texts.shape)} and {tuple(negatives.shape)}."
        )
    logits = similarity_logits(images, torch.cat([texts, negatives]), logit_scale)  # (B, B + H)
    own = torch.arange(len(images), device=logits.device)  # (B,)
    of_texts = logits[:, : len(images)].T  # (B, B): a row a true caption
    return (F.cross_entropy(logits, own) + F.cross_entropy(of_texts, own)) / 2
