"""Wrong answers to lesson 07's exercises, and what the lesson writes against cliplib's own."""

import re
from collections.abc import Callable
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hub_cache import tiny_clip
from PIL import Image
from test_checks import LESSONS, expect_hint, namespace_of, taught_by, wrong_answers

from cliplib import regions, space
from cliplib.checkpoint import load_run
from cliplib.checks import lesson07
from cliplib.config import shipped_checkpoint
from cliplib.theirs import TheirCLIP

COLOURS_THERE = ("red", "green", "blue", "white", "black")


@pytest.fixture(autouse=True)
def own_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPLIB_DATA", str(tmp_path))


def projected(f: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
    return torch.einsum("ed,dhw->ehw", p, f)


def dots(f: torch.Tensor, p: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    return torch.einsum("e,ehw->hw", w, projected(f, p))


def own_lengths(f: torch.Tensor, p: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    return torch.einsum("e,ehw->hw", w, F.normalize(projected(f, p), dim=0).nan_to_num())


def length_before_projection(f: torch.Tensor, p: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    return dots(f, p, w) / f.mean(dim=(1, 2)).norm()


def cell(heat: np.ndarray, shift: float = 0.5) -> tuple[float, float]:
    """Across and down."""
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    return (column + shift) / heat.shape[1], (row + shift) / heat.shape[0]


def within(box: tuple, x: float, y: float) -> bool:
    return bool(box[0] <= x <= box[2] and box[1] <= y <= box[3])


def middle(rows: torch.Tensor) -> torch.Tensor:
    return rows.mean(dim=0)


def paired(images: torch.Tensor, texts: torch.Tensor) -> float:
    most = min(len(images), len(texts))
    return (images[:most] - texts[:most]).norm(dim=1).mean().item()


def only_as_many(images: torch.Tensor, texts: torch.Tensor) -> float:
    return (images.sum(dim=0) / len(texts) - texts.mean(dim=0)).norm().item()


def unit_middles(images: torch.Tensor, texts: torch.Tensor) -> float:
    difference = F.normalize(middle(images), dim=0) - F.normalize(middle(texts), dim=0)
    return difference.norm().item()


WRONG_SHARES = {
    "as in the features": lambda f, p, w: regions.place_shares(f, p, w).T,
    "one number for each place": lambda f, p, w: regions.place_shares(f, p, w).mean(),
    "Whose length": own_lengths,
    "parts of a cosine": dots,
    "Should it be their mean": lambda f, p, w: regions.place_shares(f, p, w) / f[0].numel(),
    "projected before": length_before_projection,
    "also speak against": lambda f, p, w: (
        regions.place_shares(f, p, w).relu() if len(f) == 2 else regions.place_shares(f, p, w)
    ),
    "that of the mean over places": lambda f, p, w: (
        dots(f, p, w) / projected(f, p).mean(dim=(1, 2)).square().sum()
    ),
}
WRONG_HITS = {
    "exchanged": lambda h, b: not within(b, *cell(h)),
    "in shares of the picture": lambda h, b: within(b, *(4 * v for v in cell(h))),
    "Is a row how far down": lambda h, b: within(b, *cell(h)[::-1]),
    "Where is the middle of cell": lambda h, b: within(b, *cell(h, 0)),
    "its right and bottom": lambda h, b: within((*b[:2], b[0] + b[2], b[1] + b[3]), *cell(h)),
    "with its sign": lambda h, b: within(b, *cell(np.abs(h))),
    "Does only the largest": lambda h, b: any(
        within(b, (column + 0.5) / 4, (row + 0.5) / 4) for row, column in np.argwhere(h > 0.5)
    ),
    "Which side is left out": lambda h, b: within((*b[:3], 1.0), *cell(h)) and (
        h.shape[0] > 4 or within(b, *cell(h))
    ),
}  # fmt: skip
WRONG_GAPS = {
    "the square of": lambda i, t: (middle(i) - middle(t)).square().sum().item(),
    "Is that a cosine": lambda i, t: (middle(i) @ middle(t)).item(),
    "in pairs": paired,
    "Does N have to be M": only_as_many,
    "bring the middles to length one": unit_middles,
    "Is it a distance": lambda i, t: (middle(i) - middle(t)).norm().item() * (
        1.1 if len(i) > len(t) and len(i) > 2 else 1
    ),
}  # fmt: skip
WRONG_QUERIES = {
    "What must it be": lambda p, a, b, w: p + w * (a - b),
    "Which sign": lambda p, a, b, w: F.normalize(p + w * (a + b), dim=-1),
    "Are they subtracted": lambda p, a, b, w: F.normalize(p + w * a, dim=-1),
    "and not for the picture": lambda p, a, b, w: F.normalize(w * (p + a - b), dim=-1),
    "normalise along E": lambda p, a, b, w: F.normalize(p + w * (a - b), dim=0),
    "plus and minus all in it": lambda p, a, b, w: F.normalize(w * (a - b), dim=-1),
}


@wrong_answers(
    (lesson07.shares, WRONG_SHARES),
    (lesson07.hit, WRONG_HITS),
    (lesson07.gap, WRONG_GAPS),
    (lesson07.query, WRONG_QUERIES),
)
def test_a_wrong_answer_gets_the_right_hint(
    checker: Callable, hint: str, wrong: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    expect_hint(checker, hint, wrong, capsys)


@pytest.fixture(scope="module")
def taught() -> dict[str, Callable]:
    return taught_by("07_look_inside.ipynb")


@pytest.mark.parametrize("seed", range(3))
def test_what_the_lesson_writes_gives_cliplibs_values(
    taught: dict[str, Callable], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    features, projection = (
        torch.tensor(rng.normal(size=(6, 3, 4))),
        torch.tensor(rng.normal(size=(5, 6))),
    )
    three = F.normalize(torch.tensor(rng.normal(size=(3, 5))), dim=1)
    torch.testing.assert_close(
        taught["shares"](features, projection, three[0]),
        regions.place_shares(features, projection, three[0]),
    )
    torch.testing.assert_close(taught["query"](*three, 0.7), space.composed(*three, 0.7))
    maps = torch.tensor(rng.normal(size=(40, 3, 5)))
    corners = np.sort(rng.random((40, 2, 2)), axis=1)
    boxes = [tuple(corner.ravel()) for corner in corners]
    found = [taught["hit"](heat.numpy(), box) for heat, box in zip(maps, boxes, strict=True)]
    assert found == regions.hits(maps, boxes).tolist()
    assert 0 < sum(found) < 40
    images, texts = (F.normalize(torch.tensor(rng.normal(size=(n, 5))), dim=1) for n in (7, 9))
    gap = space.modality_gap(images, texts).norm().item()
    assert taught["gap"](images, texts) == pytest.approx(gap)


def test_the_lessons_walk_is_cliplibs(taught: dict[str, Callable]) -> None:
    model = load_run(shipped_checkpoint()).model
    picture = torch.randn(3, 64, 64, generator=torch.Generator().manual_seed(0))
    words = F.normalize(torch.ones(128), dim=0)
    mine = regions.cell_sums(taught["added"](model, picture, words, 4)[None], 8)
    torch.testing.assert_close(mine, regions.word_map(model, picture[None], words[None], steps=4))


@pytest.mark.parametrize("theirs", [False, True])
def test_the_lessons_search_takes_your_folder_and_any_model(
    theirs: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The cell as it stands, with its first two lines filled in."""
    photos, model = tmp_path / "photos" / "a year", tmp_path / "model"
    photos.mkdir(parents=True)
    model.mkdir()
    for colour in COLOURS_THERE:
        Image.new("RGB", (40, 30), colour).save(photos / f"{colour}.jpg")
    tiny_clip(model)
    cells = {cell.id: cell for cell in LESSONS["07_look_inside.ipynb"].cells}
    source = cells["search"].source.replace("FOLDER = None", f"FOLDER = {str(photos.parent)!r}")
    if theirs:
        source = source.replace("MODEL = None", f"MODEL = {str(model)!r}")
    source = re.sub(r"^QUERIES = .*$", 'QUERIES = ["a red boat"]', source, flags=re.MULTILINE)
    names = namespace_of("07_look_inside.ipynb") | {"run": load_run(shipped_checkpoint())}
    exec(source, names)
    assert sorted(path.stem for path in names["index"].paths) == sorted(COLOURS_THERE)
    assert isinstance(names["searched"].model, TheirCLIP) == theirs
    assert "The best 4 pictures for 1 query" in capsys.readouterr().out
    plt.close("all")
