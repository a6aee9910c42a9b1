"""The clinic of lesson 10: what its broken trainings share, and how one of them is opened.

All here is sound; the faults stand in notebooks/clinic/case_NN.py, one in each.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cliplib.checkpoint import Run
from cliplib.config import COURSE, get_profile
from cliplib.data import Pairs, ensure, epoch_batches, load_pairs
from cliplib.encoders import CaptionTokenizer
from cliplib.features import caption_features, picture_features
from cliplib.fewer import some_pictures
from cliplib.model import CLIP, signed_power, unit
from cliplib.retrieval import recalls
from cliplib.train import ready_run

CASES = COURSE / "notebooks" / "clinic"
MANY = 2000  # training pictures, where an encoder has to run over them first
SPACE = 128  # E


@dataclass(frozen=True)
class Features:
    """A split as frozen encoders see it: all that a case trains is one matrix for each side."""

    pairs: Pairs
    images: Tensor  # (N, D)
    texts: Tensor  # (M, D), another D

    def first_texts(self) -> Tensor:
        """(N, D): each picture's first caption."""
        return self.texts[np.searchsorted(self.pairs.caption_image, np.arange(len(self.images)))]


@dataclass(frozen=True)
class Ward:
    """Where a case is examined: a sound model, and features to train new heads on."""

    run: Run | None  # None in the toy ward
    train: Features
    val: Features


@dataclass(frozen=True)
class Chart:
    """A case's vital signs; `nan` where nothing was trained.

    losses: of every step, in nats. moved: how far a weight of the image projection went on average.
    in_batch: the share of validation captions that find their picture among `pairs`. claimed:
    recall@1 as the case itself reports it, where it does.
    """

    losses: tuple[float, ...]
    pairs: int  # B
    moved: float
    in_batch: float
    recall_1: float
    recall_10: float
    gallery: int  # pictures to choose from
    claimed: float = math.nan
    note: str = ""

    def __str__(self) -> str:
        lines = []
        if self.losses:
            shown = " ".join(f"{loss:.2f}" for loss in thinned(self.losses, 8))
            lines.append(f"loss          {shown}   (log {self.pairs} = {math.log(self.pairs):.2f})")
            lines.append(f"weights moved {self.moved:.4f}")
            lines.append(f"in a batch    {self.in_batch:.1%} among {self.pairs}")
        if not math.isnan(self.claimed):
            lines.append(f"it reports    {self.claimed:.1%}")
        chance = f"chance {1 / self.gallery:.1%} and {10 / self.gallery:.1%}"
        found = f"{self.recall_1:.1%} and {self.recall_10:.1%}"
        lines.append(f"recall@1, @10 {found} among {self.gallery:,} pictures ({chance})")
        return "\n".join([*lines, self.note] if self.note else lines)


def thinned(losses: tuple[float, ...], count: int) -> list[float]:
    """The first loss, the last, and some between, evenly apart."""
    at = np.linspace(0, len(losses) - 1, min(count, len(losses))).round().astype(int)
    return [losses[i] for i in at]


def open_ward(run: Run, folder: Path) -> Ward:
    """The ward on a run's data: what its encoders say of pictures and captions, kept on disk.

    A text encoder from scratch knows these captions too well to be new to them: then a caption is
    its counts of word pieces, and the text projection is a whole (small) text encoder.
    """
    train, val = (_features(run, folder, split) for split in ("train", "val"))
    return Ward(run, train, val)


def own_ward() -> Ward:
    """The ward of the chosen profile (CLIPLIB_PROFILE, else quick): for a case run by itself."""
    run = ready_run(get_profile())
    return open_ward(run, ensure(run.profile.data, progress=False))


def _features(run: Run, folder: Path, split: str) -> Features:
    profile, model = run.profile, run.model
    pairs = load_pairs(folder, split)
    if not profile.image_frozen:
        pairs, _ = some_pictures(pairs, range(min(MANY, len(pairs.images))))
    name = f"{profile.image_encoder}:{profile.image_output}"
    images = picture_features(model.image_encoder, name, pairs.paths(), run.transform, False)
    if profile.text_pretrained:
        texts = caption_features(
            model.text_encoder, profile.text_encoder, pairs.captions, run.tokenizer, False
        ).features
    else:
        texts = word_counts(run.tokenizer, pairs.captions)
    return Features(pairs, signed_power(images.features, profile.image_power), texts)


def word_counts(tokenizer: CaptionTokenizer, captions: tuple[str, ...]) -> Tensor:
    """(M, V): how often each word piece stands in a caption, at length 1."""
    counts = torch.zeros(len(captions), tokenizer.vocabulary_size)
    for row, ids in enumerate(tokenizer.encode(captions)):
        counts[row].index_add_(0, torch.tensor(ids), torch.ones(len(ids)))
    return F.normalize(counts, dim=1)


class Kept(nn.Module):
    """The place of an encoder whose features are kept: it has a width and computes nothing."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width


def new_heads(ward: Ward, seed: int) -> CLIP:
    """A CLIP over kept features: two projections and the logit scale, freshly drawn."""
    torch.manual_seed(seed)
    torch.set_flush_denormal(True)
    return CLIP(Kept(ward.train.images.shape[1]), Kept(ward.train.texts.shape[1]), SPACE)


def steps(features: Features, pairs: int, count: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """So many batches, images (B, D) and one caption of each (B, D), each picture once an epoch."""
    epoch = 0
    while count > 0:
        for rows, (words,) in epoch_batches(features.pairs, pairs, 1, seed, epoch)[:count]:
            yield features.images[rows], features.texts[words]
            count -= 1
        epoch += 1


@torch.inference_mode()
def examine(
    ward: Ward, model: CLIP, losses: list[float], pairs: int, seed: int,
    claimed: float = math.nan, among: int = 0,
) -> Chart:  # fmt: skip
    """The chart of heads that began as `new_heads(ward, seed)` and were trained.

    Each validation picture's first caption searches among all validation pictures, or the first
    `among` of them, as many as a recall@1 that the case claims.
    """
    model.eval()
    before = new_heads(ward, seed).image_projection.weight
    moved = (model.image_projection.weight - before).abs().mean().item()
    images = model.encode_image(ward.val.images)  # (N, E)
    texts = model.encode_text(ward.val.first_texts())  # (N, E)
    in_batch = found_in_batches(images, texts, pairs)
    many = among or len(images)
    found = recalls((texts[:many] @ images[:many].T).numpy(), np.arange(many))
    return Chart(
        tuple(losses), pairs, moved, in_batch, found["t2i_r1"], found["t2i_r10"], many, claimed
    )


@torch.inference_mode()
def sound_images(ward: Ward, count: int) -> Tensor:
    """(count, E) unit rows of the first validation pictures, by the sound model."""
    return unit(ward.run.model.image_projection(ward.val.images[:count]))


def examine_vectors(images: Tensor, texts: Tensor, note: str) -> Chart:
    """The chart where a sound model is used wrongly: unit rows (N, E) of pictures and captions."""
    found = recalls((texts @ images.T).numpy(), np.arange(len(images)))
    return Chart(
        (), 0, math.nan, math.nan, found["t2i_r1"], found["t2i_r10"], len(images), note=note
    )


def found_in_batches(images: Tensor, texts: Tensor, pairs: int) -> float:
    """The share of captions that find their picture among the `pairs` of a batch. Not recall."""
    blocks = [texts[i : i + pairs] @ images[i : i + pairs].T for i in range(0, len(texts), pairs)]
    found = [(block >= block.diagonal()[:, None]).sum(dim=1) == 1 for block in blocks]
    return torch.cat(found).float().mean().item()


def first_sign(chart: Chart) -> str:
    """The first thing that is wrong on a trained case's chart, in the order of examination."""
    log_b = math.log(chart.pairs)
    if chart.pairs < 2:
        return "one pair"
    if chart.moved < 1e-6:
        return "nothing moves"
    if chart.losses[0] > 1.5 * log_b:
        return "starts wrong"
    if chart.losses[-1] > 0.9 * log_b:
        return "stays at a guess"
    if chart.recall_1 < 10 / chart.gallery:
        return "wrong pairs"
    if chart.claimed > 1.15 * chart.recall_1:
        return "counted wrongly"
    return "no sign"


def case_path(number: int) -> Path:
    return CASES / f"case_{number:02d}.py"


def open_case(number: int, old: str = "", new: str = "") -> ModuleType:
    """A case as a module, anew each time; its `run(ward)` gives a chart.

    With `old` and `new`, that piece of its text is exchanged first: so a line is mended.
    Raises: ValueError when `old` does not stand in it exactly once.
    """
    text = case_path(number).read_text(encoding="utf-8")
    if old and text.count(old) != 1:
        raise ValueError(
            f"old is {old!r}, which stands {text.count(old)} times in case {number:02d}; name a "
            "piece that stands there once, letter for letter."
        )
    case = ModuleType(f"case_{number:02d}")
    code = text.replace(old, new) if old else text
    exec(compile(code, str(case_path(number)), "exec"), case.__dict__)
    return case


def toy_ward(pictures: int = 300, seed: int = 0) -> Ward:
    """A ward of random numbers that takes no time: five captions a picture, learned in seconds."""
    made = torch.Generator().manual_seed(seed)
    seen, said = (torch.randn(12, width, generator=made) for width in (24, 32))
    splits = []
    for split in ("train", "val"):
        meaning = torch.randn(pictures, 12, generator=made)
        owner = np.repeat(np.arange(pictures), 5)
        heard = meaning[owner] + 0.8 * torch.randn(len(owner), 12, generator=made)
        names = tuple(f"{row}.png" for row in range(pictures))
        captions = tuple(f"caption {row}" for row in range(len(owner)))
        pairs = Pairs(Path(), split, names, captions, owner, ())
        splits.append(Features(pairs, meaning @ seen, heard @ said))
    return Ward(None, *splits)
