"""From a profile to a trained and measured model in a folder: `python -m cliplib.train`."""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path

import timm
import torch
import transformers

import cliplib
from cliplib.checkpoint import METRICS, Run, UntrainedProfile, find_run, load_profile, load_run
from cliplib.config import (
    CHOICES,
    PROFILES,
    Profile,
    get_profile,
    run_folder,
    shipped_checkpoint,
)
from cliplib.data import ensure
from cliplib.encoders import CaptionTokenizer, hub_tokenizer, train_tokenizer
from cliplib.evaluate import embed_split, measure_split, measure_threshold, prepare_split, truth_of
from cliplib.finetune import FREEZE, RATES, continue_from, freeze, start_of
from cliplib.fitting import TimeIsUp, fit, fit_to_memory, train_heads, training_captions
from cliplib.hub import weights_used
from cliplib.model import CLIP, build_clip
from cliplib.own_pictures import own_data, profile_for
from cliplib.picturebook import is_whole, read_hash
from cliplib.processes import ProcessLost, first_alone, rank, together
from cliplib.retrieval import measure
from cliplib.storage import write_json
from cliplib.trainer import STATE, NotANumber, OutOfMemory, Split, Trainer


def train(
    profile: Profile, out: Path, resume: bool = False, test: bool = True, progress: bool = True,
    max_minutes: float = math.inf,
) -> dict[str, float | str | int]:  # fmt: skip
    """Trains the profile's model, keeps it in `out`, and returns what metrics.json there says.

    `resume` goes on from the last whole checkpoint in `out`. `test=False` leaves the test split
    unread: for every comparison of settings.
    Raises: FileNotFoundError without data, weights or a checkpoint to resume; NotANumber when the
    loss breaks; TimeIsUp when the next epoch would pass `max_minutes`.
    """
    started = time.monotonic()
    if resume and not (out / STATE).exists():
        raise FileNotFoundError(f"There is nothing to resume in {out}: it has no {STATE}.")
    progress = progress and not rank()
    if not resume and not rank():
        shutil.rmtree(out, ignore_errors=True)
    trainer, val, tokenizer = begin(profile, progress, heads_first=not resume)
    if resume:
        trainer.resume(out)
    else:
        trainer = fit_to_memory(trainer, progress)
    fit(trainer, val, out, tokenizer, progress, started + 60 * max_minutes)
    if rank():
        return {}  # the first one measures
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


def begin(
    profile: Profile, progress: bool = True, heads_first: bool = True
) -> tuple[Trainer, Split, CaptionTokenizer]:
    """A trainer before its first step, the same for the same seed, and the validation split.

    With `heads_first` the profile's `head_epochs`, if it has any, lie behind it.
    """
    torch.manual_seed(profile.seed)
    torch.set_flush_denormal(True)  # tiny numbers slow a CPU down many times
    with first_alone():  # what it downloads, draws or computes is there for the others
        folder = ensure(profile.data, progress)
        if profile.start:
            model, tokenizer = start_of(profile)
        else:
            tokenizer = make_tokenizer(profile, training_captions(folder))
            model = build_clip(profile)
    if profile.head_epochs and heads_first:
        train_heads(profile, model, tokenizer, folder, progress)
    with first_alone():
        train, val = (
            prepare_split(profile, model, tokenizer, folder, split, progress)
            for split in ("train", "val")
        )
    if rank():
        torch.manual_seed(profile.seed + 1000 * rank())  # they drop and vary differently
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


def make_tokenizer(profile: Profile, captions: tuple[str, ...]) -> CaptionTokenizer:
    """The pretrained encoder's own, or one learned from the training captions."""
    if profile.text_pretrained:
        return hub_tokenizer(profile.text_encoder, profile.max_tokens, profile.text_revision)
    return train_tokenizer(captions, profile.vocabulary_size, profile.max_tokens)


def pretrained_weights(model: CLIP) -> dict[str, str]:
    """Which weights the pretrained encoders had at the start, as metrics.json keeps it."""
    encoders = {"image_encoder": model.image_encoder, "text_encoder": model.text_encoder}
    return {
        f"{name}_{fact}": value
        for name, encoder in encoders.items()
        for fact, value in weights_used(encoder.folder).items()
    }


def describe_run(trainer: Trainer, folder: Path) -> dict[str, float | str | int]:
    """What was trained, on what, and where: stands beside the figures in metrics.json."""
    return (
        {
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
            "device": device_name(trainer.device),
            "batch_size": trainer.profile.batch_size,
        }
        | trainer.describe()
        | pretrained_weights(trainer.model)
    )


def device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)


def read_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m cliplib.train", description=__doc__)
    parser.add_argument("--profile", choices=PROFILES, default=get_profile().name)
    parser.add_argument(
        "--out", type=Path, help="the run's folder; default: data/runs/PROFILE, or PROFILE-DATA"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, help="instead of the profile's own")
    parser.add_argument(
        "--data",
        metavar="FOLDER",
        help="your own folder of pictures or shards, or picturebook, flickr8k; default: profile's",
    )
    parser.add_argument("--table", type=Path, help="captions for --data: .csv or .xlsx")
    parser.add_argument(
        "--skip-bad", action="store_true", help="leave rows and pictures with a fault out of --data"
    )
    parser.add_argument(
        "--from",
        dest="start",
        metavar="RUN",
        help="begin with the weights and tokenizer of a run: its folder, or a profile's name",
    )
    parser.add_argument(
        "--rates", type=float, help=f"with --from: times the run's learning rates; default {RATES}"
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on from the last whole checkpoint"
    )
    parser.add_argument("--no-test", action="store_true", help="leave the test split unread")
    parser.add_argument(
        "--freeze", choices=FREEZE, help="which encoders stay as they are; default: the profile's"
    )
    parser.add_argument("--batch-size", type=int, help="pairs a step, instead of the profile's")
    parser.add_argument(
        "--chunk-size", type=int,
        help="pairs encoded at a time: a large batch in the memory of a small one, more time",
    )  # fmt: skip
    parser.add_argument("--precision", choices=CHOICES["precision"], help="default: the profile's")
    parser.add_argument(
        "--max-minutes", type=float, default=math.inf,
        help="stop after the last epoch that ends within so many minutes; --resume goes on",
    )  # fmt: skip
    parser.add_argument(
        "--gradient-checkpointing", action="store_true", help="less memory, a third more time"
    )
    return parser.parse_args(arguments)


def settle(chosen: argparse.Namespace) -> tuple[Profile, Path]:
    """What to train and where it lands.

    Raises: ValueError when a value cannot work, FileNotFoundError when there is nothing to resume.
    """
    profile = PROFILES[chosen.profile]
    if chosen.start:
        profile = continue_from(find_start(chosen.start), chosen.rates or RATES)
    elif chosen.rates:
        raise ValueError("--rates belongs to --from: it says how much slower a run goes on.")
    profile = replace(
        profile, seed=chosen.seed, gradient_checkpointing=chosen.gradient_checkpointing
    )
    given = ("epochs", "batch_size", "chunk_size", "precision")
    wanted = {name: getattr(chosen, name) for name in given}
    profile = replace(profile, **{name: v for name, v in wanted.items() if v is not None})
    profile = freeze(profile, chosen.freeze)
    if chosen.data:
        profile = profile_for(profile, own_data(chosen.data, chosen.table, chosen.skip_bad))
    out = chosen.out or run_folder(profile.name)
    if profile.start and out.resolve() == Path(profile.start):
        raise ValueError(f"{out} is the run that --from names: give another --out.")
    return (load_profile(out) if chosen.resume else profile), out


def find_start(named: str) -> Path:
    """The run that --from means: a folder, its name in runs/, or a profile's newest run."""
    return find_run(named) if named in PROFILES else find_run(run=Path(named))


def how_to_go_on(out: Path) -> str:
    if (out / STATE).exists():
        return f"Go on with: python -m cliplib.train --resume --out {out}"
    return "No epoch was finished: give the same command again. What encoders said is kept."


def main(arguments: list[str] | None = None) -> int:
    try:
        with together():
            return run(arguments)
    except (OSError, ValueError, NotANumber, OutOfMemory, ProcessLost) as error:
        print(error, file=sys.stderr)
        return 1


def run(arguments: list[str] | None) -> int:
    """The command, in one process or in each of several."""
    chosen = read_arguments(arguments)
    with first_alone():
        profile, out = settle(chosen)
    try:
        metrics = train(
            profile, out, chosen.resume, not chosen.no_test, max_minutes=chosen.max_minutes
        )
    except TimeIsUp as told:
        if not rank():
            print(told)
        return 0
    except KeyboardInterrupt:
        print(f"\nInterrupted. {how_to_go_on(out)}", file=sys.stderr)
        return 130
    if rank():
        return 0
    print(json.dumps(metrics, indent=1))
    which = '"a red boat at night"' if profile.name in PROFILES else f'--run "{out}" "YOUR WORDS"'
    print(f"The model is in {out}. Search with it: python -m cliplib.search {which}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
