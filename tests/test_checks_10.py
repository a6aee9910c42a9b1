"""Wrong answers to lesson 10's exercises, mends that do not mend, and what the lesson writes."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_checks import expect_hint, taught_by, wrong_answers

from cliplib import clinic
from cliplib.checks import lesson10
from cliplib.clinic import Chart, toy_ward


@pytest.fixture(autouse=True)
def own_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPLIB_DATA", str(tmp_path))


WRONG_LOGITS = {
    "or a temperature": lambda i, t, s: i @ t.T / s.exp(),
    "the scale, or its logarithm?\n": lambda i, t, s: s * i @ t.T,
    "And does it divide": lambda i, t, s: i @ t.T / s,
    "Where is the scale": lambda i, t, s: i @ t.T,
    "Which factor": lambda i, t, s: 2 * s.exp() * i @ t.T,
    "every picture against": lambda i, t, s: s.exp() * (i * t).sum(dim=1),
    "transposed": lambda i, t, s: s.exp() * t @ i.T,
    "cut it off": lambda i, t, s: s.exp().item() * i @ t.T,
    "hold it up": lambda i, t, s: (s.exp() if len(i) == 5 else s.exp() / 200) * i @ t.T,
}


def parts(rows: np.ndarray, pairs: int) -> list[np.ndarray]:
    return [rows[start : start + pairs] for start in range(0, len(rows) - pairs + 1, pairs)]


def five_rounds(owner: np.ndarray, pairs: int, seed: int) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    rounds = [5 * random.permutation(len(owner) // 5) + caption for caption in range(5)]
    return [rows for each in rounds for rows in parts(each, pairs)]


def right(owner: np.ndarray, pairs: int, seed: int) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    pictures = random.permutation(owner.max() + 1)
    return parts(5 * pictures + random.integers(0, 5, len(pictures)), pairs)


WRONG_BATCHES = {
    "in file order": lambda o, b, s: parts(np.arange(len(o)), b),
    "makes it impossible": lambda o, b, s: parts(
        np.random.default_rng(s).permutation(len(o)), b
    ),
    "the rest left out": lambda o, b, s: right(o, 2 * b, s),
    "each come once": five_rounds,
    "the seed alone": lambda o, b, s: right(o, b, np.random.randint(2**31)),
    "is it shuffled": lambda o, b, s: parts(
        5 * np.arange(40) + np.random.default_rng(s).integers(0, 5, 40), b
    ),
    "one drawn": lambda o, b, s: parts(5 * np.random.default_rng(s).permutation(40), b),
    "the floor of 1.54": lambda o, b, s: right(o, b, s) if len(o) == 200 else parts(
        np.arange(len(o)), b
    ),
}  # fmt: skip

IMAGENET = torch.tensor((0.485, 0.456, 0.406)), torch.tensor((0.229, 0.224, 0.225))


def constants(encoder: object) -> tuple[torch.Tensor, torch.Tensor]:
    return tuple(torch.tensor(encoder.data_config[name]) for name in ("mean", "std"))


def values(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(pixels)).float() / 255


def plain(pixels: np.ndarray, mean: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    return ((values(pixels) - mean) / std).permute(0, 3, 1, 2)


WRONG_PIXELS = {
    "channels stand second": lambda p, e: plain(p, *constants(e)).permute(0, 2, 3, 1),
    "not reshape": lambda p, e: plain(p, *constants(e)).permute(0, 2, 3, 1).reshape(
        len(p), 3, *p.shape[1:3]
    ),
    "belong to 0 … 1": lambda p, e: plain(p, *constants(e)) * 255,
    "ImageNet's usual": lambda p, e: plain(p, *IMAGENET),
    "RGB already": lambda p, e: plain(p[..., ::-1], *constants(e)),
    "the deviation a divisor": lambda p, e: plain(p, constants(e)[0], 1 / constants(e)[1]),
    "deviation missing": lambda p, e: plain(p, torch.zeros(3), torch.ones(3)),
    "Mean first": lambda p, e: (values(p) / constants(e)[1] - constants(e)[0]).permute(0, 3, 1, 2),
    "change places": lambda p, e: plain(p, *constants(e)).flip(2),
}  # fmt: skip


def look(chart: Chart, *left_out: str, start: float = 1.5, end: float = 0.9) -> str:
    """The right answer with some lines left out, or with other bounds."""
    log_b = math.log(chart.pairs)
    signs = {
        "one pair": chart.pairs < 2,
        "nothing moves": chart.moved < 1e-6,
        "starts wrong": chart.losses[0] > start * log_b,
        "stays at a guess": chart.losses[-1] > end * log_b,
        "wrong pairs": chart.recall_1 < 10 / chart.gallery,
        "counted wrongly": chart.claimed > 1.15 * chart.recall_1,
    }
    found = [name for name, shown in signs.items() if shown and name not in left_out]
    return found[0] if found else "no sign"


WRONG_LOOKS = {
    "come to the last line": lambda chart: "stays at a guess",
    "before all else": lambda c: look(c, "one pair"),
    "before the loss": lambda c: look(c, "nothing moves"),
    "1.5 times log B": lambda c: look(c, "starts wrong"),
    "0.9 times log B": lambda c: look(c, "stays at a guess"),
    "ten times chance": lambda c: look(c, "wrong pairs"),
    "1.15 times": lambda c: look(c, "counted wrongly"),
    "shares of log B": lambda c: look(
        replace(c, losses=tuple(x / math.log(128) * math.log(max(c.pairs, 2)) for x in c.losses))
    ),
}


@wrong_answers(
    (lesson10.logits_of, WRONG_LOGITS),
    (lesson10.batches, WRONG_BATCHES),
    (lesson10.prepare, WRONG_PIXELS),
    (lesson10.first_look, WRONG_LOOKS),
)
def test_a_wrong_answer_gets_the_right_hint(
    checker: Callable, hint: str, wrong: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    expect_hint(checker, hint, wrong, capsys)


OWN_WAYS = {  # written otherwise than the course's mend
    1: ("return F.cross", "return 0.5 * F.cross_entropy(logits.T, own) + 0.5 * F.cross"),
    2: ("texts.T / log_scale.exp()", "texts.T * log_scale.exp()"),
    7: ("texts = texts[: len(images)]", "texts = torch.cat([texts[:2], texts[3:]])"),
    5: ("DataLoader(pairs, shuffle", "DataLoader(pairs, 64, shuffle"),
}


@pytest.mark.parametrize("number", OWN_WAYS)
def test_a_mend_in_other_words_is_a_mend(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    lesson10.operate(toy_ward(), number, *OWN_WAYS[number])
    assert capsys.readouterr().out.startswith(f"[x] case {number:02d}: well. recall@1 ")


NO_MENDS = {
    "nothing was exchanged": (1, "", ""),
    "stands 0 times": (1, "no such piece", ""),
    "NameError": (1, "return F.cross", "return G.cross"),
    "every sign is as it was": (2, "images @ texts.T /", "(images @ texts.T) /"),
    "Who is not asked yet": (1, "cross_entropy(logits,", "cross_entropy(logits.T,"),
    "not finite numbers": (2, "/ log_scale.exp()", "* log_scale.exp() * float('nan')"),
    "What is log B here": (2, "/ log_scale.exp()", "* log_scale.exp() ** 3"),
    "can be had": (2, "/ log_scale.exp()", "* 0.01"),
    "know or leave out": (14, "len(images), 16)", "16, 16)"),
}


@pytest.mark.parametrize("told", NO_MENDS)
def test_what_does_not_mend_is_told(told: str, capsys: pytest.CaptureFixture[str]) -> None:
    lesson10.operate(toy_ward(), *NO_MENDS[told])
    out = capsys.readouterr().out
    assert out.startswith(("[!]", "[ ]")) and told in out


@pytest.fixture(scope="module")
def taught() -> dict[str, Callable]:
    return taught_by("10_clinic.ipynb")


def test_what_the_lesson_writes_gives_cliplibs_values(taught: dict[str, Callable]) -> None:
    for chart in lesson10.CHARTS.values():
        assert taught["first_look"](chart) == clinic.first_sign(chart)
    owner = np.repeat(np.arange(90), 5)
    whole = lesson10.mended(9).batches(owner, 8, 4)
    assert np.array_equal(whole, taught["batches"](owner, 8, 4)) and len(whole) == 11
    pixels = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 3), np.uint8)
    found = taught["prepare"](pixels, lesson10.PALE)
    torch.testing.assert_close(found, plain(pixels, *constants(lesson10.PALE)))
    torch.testing.assert_close(found, lesson10.mended(10).prepare(pixels, lesson10.PALE))
