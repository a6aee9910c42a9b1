"""Lesson 02's checkers: solutions pass, stubs are not attempted, wrong answers get their hint.

The functions that the lesson teaches give the same values as cliplib's.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cliplib import encoders
from cliplib.checks import lesson02, passed
from cliplib.config import COURSE
from cliplib.data import TokenTable
from cliplib.model import CLIP

CELLS = nbformat.read(COURSE / "notebooks" / "02_encoders.ipynb", as_version=4).cells
EXERCISES = ("normalise_pixels", "fit_batch", "masked_max", "neighbour_share")
CHECKERS = {name: getattr(lesson02, name) for name in EXERCISES}


def defined_in(sources: list[str], name: str) -> Callable:
    """The function of that name as the first source with it defines it; nothing else is run."""
    for source in sources:
        for node in ast.parse(source).body:
            if isinstance(node, ast.FunctionDef) and node.name == name:
                namespace = {"torch": torch, "F": F}
                exec(compile(ast.Module([node], []), name, "exec"), namespace)
                return namespace[name]
    pytest.fail(f"Lesson 02 defines no {name}.")


def taught(name: str) -> Callable:
    return defined_in([cell.source for cell in CELLS if cell.cell_type == "code"], name)


def solution(name: str) -> Callable:
    text = "\n".join(cell.source for cell in CELLS if cell.cell_type == "markdown")
    return defined_in(re.findall(r"```python\n(.*?)```", text, re.DOTALL), name)


@pytest.fixture(autouse=True)
def own_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPLIB_DATA", str(tmp_path))


def verdict(name: str, yours: Callable, capsys: pytest.CaptureFixture) -> str:
    CHECKERS[name](yours)
    return capsys.readouterr().out.strip()


@pytest.mark.parametrize("number", range(len(EXERCISES)))
def test_the_solution_passes(number: int, capsys: pytest.CaptureFixture) -> None:
    name = EXERCISES[number]
    said = verdict(name, solution(name), capsys)
    assert re.fullmatch(r"\[x\] passed (\d) of \1", said), said
    assert passed() == {f"02.{number + 1}"}


@pytest.mark.parametrize("name", EXERCISES)
def test_the_stub_is_not_attempted(name: str, capsys: pytest.CaptureFixture) -> None:
    assert verdict(name, taught(name), capsys) == "[ ] not attempted yet"
    assert passed() == set()


def normalised(pixels: Tensor, mean: list[float], std: list[float]) -> Tensor:
    return (pixels / 255 - torch.tensor(mean)) / torch.tensor(std)  # (B, H, W, 3)


def in_place(pixels: Tensor, mean: list[float], std: list[float]) -> Tensor:
    result = normalised(pixels, mean, std).permute(0, 3, 1, 2)
    pixels.zero_()
    return result


WRONG_PIXELS = {
    "axes not moved": (normalised, "Which axis holds the colours"),
    "whole numbers": (
        lambda p, m, s: normalised(p, m, s).permute(0, 3, 1, 2).to(torch.int64),
        "Can whole numbers hold",
    ),
    "not divided by 255": (
        lambda p, m, s: normalised(p * 1.0 * 255, m, s).permute(0, 3, 1, 2),
        "Did you divide by 255",
    ),
    "mean forgotten": (
        lambda p, m, s: normalised(p, [0.0] * 3, s).permute(0, 3, 1, 2),
        "then take the mean away",
    ),
    "one mean for all": (
        lambda p, m, s: normalised(p, [m[0]] * 3, [s[0]] * 3).permute(0, 3, 1, 2),
        "its own mean and deviation",
    ),
    "reshaped": (
        lambda p, m, s: normalised(p, m, s).reshape(len(p), 3, *p.shape[1:3]),
        "with permute",
    ),
    "height and width exchanged": (
        lambda p, m, s: normalised(p, m, s).permute(0, 3, 2, 1).reshape(len(p), 3, *p.shape[1:3]),
        "with permute",
    ),
    "in place": (in_place, "Is something done in place"),
}


def padded(ids: list[list[int]], pad: int, longest: int) -> Tensor:
    return torch.tensor([(row + [pad] * longest)[:longest] for row in ids])


def cut(ids: list[list[int]], most: int, end: int = 0) -> list[list[int]]:
    ends = [[end] if end else row[-1:] for row in ids]
    return [
        row if len(row) <= most else row[: most - 1] + last
        for row, last in zip(ids, ends, strict=True)
    ]


def masked(ids: list[list[int]], longest: int) -> Tensor:
    return torch.tensor([[int(at < len(row)) for at in range(longest)] for row in ids])


def fitted(
    ids: list[list[int]], pad: int, most: int, end: int = 0, to_most: bool = False
) -> tuple[Tensor, Tensor]:
    rows = cut(ids, most, end)
    longest = most if to_most else max(map(len, rows))
    return padded(rows, pad, longest), masked(rows, longest)


def mask_from_ids(ids: list[list[int]], pad: int, most: int) -> tuple[Tensor, Tensor]:
    batch, _ = fitted(ids, pad, most)
    return batch, (batch != pad).long()


def tail_lost(ids: list[list[int]], pad: int, most: int) -> tuple[Tensor, Tensor]:
    return fitted([row[:most] for row in ids], pad, most)


def not_cut(ids: list[list[int]], pad: int, most: int) -> tuple[Tensor, Tensor]:
    return fitted(ids, pad, 99)


def mask_reversed(ids: list[list[int]], pad: int, most: int) -> tuple[Tensor, Tensor]:
    batch, mask = fitted(ids, pad, most)
    return batch, 1 - mask


WRONG_BATCHES = {
    "no mask": (lambda i, p, m: fitted(i, p, m)[0], "ids, mask"),
    "always padded to the most": (
        lambda i, p, m: fitted(i, p, m, to_most=True),
        "Is L the longest row",
    ),
    "not cut": (not_cut, "Do you cut before"),
    "mask from ids": (mask_from_ids, "Does the mask come from lengths"),
    "mask reversed": (mask_reversed, "Is a token 1, padding 0"),
    "always padded with 0": (lambda i, p, m: fitted(i, 0, m), "is it the id that was given"),
    "padding in front": (
        lambda i, p, m: tuple(x.flip(1) for x in fitted([r[::-1] for r in i], p, m)),
        "Does the padding stand behind",
    ),
    "cut at the end": (tail_lost, "end in its own last id"),
    "end always 3": (lambda i, p, m: fitted(i, p, m, end=3), "in any vocabulary"),
}


def filled(hidden: Tensor, mask: Tensor, value: float) -> Tensor:
    return hidden.masked_fill(mask[:, :, None] == 0, value)


def max_in_place(hidden: Tensor, mask: Tensor) -> Tensor:
    return hidden.masked_fill_(mask[:, :, None] == 0, float("-inf")).amax(1)


WRONG_MAXIMA = {
    "mask forgotten": (lambda h, m: h.amax(1), "Where do you use the mask"),
    "padding set to 0": (lambda h, m: filled(h, m, 0.0).amax(1), "Is padding set to 0"),
    "over features": (lambda h, m: filled(h, m, -9e9).amax(2), "Along which axis"),
    "values and places": (lambda h, m: tuple(filled(h, m, -9e9).max(1)), "only the values"),
    "mean": (lambda h, m: encoders.masked_mean(h, m), "maximum of each feature"),
    "in place": (max_in_place, "Is something done in place"),
}


def share(vectors: Tensor, labels: list[str], unit: bool = True, diagonal: float = -2.0) -> float:
    rows = F.normalize(vectors, dim=1) if unit else vectors
    found = (rows @ rows.T).fill_diagonal_(diagonal).argmax(1).tolist()
    return sum(labels[i] == labels[j] for i, j in enumerate(found)) / len(labels)


def farthest(vectors: Tensor, labels: list[str]) -> float:
    rows = F.normalize(vectors, dim=1)
    found = (rows @ rows.T).fill_diagonal_(2).argmin(1).tolist()
    return sum(labels[i] == labels[j] for i, j in enumerate(found)) / len(labels)


WRONG_SHARES = {
    "its own neighbour": (lambda v, labels: share(v, labels, diagonal=2), "its own"),
    "not normalised": (
        lambda v, labels: share(v, labels, unit=False, diagonal=-9e9),
        "Did you normalise",
    ),
    "farthest": (farthest, "expected 0.80"),
    "a count": (lambda v, labels: share(v, labels) * len(labels), "expected 0.80"),
    "labels only of the first half": (lambda v, labels: share(v, labels) / 2, "expected 0.80"),
}

WRONG = {
    "normalise_pixels": WRONG_PIXELS,
    "fit_batch": WRONG_BATCHES,
    "masked_max": WRONG_MAXIMA,
    "neighbour_share": WRONG_SHARES,
}


@pytest.mark.parametrize(
    ("name", "mistake"), [(name, mistake) for name in WRONG for mistake in WRONG[name]]
)
def test_a_wrong_answer_gets_its_hint(
    name: str, mistake: str, capsys: pytest.CaptureFixture
) -> None:
    yours, hint = WRONG[name][mistake]
    said = verdict(name, yours, capsys)
    assert said.startswith("[!]") and hint in said, said
    assert passed() == set()


def test_the_taught_batch_is_the_librarys() -> None:
    ids = [[2, 7, 9, 3], [2, 3], [2, 5, 0, 6, 8, 3]]
    theirs = TokenTable(ids, pad_id=4).batch(range(3))
    for own, library in zip(taught("pad_batch")(ids, 4), theirs, strict=True):
        assert torch.equal(own, library)


def test_the_taught_mean_is_the_librarys() -> None:
    torch.manual_seed(0)
    hidden, mask = torch.randn(3, 6, 5), masked([[1] * 6, [1] * 2, [1]], 6)
    own = taught("masked_mean")(hidden, mask)
    assert torch.allclose(own, encoders.masked_mean(hidden, mask), atol=1e-7)
    assert not torch.allclose(own, hidden.mean(1), atol=1e-2), "else the test could not fail"


class Wide(nn.Module):
    width = 12


def test_the_taught_projection_is_the_models() -> None:
    torch.manual_seed(0)
    model, features = CLIP(Wide(), Wide(), 7).eval(), torch.randn(5, 12)
    with torch.no_grad():
        images = taught("project")(features, model.image_projection.weight)
        texts = taught("project")(features, model.text_projection.weight)
        assert torch.allclose(images, model.encode_image(features), atol=1e-6)
        assert torch.allclose(texts, model.encode_text(features), atol=1e-6)
