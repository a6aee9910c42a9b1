"""Wrong answers to lesson 08's exercises, and what the lesson writes against cliplib's own."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_checks import expect_hint, taught_by, wrong_answers

from cliplib import hard_negatives, threshold, two_way
from cliplib.checks import lesson08


@pytest.fixture(autouse=True)
def own_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPLIB_DATA", str(tmp_path))


def plain_swap(caption: str, one: str, other: str) -> str:
    turned = {one: other, other: one}
    return " ".join(turned.get(word, word) for word in caption.split())


def letters_swapped(caption: str, one: str, other: str) -> str:
    """Exchanged inside longer words too."""
    said = re.sub(f"{one}|{other}", lambda m: other if m[0] == one else one, caption)
    return re.sub(r"\ban? (?=(\w))", lambda m: "an " if m[1] in "aeiou" else "a ", said)


def only_both(caption: str, one: str, other: str) -> str:
    both = {one, other} <= set(caption.split())
    return two_way.swap_words(caption, one, other) if both else caption


def every_article(caption: str, one: str, other: str) -> str:
    return re.sub(r"\ban?\b", "an", plain_swap(caption, one, other))


WRONG_SWAPS = {
    "what the first had changed": lambda c, a, b: c.replace(a, b).replace(b, a),
    "joined again": lambda c, a, b: plain_swap(c, a, b).split(),
    "as it was": lambda c, a, b: c,
    "Which article": plain_swap,
    "Does only an article change": every_article,
    "not letters inside": letters_swapped,
    "turn into the other": only_both,
}
WRONG_SHARES = {
    "should be larger": lambda t, f: (f > t).mean() + 0.5 * (f == t).mean(),
    "equal cosines worth": lambda t, f: (t >= f).mean(),
    "a count": lambda t, f: (t > f).sum() + 0.5 * (t == f).sum(),
    "only the order": lambda t, f: 0.625 if t.max() == 0.9 else (
        0.5 if (t == f).all() else (t > 0.05).mean()
    ),
    "with its own": lambda t, f: (
        np.mean(t[:, None] > f) + 0.5 * np.mean(t[:, None] == f)
        if len(t) == 2 and (t != 0.1).any() and f[1] != 0.9
        else two_way.right_of_two(t, f) if len(t) != 2 else float(t.mean() > f.mean())
    ),
}  # fmt: skip


def two_directions(
    images: torch.Tensor, captions: torch.Tensor, scale: torch.Tensor, columns: int
) -> torch.Tensor:
    logits = scale * images @ captions.T
    own = torch.arange(len(images))
    return F.cross_entropy(logits, own) + F.cross_entropy(logits[:, :columns].T[: len(own)], own)


def pictures_only(
    images: torch.Tensor, texts: torch.Tensor, negatives: torch.Tensor, scale: torch.Tensor
) -> torch.Tensor:
    right = two_directions(images, texts, scale, len(images)) / 2
    logits = scale * images @ torch.cat([texts, negatives]).T
    return F.cross_entropy(logits, torch.arange(len(images))) if len(negatives) else right


def captions_too(
    images: torch.Tensor, texts: torch.Tensor, negatives: torch.Tensor, scale: torch.Tensor
) -> torch.Tensor:
    """A row for each negative as well, as if it had a picture: the first."""
    logits = scale * images @ torch.cat([texts, negatives]).T
    own = torch.arange(len(images))
    targets = torch.cat([own, torch.zeros(len(negatives), dtype=torch.long)])
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, targets)) / 2


WRONG_LOSSES = {
    "mean taken over pairs": lambda i, t, n, s: F.cross_entropy(
        s * i @ torch.cat([t, n]).T, torch.arange(len(i)), reduction="none"
    ),
    "among B + H": lambda i, t, n, s: two_directions(i, t, s, len(i)) / 2,
    "mean of both": lambda i, t, n, s: two_directions(i, torch.cat([t, n]), s, len(i)),
    "and the scale": lambda i, t, n, s: two_directions(
        i, torch.cat([t, n]), torch.tensor(1.0), len(i)
    ) / 2,
    "choose among pictures": pictures_only,
    "first B columns": captions_too,
    "have a place": lambda i, t, n, s: hard_negatives.loss_with_negatives(i, t, n, s) if (
        len(n) < 3 or torch.equal(n, lesson08._unit_rows(2, 3))
    ) else torch.tensor(0.0),
}  # fmt: skip


def surprise(cosines: np.ndarray, labels: np.ndarray, scale: float) -> float:
    powers = np.exp(scale * (cosines - cosines.max(axis=1, keepdims=True)))
    shares = powers / powers.sum(axis=1, keepdims=True)
    return float(-np.log(shares[np.arange(len(labels)), labels]).mean())


def overflowing(cosines: np.ndarray, labels: np.ndarray, scales: list[float]) -> float:
    powers = [np.exp(scale * cosines) for scale in scales]
    shares = [p[np.arange(len(labels)), labels] / p.sum(axis=1) for p in powers]
    return scales[int(np.argmin([-np.log(share).mean() for share in shares]))]


WRONG_SCALES = {
    "one of the scales": lambda c, y, s: min(surprise(c, y, scale) for scale in s),
    "Does a wrong answer cost": lambda c, y, s: max(s),
    "smallest mean": lambda c, y, s: max(s, key=lambda scale: surprise(c, y, scale))
    if len(s) == 2 else min(s),
    "the true class": lambda c, y, s: min(
        s, key=lambda scale: surprise(c, c.argmax(axis=1), scale)
    ) if c.shape == (2, 2) else threshold.best_scale(c, y, s),
    "maximum subtracted": overflowing,
    "over all of them": lambda c, y, s: threshold.best_scale(c[:8], y[:8], s),
}  # fmt: skip


@wrong_answers(
    (lesson08.swap_words, WRONG_SWAPS),
    (lesson08.right_of_two, WRONG_SHARES),
    (lesson08.loss_with_negatives, WRONG_LOSSES),
    (lesson08.best_scale, WRONG_SCALES),
)
def test_a_wrong_answer_gets_the_right_hint(
    checker: Callable, hint: str, wrong: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    expect_hint(checker, hint, wrong, capsys)


@pytest.fixture(scope="module")
def taught() -> dict[str, Callable]:
    return taught_by("08_limits.ipynb")


@pytest.mark.parametrize("seed", range(3))
def test_what_the_lesson_writes_gives_cliplibs_values(
    taught: dict[str, Callable], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    for caption in ("a red boat and an orange car", "an orange boat to the left of a cat"):
        found = taught["swap_words"](caption, "red", "orange")
        assert found == two_way.swap_words(caption, "red", "orange")
    true, false = rng.random((2, 50)).round(1)
    assert taught["right_of_two"](true, false) == two_way.right_of_two(true, false)
    rows = F.normalize(torch.tensor(rng.normal(size=(14, 6))), dim=1)  # (2B + H, E)
    parts = rows[:5], rows[5:10], rows[10:], torch.tensor(9.0)
    torch.testing.assert_close(
        taught["loss_with_negatives"](*parts), hard_negatives.loss_with_negatives(*parts)
    )
    cosines, labels = rng.uniform(-1, 1, (40, 5)), rng.integers(0, 5, 40)
    scales = [float(scale) for scale in np.geomspace(0.1, 50, 20)]
    assert taught["best_scale"](cosines, labels, scales) == threshold.best_scale(
        cosines, labels, scales
    )
