"""Profiles (what is trained, on what, how long) and the folders that everything lands in."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path

COURSE = Path(__file__).resolve().parent.parent
PRECISIONS = ("float32", "bfloat16", "float16")
CHOICES = {
    "image_output": ("features", "logits"),
    "optimizer": ("adamw", "muon"),
    "precision": ("auto", *PRECISIONS),
}


@dataclass(frozen=True)
class Profile:
    """One complete setting of the course; `dataclasses.replace(QUICK, epochs=3)` exchanges a part.

    Raises: ValueError, naming the field, when a value cannot work.
    """

    name: str
    data: str  # "picturebook", "flickr8k", or the path of a folder of pairs

    image_encoder: str  # a timm name
    image_pretrained: bool
    image_frozen: bool
    image_output: str  # "features" (pooled) or "logits" (class scores)
    image_power: float  # each pooled feature's size is raised to it, its sign kept
    image_size: int  # pixels, height and width
    image_crop: float  # 0: the whole picture, squashed to a square; else a central crop's share

    text_encoder: str  # a transformers name; "bert" is a small BERT from scratch
    text_pretrained: bool
    text_frozen: bool
    text_layers: int  # read when from scratch, like the next two
    text_width: int
    vocabulary_size: int
    max_tokens: int

    embed_dim: int  # E, the shared size
    head_dropout: float

    epochs: int
    batch_size: int  # B, pairs
    captions_per_step: int  # of a picture's own, drawn anew in each epoch
    image_lr: float
    text_lr: float
    head_lr: float  # the two projections and the logit scale
    weight_decay: float
    warmup: float  # share of all steps
    clip_norm: float
    seed: int = 0

    optimizer: str = "adamw"  # or "muon", for encoders from scratch
    image_revision: str = ""  # of the hub's repository; "" is what it has newest
    text_revision: str = ""
    image_layers_frozen: int = 0  # of an image encoder that learns: its first ones stay
    image_part: float = 1.0  # training shows a random part: the least share of a picture's area
    head_epochs: int = 0  # before the others: both encoders frozen, the projections learn alone
    precision: str = "float32"  # or "auto": on a GPU bfloat16, where it has that, else float16
    gradient_checkpointing: bool = False  # activations are computed again: less memory, more time
    chunk_size: int = 0  # pairs encoded at a time, by gradient caching; 0: the whole batch at once
    start: str = ""  # the folder of a run whose weights and tokenizer come first (`finetune`)
    own_encoders: bool = False  # that run had trained its encoders: they are saved, frozen or not

    def __post_init__(self) -> None:
        for field, choices in CHOICES.items():
            _require(getattr(self, field) in choices, self, field, " or ".join(map(repr, choices)))
        for encoder in ("image", "text"):
            known = getattr(self, f"{encoder}_pretrained") or self.own_encoders
            _require(
                known or not getattr(self, f"{encoder}_frozen"),
                self,
                f"{encoder}_frozen",
                "False for an encoder from scratch, which knows nothing yet",
            )
        _require(
            0 <= self.image_crop <= 1, self, "image_crop", "a share from 0 (whole picture) to 1"
        )
        _require(0 <= self.head_dropout < 1, self, "head_dropout", "a share from 0 to below 1")
        _require(0 <= self.warmup < 1, self, "warmup", "a share of all steps from 0 to below 1")
        _require(
            self.batch_size >= 2,
            self,
            "batch_size",
            "at least 2: a pair alone has nothing to be told apart from",
        )
        for field in (
            "image_size",
            "max_tokens",
            "embed_dim",
            "epochs",
            "captions_per_step",
            "text_layers",
            "text_width",
            "vocabulary_size",
        ):
            _require(getattr(self, field) >= 1, self, field, "at least 1")
        _require(0 < self.image_part <= 1, self, "image_part", "a share above 0, at most 1")
        for field in ("head_epochs", "image_layers_frozen", "chunk_size"):
            _require(getattr(self, field) >= 0, self, field, "at least 0")
        _require(
            not self.head_epochs or (self.image_pretrained and self.text_pretrained),
            self,
            "head_epochs",
            "0 for encoders from scratch: heads alone learn nothing from what knows nothing yet",
        )
        for field in ("image_power", "image_lr", "text_lr", "head_lr", "clip_norm"):
            _require(getattr(self, field) > 0, self, field, "above 0")

    @property
    def image_knows(self) -> bool:
        """Whether the image encoder was trained before, by others or in the run it starts from."""
        return self.image_pretrained or self.own_encoders


def _require(holds: bool, profile: Profile, field: str, expected: str) -> None:
    if not holds:
        raise ValueError(
            f"Profile {profile.name!r}: {field} must be {expected}, "
            f"not {getattr(profile, field)!r}."
        )


QUICK = Profile(
    name="quick",
    data="picturebook",
    image_encoder="test_resnet",
    image_pretrained=False,
    image_frozen=False,
    image_output="features",
    image_power=1.0,
    image_size=64,
    image_crop=0,
    text_encoder="bert",
    text_pretrained=False,
    text_frozen=False,
    text_layers=1,
    text_width=128,
    vocabulary_size=512,
    max_tokens=40,
    embed_dim=128,
    head_dropout=0.0,
    epochs=8,
    batch_size=128,
    captions_per_step=2,
    image_lr=2e-3,
    text_lr=2e-3,
    head_lr=2e-3,
    weight_decay=0.05,
    warmup=0.1,
    clip_norm=1.0,
    optimizer="muon",
)

LAPTOP = Profile(
    name="laptop",
    data="flickr8k",
    image_encoder="tf_efficientnet_lite0.in1k",
    image_pretrained=True,
    image_frozen=True,
    image_output="features",
    image_power=0.5,
    image_size=224,
    image_crop=0,
    text_encoder="sentence-transformers/all-MiniLM-L6-v2",
    text_pretrained=True,
    text_frozen=True,
    text_layers=6,
    text_width=384,
    vocabulary_size=30522,
    max_tokens=128,
    embed_dim=256,
    head_dropout=0.3,
    epochs=45,
    batch_size=256,
    captions_per_step=2,
    image_lr=1e-4,
    text_lr=1e-5,
    head_lr=1e-3,
    weight_decay=0.05,
    warmup=0.1,
    clip_norm=1.0,
)

# Heads as in `laptop`, then both encoders: half an hour on two cores instead of seconds.
LAPTOP_TUNED = replace(
    LAPTOP,
    name="laptop-tuned",
    image_frozen=False,
    image_layers_frozen=4,  # the stem and three of seven blocks, whose maps are the largest
    image_part=0.5,
    text_frozen=False,
    epochs=4,
    batch_size=128,
    image_lr=3e-4,
    text_lr=5e-5,
    head_lr=3e-4,
    head_epochs=45,
)

ORIGINAL = Profile(
    name="original",
    data="flickr8k",
    image_encoder="vit_base_patch16_224.augreg2_in21k_ft_in1k",
    image_pretrained=True,
    image_frozen=False,
    image_output="features",
    image_power=1.0,
    image_size=224,
    image_crop=0.9,
    text_encoder="sentence-transformers/bert-base-nli-mean-tokens",
    text_pretrained=True,
    text_frozen=False,
    text_layers=12,
    text_width=768,
    vocabulary_size=30522,
    max_tokens=128,
    embed_dim=256,
    head_dropout=0.1,
    epochs=10,
    batch_size=128,
    captions_per_step=2,
    image_lr=1e-5,
    text_lr=1e-5,
    head_lr=3e-4,
    weight_decay=0.05,
    warmup=0.1,
    clip_norm=1.0,
    image_part=0.5,
    head_epochs=20,
    precision="auto",
)

PROFILES = {profile.name: profile for profile in (QUICK, LAPTOP, LAPTOP_TUNED, ORIGINAL)}


def get_profile(name: str = "quick") -> Profile:
    """The profile of that name; the environment variable CLIPLIB_PROFILE wins over it.

    Raises: ValueError when there is no such profile.
    """
    return named_profile(os.environ.get("CLIPLIB_PROFILE") or name)


def named_profile(name: str) -> Profile:
    """The profile of exactly that name, whatever the environment says.

    Raises: ValueError when there is no such profile.
    """
    if name not in PROFILES:
        raise ValueError(f"There is no profile {name!r}; choose one of {', '.join(PROFILES)}.")
    return PROFILES[name]


def data_root() -> Path:
    """Where everything that is made lands: CLIPLIB_DATA, else the course's own data/."""
    return Path(os.environ.get("CLIPLIB_DATA") or COURSE / "data")


def data_folder(data: str) -> Path:
    """The folder of a data set: "picturebook", "flickr8k" or any path.

    Flickr8k's is what CLIPLIB_FLICKR8K names; else flickr8k/ in the data folder, unless only a
    mount or a cache elsewhere has the photographs.
    """
    if data == "picturebook":
        return data_root() / "picturebook"
    if data == "flickr8k":
        if named := os.environ.get("CLIPLIB_FLICKR8K"):
            return Path(named)
        own = data_root() / "flickr8k"
        return own if own.exists() else found_elsewhere() or own
    return Path(data)


def found_elsewhere() -> Path | None:
    """The mount or cache in which Flickr8k was found whole, as long as it is there."""
    try:
        noted = json.loads((data_root() / "flickr8k.json").read_text(encoding="utf-8"))
        folder = Path(noted["folder"])
    except (OSError, ValueError, KeyError, TypeError):
        return None  # nothing noted yet, or nothing that can be read: it is looked for anew
    return folder if folder.is_dir() else None


def run_folder(profile_name: str) -> Path:
    return data_root() / "runs" / profile_name


def shipped_checkpoint() -> Path:
    """The quick profile's checkpoint that comes with the course."""
    return COURSE / "data" / "checkpoints" / "quick"
