"""How well words find pictures and pictures words: recall@k, its chance and its ceiling."""

from __future__ import annotations

from math import comb

import numpy as np
import torch
from torch import Tensor

from cliplib.data import TokenTable
from cliplib.features import FeatureTable
from cliplib.model import CLIP, Tokens
from cliplib.store import PictureStore

RECALL_AT = (1, 5, 10)


def text_to_image_ranks(scores: np.ndarray, caption_image: np.ndarray) -> np.ndarray:
    """The rank of each caption's own picture among all pictures; 1 is best, ties count against it.

    Shapes: scores (M, N) of M captions and N pictures, caption_image (M,); ranks (M,) out.
    """
    own = scores[np.arange(len(scores)), caption_image]  # (M,)
    return (scores >= own[:, None]).sum(1)  # its own picture counts itself: 1


def image_to_text_ranks(scores: np.ndarray, caption_image: np.ndarray) -> np.ndarray:
    """The rank of each picture's best own caption among all captions of others, ties against it.

    Shapes: scores (M, N), caption_image (M,); ranks (N,) out.
    """
    pictures = scores.shape[1]
    best_own = np.full(pictures, -np.inf, scores.dtype)
    np.maximum.at(best_own, caption_image, scores[np.arange(len(scores)), caption_image])
    at_least = scores >= best_own  # (M, N)
    own_at_least = np.zeros(pictures, int)
    np.add.at(own_at_least, caption_image, at_least[np.arange(len(scores)), caption_image])
    return 1 + at_least.sum(0) - own_at_least


def recalls(scores: np.ndarray, caption_image: np.ndarray) -> dict[str, float]:
    """recall@1, 5 and 10 and the median rank in both directions, as shares of 1.

    Every caption searches among all pictures; every picture among all captions, and any one of its
    own counts. Ties count against the model, so constant vectors score 0.

    Shapes: scores (M, N), caption_image (M,) the picture that each caption belongs to.
    Raises: ValueError when the shapes do not match or a score is not a finite number.
    """
    captions, pictures = scores.shape
    if caption_image.shape != (captions,) or set(caption_image.tolist()) != set(range(pictures)):
        raise ValueError(
            f"Scores have shape (M, N) = {scores.shape}; caption_image must name one of the "
            f"{pictures} pictures for each of the {captions} captions and leave none out."
        )
    if not np.isfinite(scores).all():
        raise ValueError("Some scores are not finite numbers; the model that made them is broken.")
    found = {
        "t2i": text_to_image_ranks(scores, caption_image),
        "i2t": image_to_text_ranks(scores, caption_image),
    }
    result: dict[str, float] = {"gallery_images": pictures, "gallery_captions": captions}
    for way, ranks in found.items():
        result |= {f"{way}_r{k}": float((ranks <= k).mean()) for k in RECALL_AT}
        result[f"{way}_median_rank"] = float(np.median(ranks))
    return result


def chance_recalls(caption_image: np.ndarray) -> dict[str, float]:
    """recall@k of someone who guesses, for the same gallery.

    Shapes: caption_image (M,).
    """
    own = np.bincount(caption_image)  # (N,)
    captions = len(caption_image)
    result = {f"t2i_r{k}": min(1.0, k / len(own)) for k in RECALL_AT}
    for k in RECALL_AT:
        result[f"i2t_r{k}"] = float(np.mean([_any_found(captions, m, k) for m in own]))
    return result


def ceiling_recalls(truth: np.ndarray, caption_image: np.ndarray) -> dict[str, float]:
    """The exact expected recall@k of a reader who knows every fact and guesses among equally true
    pictures. A model can pass it slightly, by guessing what a caption would rather name.

    Shapes: truth (M, N) bool, whether caption m truly describes picture n; caption_image (M,).
    """
    true_pictures = truth.sum(1)  # (M,)
    true_captions = truth.sum(0)  # (N,)
    own = np.bincount(caption_image)  # (N,)
    result = {f"t2i_r{k}": float(np.minimum(1, k / true_pictures).mean()) for k in RECALL_AT}
    for k in RECALL_AT:
        found = [_any_found(int(n), int(m), k) for n, m in zip(true_captions, own, strict=True)]
        result[f"i2t_r{k}"] = float(np.mean(found))
    return result


def _any_found(among: int, own: int, k: int) -> float:
    """The probability that k draws among so many hold at least one of one's own."""
    return 1.0 if k > among else 1 - comb(among - own, k) / comb(among, k)


def first_answer_true(scores: np.ndarray, truth: np.ndarray) -> float:
    """Precision by meaning: the share of captions that truly describe their best picture.

    Ties count against the model. Shapes: scores (M, N), truth (M, N) bool.
    """
    best_true = np.where(truth, scores, -np.inf).max(1)
    best_false = np.where(truth, -np.inf, scores).max(1)
    return float((best_true > best_false).mean())


def measure(
    images: Tensor, texts: Tensor, caption_image: np.ndarray, truth: np.ndarray | None = None
) -> dict[str, float]:
    """All figures of one gallery; with `truth` (the picture book) also those that only it allows.

    Shapes: (N, E) and (M, E) unit rows, caption_image (M,), truth (M, N) bool.
    """
    scores = (texts @ images.T).float().cpu().numpy()  # (M, N)
    result = recalls(scores, caption_image)
    if truth is not None:
        ceiling = ceiling_recalls(truth, caption_image)
        result |= {f"{name}_ceiling": value for name, value in ceiling.items()}
        for k in RECALL_AT:
            result[f"t2i_r{k}_of_ceiling"] = result[f"t2i_r{k}"] / ceiling[f"t2i_r{k}"]
        result["first_answer_true"] = first_answer_true(scores, truth)
    return result


@torch.inference_mode()
def embed_images(model: CLIP, inputs: PictureStore | FeatureTable) -> Tensor:
    """The (N, E) embeddings of a data set's pictures; the model is put into evaluation mode."""
    model.eval()
    device = model.log_logit_scale.device
    return torch.cat(
        [model.encode_image(inputs.batch(rows).to(device)) for rows in _batches(len(inputs))]
    )


@torch.inference_mode()
def embed_texts(model: CLIP, inputs: TokenTable | FeatureTable) -> Tensor:
    """The (M, E) embeddings of a data set's captions; the model is put into evaluation mode."""
    model.eval()
    device = model.log_logit_scale.device
    return torch.cat(
        [model.encode_text(to_device(inputs.batch(rows), device)) for rows in _batches(len(inputs))]
    )


def to_device(tokens: Tokens | Tensor, device: torch.device) -> Tokens | Tensor:
    """Moves features, or both ids and mask."""
    if isinstance(tokens, Tensor):
        return tokens.to(device)
    ids, mask = tokens
    return ids.to(device), mask.to(device)


def _batches(count: int, at_once: int = 256) -> list[np.ndarray]:
    return [np.arange(start, min(start + at_once, count)) for start in range(0, count, at_once)]
