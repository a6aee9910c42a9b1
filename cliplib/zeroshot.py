"""Tells classes apart that nobody trained for: prompts, a classifier of words, how well it does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from cliplib.data import TokenTable
from cliplib.encoders import CaptionTokenizer, pick_device
from cliplib.features import CAPTIONS_AT_ONCE, at_once, kept, weights_digest
from cliplib.model import CLIP, unit
from cliplib.retrieval import to_device
from cliplib.storage import digest

PLACE = "{}"


def prompts(classes: Sequence[str], templates: Sequence[str]) -> list[str]:
    """Every class in every template, all T of the first class first: K · T sentences.

    Raises: ValueError for no class or template, one that is empty or stands there twice, and a
    template that has not exactly one place for the class.
    """
    _check("classes", classes)
    _check("templates", templates)
    for template in templates:
        if template.count(PLACE) != 1:
            raise ValueError(
                f"templates: {template!r} has {template.count(PLACE)} places for a class; each "
                'needs exactly one, written {}: "a picture of {}".'
            )
    return [template.replace(PLACE, name) for name in classes for template in templates]


def _check(argument: str, texts: Sequence[str]) -> None:
    if isinstance(texts, str) or not texts or not all(text.strip() for text in texts):
        raise ValueError(f"{argument} is a list of texts, none of them empty; it is {texts!r}.")
    if len(set(texts)) < len(texts):
        raise ValueError(f"{argument} has a text twice, and the two cannot be told apart: {texts}.")


def classifier(
    model: CLIP, tokenizer: CaptionTokenizer, classes: Sequence[str], templates: Sequence[str]
) -> Tensor:
    """A unit row for each class: the mean of its T prompts' embeddings, brought to length 1 again.

    The prompts' embeddings are kept on disk with what made them: the next call reads them, and
    other weights, another tokenizer or other prompts never do.
    Shapes: K classes and T templates in, (K, E) out.
    Raises: ValueError as `prompts`.
    Source: Radford et al. 2021, sections 3.1.2 and 3.1.4 (arXiv 2103.00020).
    """
    sentences = prompts(classes, templates)
    device = pick_device()
    model = model.to(device).eval()
    table = TokenTable(tokenizer.encode(sentences), tokenizer.pad_id)
    made_by = {
        "weights": weights_digest(model),
        "tokenizer": digest(tokenizer.to_json()),
        "prompts": digest(*sentences),
    }
    embeddings = kept(
        "prompts", made_by, len(sentences),
        lambda rows: model.encode_text(to_device(table.batch(rows), device)),
        at_once(CAPTIONS_AT_ONCE, device), progress=False,
    )  # fmt: skip
    return ensemble(embeddings.view(len(classes), len(templates), -1))


def ensemble(embeddings: Tensor) -> Tensor:
    """The mean of T unit vectors for each class, as a unit vector.

    Shapes: (K, T, E) unit vectors in, (K, E) out.
    """
    return unit(embeddings.mean(dim=1))


def classify(images: Tensor, rows: Tensor) -> Tensor:
    """The class whose row has the largest cosine to each picture; the first of equal ones.

    Shapes: images (N, E), rows (K, E) of a `classifier`; (N,) out.
    Raises: ValueError when the two do not lie in one space.
    """
    if images.ndim != 2 or rows.ndim != 2 or images.shape[1] != rows.shape[1]:
        raise ValueError(
            f"images have shape {tuple(images.shape)} and rows {tuple(rows.shape)}; expected "
            "(N, E) and (K, E) with one E. Are both from one model?"
        )
    return (images @ rows.T).argmax(dim=1)


def confusion_matrix(labels: np.ndarray, answers: np.ndarray, classes: int) -> np.ndarray:
    """How many pictures of each class (a row) got each answer (a column).

    Shapes: labels and answers (N,), from 0 to K − 1; (K, K) counts out.
    Raises: ValueError when they are not of one length or name a class that is not there.
    """
    labels, answers = np.asarray(labels), np.asarray(answers)
    both = np.concatenate([labels.ravel(), answers.ravel()])
    if labels.shape != answers.shape or not np.isin(both, np.arange(classes)).all():
        raise ValueError(
            f"labels and answers are two lists of one length with numbers from 0 to {classes - 1}; "
            f"they have shapes {labels.shape} and {answers.shape}."
        )
    return np.bincount(labels * classes + answers, minlength=classes**2).reshape(classes, classes)


def accuracy_per_class(confusion: np.ndarray) -> np.ndarray:
    """Of each class's pictures the share that was named right; NaN for a class without pictures.

    Someone who guesses among K classes reaches 1 / K in each.
    Shapes: (K, K) counts of `confusion_matrix`; (K,) out.
    """
    count = confusion.sum(axis=1)  # (K,)
    return np.divide(confusion.diagonal(), count, np.full(len(count), np.nan), where=count > 0)


def area_under_curve(scores: np.ndarray, there: np.ndarray) -> float:
    """How often a picture that has it scores above one that has it not; equal scores count half.

    The area under the ROC curve; someone who guesses reaches 0.5.
    Shapes: scores (N,), there (N,) bool.
    Raises: ValueError when not both kinds of picture are there.
    Source: Hanley and McNeil 1982, The Meaning and Use of the Area under a Receiver Operating
    Characteristic (ROC) Curve (doi 10.1148/radiology.143.1.7063747).
    """
    there = np.asarray(there, bool)
    if there.all() or not there.any():
        raise ValueError("there must be True for some pictures and False for others.")
    with_it, without = scores[there][:, None], np.sort(scores[~there])  # (P, 1), (Q,)
    below = np.searchsorted(without, with_it, "left") + np.searchsorted(without, with_it, "right")
    return float(below.mean() / 2 / len(without))
