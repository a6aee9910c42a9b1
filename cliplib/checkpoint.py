"""A run on disk: safetensors and JSON only. Saving, loading and finding trained models."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path

from torch import Tensor

from cliplib.config import Profile, data_root, get_profile, named_profile, shipped_checkpoint
from cliplib.encoders import CaptionTokenizer, hub_tokenizer, load_tokenizer
from cliplib.model import CLIP, build_clip
from cliplib.pictures import ImageTransform
from cliplib.storage import read_tensors, write_json, write_tensors, write_text

WEIGHTS, PROFILE, TOKENIZER = "model.safetensors", "profile.json", "tokenizer.json"
METRICS, HISTORY = "metrics.json", "history.csv"


class UntrainedProfile(FileNotFoundError):
    """There is no finished run of a profile yet."""


@dataclass(frozen=True)
class Run:
    """A model with all that belongs to it: how to prepare pictures and sentences for it."""

    folder: Path
    profile: Profile
    model: CLIP
    tokenizer: CaptionTokenizer
    transform: ImageTransform


@dataclass(frozen=True)
class Threshold:
    """From which cosine on a picture found by words counts, and how many queries come above it."""

    cosine: float
    false_alarm_rate: float  # share of validation queries whose pictures were taken away
    answer_rate: float  # share of validation queries whose pictures were there


def trained_tensors(model: CLIP, profile: Profile) -> dict[str, Tensor]:
    """The weights that training changes; frozen encoders stay in the hub's cache, unchanged.

    Encoders of one's own are in no cache: they belong to it, frozen or not.
    """
    frozen = tuple(
        prefix
        for prefix, is_frozen in (
            ("image_encoder.", profile.image_frozen),
            ("text_encoder.", profile.text_frozen),
        )
        if is_frozen and not profile.own_encoders
    )
    return {k: v for k, v in model.state_dict().items() if not (frozen and k.startswith(frozen))}


def save_run(folder: Path, model: CLIP, profile: Profile, tokenizer: CaptionTokenizer) -> None:
    """Writes the model's trained weights, its profile and (from scratch) its vocabulary."""
    write_json(folder / PROFILE, asdict(profile))
    if not profile.text_pretrained:
        write_text(folder / TOKENIZER, tokenizer.to_json())
    write_tensors(folder / WEIGHTS, trained_tensors(model, profile), {"profile": profile.name})


def load_profile(folder: Path) -> Profile:
    """The profile that a run was made with.

    Raises: FileNotFoundError when there is no run, ValueError when its profile is not one of ours.
    """
    path = folder / PROFILE
    if not path.exists():
        raise FileNotFoundError(
            f"There is no run in {folder}: it has no {PROFILE}. Train one first."
        )
    values = json.loads(path.read_text(encoding="utf-8"))
    needed = {field.name for field in fields(Profile) if field.default is MISSING}
    unknown = set(values) - {field.name for field in fields(Profile)}
    if unknown or needed - set(values):  # fields that came later have a default, as it was before
        differing = ", ".join(sorted(unknown | (needed - set(values))))
        raise ValueError(
            f"{path} is not a profile of this version of cliplib; it differs in: {differing}."
        )
    return Profile(**values)


def load_run(folder: Path) -> Run:
    """The trained model of a run, ready to use (in evaluation mode).

    Raises: FileNotFoundError; ValueError when weights are not whole or do not fit the profile.
    """
    profile = load_profile(folder)
    model = build_clip(profile)
    if not (folder / WEIGHTS).exists():
        raise FileNotFoundError(f"There is no {WEIGHTS} in {folder}: the run was not finished.")
    tensors, _ = read_tensors(folder / WEIGHTS)
    load_weights(model, profile, tensors, str(folder / WEIGHTS))
    return Run(
        folder,
        profile,
        model.eval(),
        tokenizer_of(folder, profile),
        model.image_encoder.transform(profile.image_size, profile.image_crop),
    )


def load_threshold(folder: Path) -> Threshold | None:
    """The threshold that training found for a run; None where it is unfinished or has none."""
    path = folder / METRICS
    metrics = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if "threshold" not in metrics:
        return None
    return Threshold(metrics["threshold"], metrics["false_alarm_rate"], metrics["answer_rate"])


def load_weights(model: CLIP, profile: Profile, tensors: Mapping[str, Tensor], source: str) -> None:
    """Copies trained weights into a model.

    Raises: ValueError naming the tensors that are missing, unexpected or of another shape.
    """
    expected = trained_tensors(model, profile)
    faults = [f"{name} is missing" for name in expected if name not in tensors]
    faults += [f"{name} is unexpected" for name in tensors if name not in expected]
    faults += [
        f"{name} has shape {tuple(tensors[name].shape)}, expected {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in tensors and tensors[name].shape != tensor.shape
    ]
    if faults:
        listed = "; ".join(faults[:5]) + (
            f"; and {len(faults) - 5} more" if len(faults) > 5 else ""
        )
        raise ValueError(f"{source} does not fit the profile {profile.name!r}: {listed}.")
    model.load_state_dict(dict(tensors), strict=False)


def tokenizer_of(folder: Path, profile: Profile) -> CaptionTokenizer:
    if profile.text_pretrained:
        return hub_tokenizer(profile.text_encoder, profile.max_tokens, profile.text_revision)
    return load_tokenizer((folder / TOKENIZER).read_text(encoding="utf-8"), profile.max_tokens)


def find_run(profile_name: str | None = None, run: Path | None = None) -> Path:
    """Where the wanted model lies: `run` (a folder, or its name in runs/), else CLIPLIB_RUN, else
    the profile's newest finished run, else (quick) the checkpoint that comes with the course.
    Without a name the profile is what CLIPLIB_PROFILE says, else quick.

    Raises: UntrainedProfile saying how to train one, ValueError when there is no such profile.
    """
    chosen = run or os.environ.get("CLIPLIB_RUN")
    if chosen:
        named = data_root() / "runs" / chosen
        return named if named.is_dir() and not Path(chosen).is_dir() else Path(chosen)
    profile_name = named_profile(profile_name).name if profile_name else get_profile().name
    finished = [
        metrics.parent
        for metrics in (data_root() / "runs").glob(f"*/{METRICS}")
        if json.loads(metrics.read_text(encoding="utf-8"))["profile"] == profile_name
    ]
    if finished:
        return max(finished, key=lambda folder: (folder / METRICS).stat().st_mtime)
    if profile_name == "quick":
        return shipped_checkpoint()
    raise UntrainedProfile(
        f"There is no finished run of the profile {profile_name!r} yet. "
        f"Train one: python -m cliplib.train --profile {profile_name}"
    )
