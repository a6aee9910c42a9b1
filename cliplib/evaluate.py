"""A split made ready for a model, and how well the model does on it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from torch import Tensor

from cliplib.checkpoint import Run
from cliplib.config import Profile
from cliplib.data import Pairs, epoch_batches, load_pairs
from cliplib.encoders import CaptionTokenizer, pick_device
from cliplib.features import image_inputs, text_inputs
from cliplib.folders import has_shards
from cliplib.loss import reader_loss
from cliplib.model import CLIP
from cliplib.picturebook import is_whole, load_pages
from cliplib.retrieval import RECALL_AT, embed_images, embed_texts, measure
from cliplib.scenes import Meaning, Scene, truth_matrix
from cliplib.streaming import StreamedSplit, prepare_streamed
from cliplib.threshold import answered, best_absent, find_threshold, share_words
from cliplib.trainer import Split

FALSE_ALARM_RATE = 0.05  # of searches for what is not there, those that get an answer all the same


def prepare_split(
    profile: Profile, model: CLIP, tokenizer: CaptionTokenizer, folder: Path, split: str,
    progress: bool = True,
) -> Split | StreamedSplit:  # fmt: skip
    """Tokenises once; frozen encoders run over the split once, and what they said is kept.

    Of a folder of shards "train" streams, and nothing is kept (`streaming`).
    """
    if has_shards(folder):
        return prepare_streamed(profile, model, tokenizer, folder, split)
    pairs = load_pairs(folder, split)
    return Split(
        pairs,
        image_inputs(profile, model.image_encoder, pairs.paths(), progress),
        text_inputs(profile, model.text_encoder, pairs.captions, tokenizer, progress),
    )


def measure_split(model: CLIP, split: Split) -> dict[str, float]:
    """Recall on a whole split; on the picture book also the figures that its facts allow."""
    return measure(*embed_split(model, split), split.pairs.caption_image, truth_of(split))


def measure_run(run: Run, folder: Path, split: str, progress: bool = True) -> dict[str, float]:
    """`measure_split` of any run, one's own or a web-trained model (`load_theirs`).

    Raises: DataError when the folder or the split is not there.
    """
    model = run.model.to(pick_device())
    prepared = prepare_split(run.profile, model, run.tokenizer, folder, split, progress)
    return measure_split(model, prepared)


def compare_runs(
    runs: Mapping[str, Run], folder: Path, split: str, progress: bool = True
) -> pd.DataFrame:
    """Mine against theirs: recall in per cent, a row for each run, all on the same split.

    Columns: text → image (t2i) and image → text (i2t) at 1, 5 and 10.
    """
    columns = [f"{way}_r{k}" for way in ("t2i", "i2t") for k in RECALL_AT]
    rows = {name: measure_run(run, folder, split, progress) for name, run in runs.items()}
    table = pd.DataFrame.from_dict(rows, orient="index")[columns]
    return (100 * table).round(1)


def embed_split(model: CLIP, split: Split) -> tuple[Tensor, Tensor]:
    """The embeddings of a split's pictures (N, E) and captions (M, E)."""
    return embed_images(model, split.images), embed_texts(model, split.texts)


def measure_threshold(images: Tensor, texts: Tensor, pairs: Pairs) -> dict[str, float]:
    """From which cosine on words' best picture counts, and the shares of queries above it.

    `answer_rate` is of captions that search among all pictures of the split. `false_alarm_rate` is
    of the same captions when all pictures that `share_words` with them are taken away. Both belong
    to this gallery: a larger one, or other pictures, has other rates. {} when nothing can be taken
    away without leaving no picture at all.
    Shapes: (N, E) and (M, E) unit rows, of the pictures and captions of `pairs`.
    """
    scores = (texts @ images.T).float().cpu().numpy()  # (M, N)
    shared = share_words(pairs.captions, pairs.caption_image)  # (M, N)
    askable = ~shared.all(1)  # (M,)
    if not askable.any():
        return {}
    absent = best_absent(scores[askable], shared[askable])  # (Q,)
    threshold = find_threshold(absent, FALSE_ALARM_RATE)
    return {
        "threshold": threshold,
        "false_alarm_rate": FALSE_ALARM_RATE,
        "answer_rate": answered(scores.max(1), threshold),
    }


def truth_of(split: Split) -> np.ndarray | None:
    """Which caption truly describes which picture, (M, N), where the pictures' facts are known."""
    facts = facts_of(split)
    return truth_matrix(*facts) if facts else None


def facts_of(split: Split) -> tuple[list[Meaning], list[Scene]] | None:
    """What each caption means (M) and each picture shows (N), where that is known."""
    if not is_whole(split.pairs.folder):
        return None
    pages = load_pages(split.pairs.folder, split.pairs.split)
    return [meaning for page in pages for meaning in page.meanings], [page.scene for page in pages]


def reader_of(split: Split, batch_size: int, batches: int = 20) -> float | None:
    """The mean `reader_loss` of some batches of a split; None where facts are not known."""
    facts = facts_of(split)
    if facts is None:
        return None
    meanings, scenes = facts
    plan = epoch_batches(split.pairs, batch_size, captions_per_step=1, seed=0, epoch=0)[:batches]
    losses = [
        reader_loss(truth_matrix([meanings[i] for i in words], [scenes[i] for i in rows]))
        for rows, (words,) in plan
    ]
    return float(np.mean(losses))
