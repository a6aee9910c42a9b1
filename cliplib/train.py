"""From a profile to a trained and measured model in a folder: `python -m cliplib.train`."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import timm
import torch
import transformers
from torch import Tensor
from tqdm.auto import tqdm

import cliplib
from cliplib.checkpoint import METRICS, Run, UntrainedProfile, find_run, load_profile, load_run
from cliplib.config import PROFILES, Profile, get_profile, run_folder, shipped_checkpoint
from cliplib.data import Pairs, ensure, epoch_batches, load_pairs
from cliplib.encoders import CaptionTokenizer, hub_tokenizer, train_tokenizer, weights_used
from cliplib.features import image_inputs, text_inputs
from cliplib.loss import reader_loss
from cliplib.model import CLIP, build_clip
from cliplib.picturebook import is_whole, load_pages, read_hash
from cliplib.retrieval import embed_images, embed_texts, measure
from cliplib.scenes import Meaning, Scene, truth_matrix
from cliplib.storage import write_json
from cliplib.threshold import answered, best_absent, find_threshold, share_words
from cliplib.trainer import STATE, NotANumber, OutOfMemory, Split, Trainer

FALSE_ALARM_RATE = 0.05  # of searches for what is not there, those that get an answer all the same


def train(
    profile: Profile, out: Path, resume: bool = False, test: bool = True, progress: bool = True
) -> dict[str, float | str | int]:
    """Trains the profile's model, keeps it in `out`, and returns what metrics.json there says.

    `resume` goes on from the last whole checkpoint in `out`. `test=False` leaves the test split
    unread: for every comparison of settings.
    Raises: FileNotFoundError without data, weights or a checkpoint to resume; NotANumber when the
    loss breaks.
    """
    if resume and not (out / STATE).exists():
        raise FileNotFoundError(f"There is nothing to resume in {out}: it has no {STATE}.")
    if not resume:
        shutil.rmtree(out, ignore_errors=True)
    trainer, val, tokenizer = begin(profile, progress)
    if resume:
        trainer.resume(out)
    fit(trainer, val, out, tokenizer, progress)
    model, folder = trainer.model, val.pairs.folder
    images, texts = embed_split(model, val)
    found = measure(images, texts, val.pairs.caption_image, truth_of(val))
    metrics = describe_run(trainer, folder) | {f"val_{name}": v for name, v in found.items()}
    metrics |= measure_threshold(images, texts, val.pairs)
    if test:
        metrics |= measure_split(
            model, prepare_split(profile, model, tokenizer, folder, "test", progress)
        )
        if is_whole(folder):
            unseen = prepare_split(profile, model, tokenizer, folder, "unseen", progress)
            found = measure_split(model, unseen)
            metrics |= {f"unseen_{name}": value for name, value in found.items()}
    write_json(out / METRICS, metrics)
    (out / STATE).unlink(missing_ok=True)  # only an unfinished run can be resumed
    return metrics


def begin(profile: Profile, progress: bool = True) -> tuple[Trainer, Split, CaptionTokenizer]:
    """A trainer before its first step, the same for the same seed, and the validation split."""
    torch.manual_seed(profile.seed)
    torch.set_flush_denormal(True)  # tiny numbers slow a CPU down many times
    folder = ensure(profile.data, progress)
    tokenizer = make_tokenizer(profile, load_pairs(folder, "train").captions)
    model = build_clip(profile)
    train, val = (
        prepare_split(profile, model, tokenizer, folder, split, progress)
        for split in ("train", "val")
    )
    return Trainer(profile, model, train), val, tokenizer


def ready_run(profile: Profile) -> Run:
    """The model that a lesson works with, in evaluation mode; prints what it had to do for it.

    It is what `find_run` finds. Where nothing was trained yet: heads over frozen encoders are
    trained at once, for that takes minutes; else the checkpoint that comes with the course.
    Raises: FileNotFoundError when CLIPLIB_RUN names no run, or data or weights cannot be had.
    """
    try:
        return load_run(find_run(profile.name))
    except UntrainedProfile as error:
        if not (profile.image_frozen and profile.text_frozen):
            print(error, "Until then this lesson uses the quick checkpoint.")
            return load_run(shipped_checkpoint())
    print(
        f"There is no run of the profile {profile.name} yet. Both encoders now run over its data, "
        "once: about three minutes on two cores. Then the heads are trained: seconds."
    )
    train(profile, run_folder(profile.name), test=False)
    return load_run(run_folder(profile.name))


def fit(
    trainer: Trainer, val: Split, out: Path, tokenizer: CaptionTokenizer, progress: bool = True
) -> None:
    """Runs the epochs that are left; after each one validation recall and a whole checkpoint."""
    profile = trainer.profile
    pictures = trainer.steps_an_epoch * profile.batch_size
    bar = tqdm(
        total=pictures * profile.epochs,
        initial=pictures * trainer.epoch,
        desc=f"training {profile.name}",
        unit=" pictures",
        disable=not progress,
    )
    with bar:
        while trainer.epoch < profile.epochs:
            trainer.run_epoch(bar)
            trainer.validate(val)
            trainer.save(out, tokenizer)


def make_tokenizer(profile: Profile, captions: tuple[str, ...]) -> CaptionTokenizer:
    """The pretrained encoder's own, or one learned from the training captions."""
    if profile.text_pretrained:
        return hub_tokenizer(profile.text_encoder, profile.max_tokens)
    return train_tokenizer(captions, profile.vocabulary_size, profile.max_tokens)


def prepare_split(
    profile: Profile, model: CLIP, tokenizer: CaptionTokenizer, folder: Path, split: str,
    progress: bool = True,
) -> Split:  # fmt: skip
    """Tokenises once; frozen encoders run over the split once, and what they said is kept."""
    pairs = load_pairs(folder, split)
    return Split(
        pairs,
        image_inputs(profile, model.image_encoder, pairs.paths(), progress),
        text_inputs(profile, model.text_encoder, pairs.captions, tokenizer, progress),
    )


def measure_split(model: CLIP, split: Split) -> dict[str, float]:
    """Recall on a whole split; on the picture book also the figures that its facts allow."""
    return measure(*embed_split(model, split), split.pairs.caption_image, truth_of(split))


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


def pretrained_weights(profile: Profile, model: CLIP) -> dict[str, str]:
    """Which weights the pretrained encoders had at the start, as metrics.json keeps it."""
    repositories = {}
    if profile.image_pretrained:
        repositories["image_encoder"] = model.image_encoder.repository
    if profile.text_pretrained:
        repositories["text_encoder"] = profile.text_encoder
    return {
        f"{encoder}_{name}": value
        for encoder, repository in repositories.items()
        for name, value in weights_used(repository).items()
    }


def describe_run(trainer: Trainer, folder: Path) -> dict[str, float | str | int]:
    """What was trained, on what, and where: stands beside the figures in metrics.json."""
    return {
        "profile": trainer.profile.name,
        "seed": trainer.profile.seed,
        "epochs": trainer.profile.epochs,
        "train_seconds": round(trainer.seconds, 1),
        "picturebook": read_hash(folder) if is_whole(folder) else "",
        "cliplib": cliplib.__version__,
        "torch": torch.__version__,
        "timm": timm.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPU cores",
        "device": str(trainer.device),
    } | pretrained_weights(trainer.profile, trainer.model)


def read_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m cliplib.train", description=__doc__)
    parser.add_argument("--profile", choices=PROFILES, default=get_profile().name)
    parser.add_argument("--out", type=Path, help="the run's folder (default: data/runs/PROFILE)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, help="instead of the profile's own")
    parser.add_argument(
        "--resume", action="store_true", help="go on from the last whole checkpoint"
    )
    parser.add_argument("--no-test", action="store_true", help="leave the test split unread")
    return parser.parse_args(arguments)


def settle(chosen: argparse.Namespace) -> tuple[Profile, Path]:
    """What to train and where it lands.

    Raises: ValueError when a value cannot work, FileNotFoundError when there is nothing to resume.
    """
    out = chosen.out or run_folder(chosen.profile)
    if chosen.resume:
        return load_profile(out), out
    profile = replace(PROFILES[chosen.profile], seed=chosen.seed)
    if chosen.epochs is not None:
        profile = replace(profile, epochs=chosen.epochs)
    return profile, out


def main(arguments: list[str] | None = None) -> int:
    try:
        chosen = read_arguments(arguments)
        profile, out = settle(chosen)
        try:
            metrics = train(profile, out, chosen.resume, test=not chosen.no_test)
        except KeyboardInterrupt:
            again = f"python -m cliplib.train --resume --out {out}"
            print(f"\nInterrupted. Go on with: {again}", file=sys.stderr)
            return 130
    except (OSError, ValueError, NotANumber, OutOfMemory) as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps(metrics, indent=1))
    print(f'The model is in {out}. Search with it: python -m cliplib.search "a red boat at night"')
    return 0


if __name__ == "__main__":
    sys.exit(main())
