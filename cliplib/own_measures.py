"""What a data set's captions mean for training: words never learned, and the loss floor."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cliplib.config import Profile
from cliplib.data import Pairs, epoch_batches
from cliplib.encoders import CaptionTokenizer
from cliplib.loss import loss_floor
from cliplib.own_pictures import FEWEST, batch_for

EXAMPLES = 5
BATCHES = 20  # over which a floor is averaged, at least


@dataclass(frozen=True)
class Vocabulary:
    """What a tokenizer makes of a data set's words."""

    words: int  # running, not different, ones
    in_pieces: float  # share of them that it has not whole
    unknown: float  # share of them of which even a letter is not in it
    examples: tuple[str, ...]  # the most frequent of both


@dataclass(frozen=True)
class Floor:
    """Below which no model brings the mean loss of a batch, in nats, and what guessing costs."""

    batch_size: int
    log_b: float
    equal_captions: float
    classes: float  # 0 where pictures have no classes; of someone who knows the class and no more


def vocabulary_of(captions: Sequence[str], tokenizer: CaptionTokenizer) -> Vocabulary:
    """How many running words a tokenizer has whole, in pieces or not at all.

    An encoder has learned a whole word's meaning; of one in pieces it knows at best the parts.
    """
    counts = Counter(word for text in captions for word in re.findall(r"\w+", text.lower()))
    pieces = {word: tokenizer.tokens(word)[1:-1] for word in counts}  # between [CLS] and [SEP]
    unknown = {word for word, own in pieces.items() if "[UNK]" in own or not own}
    split = {word for word, own in pieces.items() if len(own) > 1} - unknown
    total = max(counts.total(), 1)
    often = sorted(split | unknown, key=lambda word: (-counts[word], word))
    return Vocabulary(
        words=counts.total(),
        in_pieces=sum(counts[word] for word in split) / total,
        unknown=sum(counts[word] for word in unknown) / total,
        examples=tuple(often[:EXAMPLES]),
    )


def floor_of(pairs: Pairs, profile: Profile, classes: Mapping[str, str] | None = None) -> Floor:
    """The loss floor that equal captions set, the mean over batches as training draws them.

    At the profile's batch size, or half of the pictures where that is less.
    Raises: ValueError for fewer than four pictures.
    """
    if len(pairs.images) < FEWEST:
        raise ValueError(f"{len(pairs.images)} pictures to train on; a floor needs {FEWEST}.")
    size = batch_for(profile, len(pairs.images))
    epochs = math.ceil(BATCHES / (len(pairs.images) // size))
    plan = [
        batch
        for epoch in range(epochs)
        for batch in epoch_batches(pairs, size, profile.captions_per_step, profile.seed, epoch)
    ]
    equal = [loss_floor([pairs.captions[i] for i in row]) for _, rows in plan for row in rows]
    kinds = [
        loss_floor([classes[pairs.images[i]] for i in images]) for images, _ in plan if classes
    ]
    mean_of_classes = float(np.mean(kinds)) if kinds else 0.0
    return Floor(size, math.log(size), float(np.mean(equal)), mean_of_classes)
