"""Profiles that cannot be wrong without saying so, and the folders that everything lands in."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from cliplib import config
from cliplib.config import (
    LAPTOP,
    LAPTOP_TUNED,
    ORIGINAL,
    PROFILES,
    QUICK,
    Profile,
    get_profile,
    named_profile,
)


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CLIPLIB_PROFILE", "CLIPLIB_DATA", "CLIPLIB_FLICKR8K"):
        monkeypatch.delenv(name, raising=False)


def test_profiles_go_by_their_names() -> None:
    assert list(PROFILES) == ["quick", "laptop", "laptop-tuned", "original"]
    assert all(profile.name == name for name, profile in PROFILES.items())
    assert [get_profile(name) for name in PROFILES] == [QUICK, LAPTOP, LAPTOP_TUNED, ORIGINAL]
    assert get_profile() is QUICK


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_profiles_are_frozen_and_exchanged_by_replace(profile: Profile) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        profile.epochs = 3  # type: ignore[misc]
    shorter = dataclasses.replace(profile, epochs=3)
    assert shorter.epochs == 3 != profile.epochs
    assert dataclasses.replace(shorter, epochs=profile.epochs) == profile


WRONG = [
    ("image_output", "embedding"),
    ("image_frozen", True),
    ("text_frozen", True),
    ("image_crop", -0.1),
    ("image_crop", 1.01),
    ("head_dropout", 1.0),
    ("head_dropout", -0.2),
    ("warmup", 1.0),
    ("warmup", -0.1),
    ("batch_size", 1),
    *((field, 0) for field in ("image_size", "max_tokens", "embed_dim", "epochs")),
    *((field, 0) for field in ("captions_per_step", "text_layers", "text_width")),
    ("vocabulary_size", -5),
    *((field, 0.0) for field in ("image_lr", "text_lr", "head_lr")),
    ("clip_norm", -1.0),
    ("image_power", 0.0),
    ("precision", "half"),
    ("optimizer", "sgd"),
    ("image_layers_frozen", -1),
    ("image_part", 0.0),
    ("image_part", 1.1),
    ("head_epochs", -1),
    ("head_epochs", 3),
]


@pytest.mark.parametrize(("field", "value"), WRONG)
def test_a_value_that_cannot_work_is_named(field: str, value: object) -> None:
    with pytest.raises(ValueError) as caught:
        dataclasses.replace(QUICK, **{field: value})
    sentence = str(caught.value)
    assert "'quick'" in sentence
    assert f"{field} must be " in sentence
    assert sentence.endswith(f"not {value!r}.")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("image_crop", 0),
        ("image_crop", 1),
        ("batch_size", 2),
        ("epochs", 1),
        ("warmup", 0.0),
        ("head_dropout", 0.99),
        ("image_output", "logits"),
        ("image_part", 1),
        ("image_part", 0.01),
        ("precision", "auto"),
        ("precision", "float16"),
    ],
)
def test_the_last_value_that_can_work_is_taken(field: str, value: object) -> None:
    assert getattr(dataclasses.replace(QUICK, **{field: value}), field) == value


def test_only_pretrained_encoders_can_be_frozen() -> None:
    frozen = dataclasses.replace(QUICK, image_pretrained=True, image_frozen=True)
    assert frozen.image_frozen
    with pytest.raises(ValueError, match="from scratch"):
        dataclasses.replace(frozen, image_pretrained=False)


def test_the_environment_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPLIB_PROFILE", "laptop")
    assert get_profile("quick") is LAPTOP
    assert named_profile("quick") is QUICK, "for who wants exactly that one"
    monkeypatch.setenv("CLIPLIB_PROFILE", "")
    assert get_profile("original") is ORIGINAL


def test_an_unknown_profile_is_answered_with_the_known_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sentence = (
        r"^There is no profile 'slow'; choose one of quick, laptop, laptop-tuned, original\.$"
    )
    with pytest.raises(ValueError, match=sentence):
        get_profile("slow")
    monkeypatch.setenv("CLIPLIB_PROFILE", "slow")
    with pytest.raises(ValueError, match=sentence):
        get_profile("quick")


def test_everything_lands_in_the_course_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert config.data_root() == config.COURSE / "data"
    assert (config.COURSE / "cliplib" / "config.py").exists()
    shipped = config.shipped_checkpoint()
    monkeypatch.setenv("CLIPLIB_DATA", str(tmp_path))
    assert config.data_root() == tmp_path
    assert config.run_folder("laptop") == tmp_path / "runs" / "laptop"
    assert config.data_folder("picturebook") == tmp_path / "picturebook"
    assert config.data_folder("flickr8k") == tmp_path / "flickr8k"
    assert config.shipped_checkpoint() == shipped, "it comes with the course, not with the data"
    assert shipped == config.COURSE / "data" / "checkpoints" / "quick"


def test_photographs_can_lie_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CLIPLIB_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("CLIPLIB_FLICKR8K", str(tmp_path / "photos"))
    assert config.data_folder("flickr8k") == tmp_path / "photos"
    assert config.data_folder("picturebook") == tmp_path / "data" / "picturebook"
    assert config.data_folder(str(tmp_path / "my pairs")) == tmp_path / "my pairs"


def test_the_settings_and_the_drawing_workers_do_without_torch() -> None:
    code = (
        "import sys, cliplib.config, cliplib.picturebook\n"
        "print([name for name in ('torch', 'timm', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=config.COURSE, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
