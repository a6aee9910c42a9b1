"""A model that was trained goes on learning from other data; and what lies between the two."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from cliplib.checkpoint import Run, load_profile, load_run
from cliplib.config import PROFILES, Profile
from cliplib.encoders import CaptionTokenizer
from cliplib.fitting import heads_alone
from cliplib.model import CLIP

FREEZE = ("none", "image", "both")
RATES = 0.1  # of the rates that the run before was trained with
BUILT_BY = ("image_encoder", "image_output", "image_power", "text_encoder", "text_layers",
            "text_width", "vocabulary_size", "embed_dim")  # fmt: skip


def continue_from(run: Path, rates: float = RATES) -> Profile:
    """The profile of a run, to go on from its weights and tokenizer: set `data` and train it.

    Rates are multiplied by `rates`, since what was learned should not be washed away in the first
    steps. `freeze` may hold encoders, also ones that the run trained from scratch.
    Raises: FileNotFoundError when there is no run; ValueError for rates that are not above 0.
    """
    if not rates > 0:
        raise ValueError(f"rates is a number above 0, such as {RATES}, not {rates}.")
    before = load_profile(run)
    learned = not (before.image_frozen and before.text_frozen)
    return replace(
        before,
        name=f"{root_name(before.name)}-from-{run.resolve().name}",
        start=str(run.resolve()),
        own_encoders=before.own_encoders or learned,
        image_lr=rates * before.image_lr,
        text_lr=rates * before.text_lr,
        head_lr=rates * before.head_lr,
        head_epochs=0,
    )


def root_name(name: str) -> str:
    """The course's own profile that a profile's name begins with, else the name."""
    roots = [root for root in PROFILES if name == root or name.startswith(f"{root}-")]
    return max(roots, key=len, default=name)


def freeze(profile: Profile, which: str | None) -> Profile:
    """The profile with no encoder frozen, the image encoder alone (LiT), or both.

    Source: Zhai et al. 2022, LiT: Zero-Shot Transfer with Locked-image text Tuning
    (arXiv 2111.07991).
    Raises: ValueError for encoders from scratch.
    """
    if which is None:
        return profile
    if which == "both":
        return heads_alone(profile)
    return replace(profile, image_frozen=which == "image", text_frozen=False)


def start_of(profile: Profile) -> tuple[CLIP, CaptionTokenizer]:
    """The model and the tokenizer of the run that a profile starts from.

    Raises: FileNotFoundError when it is gone; ValueError when the profile is another model's.
    """
    run = load_run(Path(profile.start))
    other = [name for name in BUILT_BY if getattr(run.profile, name) != getattr(profile, name)]
    if other:
        raise ValueError(
            f"The run {run.folder} differs from the profile {profile.name!r} in "
            f"{', '.join(other)}: weights of one do not fit the other."
        )
    return run.model, run.tokenizer


def interpolate(before: Run, after: Run, share: float) -> Run:
    """A model whose every weight lies between those of two runs: WiSE-FT.

    share: 0 is `before`, 1 is `after`, both exactly. The statistics of normalisations (buffers of
    BatchNorm) are interpolated like weights; fine-tuning as in `continue_from` leaves them as they
    were, so that both ends have the same. Counters and other whole numbers are those of the
    nearer end. The logit scale is interpolated as it is stored, as a logarithm.
    Raises: ValueError naming tensors that differ in shape or are in one run only, vocabularies
    that differ, and a share that is not from 0 to 1.
    Source: Wortsman et al. 2022, Robust fine-tuning of zero-shot models (arXiv 2109.01903).
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share is a number from 0 (before) to 1 (after), not {share}.")
    first, last = before.model.state_dict(), after.model.state_dict()
    faults = [f"{name} is in one alone" for name in sorted(first.keys() ^ last.keys())]
    faults += [
        f"{name} has shapes {tuple(first[name].shape)} and {tuple(last[name].shape)}"
        for name in first
        if name in last and first[name].shape != last[name].shape
    ]
    if faults:
        told = "; ".join(faults[:5]) + ("; …" if len(faults) > 5 else "")
        raise ValueError(f"{before.folder} and {after.folder} are not one model: {told}.")
    if before.tokenizer.to_json() != after.tokenizer.to_json():
        raise ValueError(
            f"{before.folder} and {after.folder} have different vocabularies: a word's number "
            "means another word in the other. Was one trained from scratch, not from the other?"
        )
    model = deepcopy(after.model)
    model.load_state_dict({name: _between(first[name], last[name], share) for name in first})
    return replace(after, profile=replace(after.profile, own_encoders=True), model=model.eval())


def _between(before: Tensor, after: Tensor, share: float) -> Tensor:
    if not before.is_floating_point():
        return after if share >= 0.5 else before
    return (1 - share) * before.to(after.device) + share * after
