"""The closest rows, block by block, against a plain sort of the whole matrix and against faiss."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path

import faiss
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from threadpoolctl import ThreadpoolController, threadpool_limits
from torch import Tensor

from cliplib import nearest
from cliplib.nearest import BLOCK, BLOCKS_OF_ONE, GROUP, closest

SIZES = [1, GROUP - 1, GROUP + 1, BLOCK, 2 * BLOCK + 7, BLOCK * BLOCKS_OF_ONE + 33]


def rows(count: int, width: int = 16, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(count, width, generator=generator), dim=1)


def steps(count: int, width: int = 4, seed: int = 0) -> Tensor:
    """Rows of few small whole numbers: their products are exact, and many are equal."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-2, 3, (count, width), generator=generator).float()


def plain(queries: Tensor, gallery: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Sorts the whole matrix, of float64; equal scores stay in the order of their rows."""
    scores = queries.double() @ gallery.double().T  # (Q, N)
    order = scores.argsort(dim=1, descending=True, stable=True)[:, :k]
    return scores.gather(1, order), order


def expect_equal(found: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor]) -> None:
    torch.testing.assert_close(found[0].double(), expected[0], rtol=0, atol=1e-5)
    assert torch.equal(found[1], expected[1])


@pytest.mark.parametrize("k", [1, 10, 100])
@pytest.mark.parametrize("queries", [1, 2, 37])
@pytest.mark.parametrize("count", SIZES)
def test_equals_a_sort_of_the_whole_matrix(count: int, queries: int, k: int) -> None:
    asked, gallery = rows(queries, seed=1), rows(count, seed=2)
    expect_equal(closest(asked, gallery, k), plain(asked, gallery, k))


def test_one_query_is_a_vector_and_its_answers_too() -> None:
    gallery = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    scores, found = closest(torch.tensor([0.0, 1.0]), gallery, 2)
    assert found.tolist() == [2, 1] and scores.tolist() == pytest.approx([1.0, 0.8])
    assert len(closest(torch.tensor([0.0, 1.0]), gallery, 9)[0]) == 3
    assert closest(torch.empty(0, 2), gallery, 2)[1].shape == (0, 2)
    assert closest(torch.ones(3, 2), gallery[:0], 2)[1].shape == (3, 0)


@pytest.mark.parametrize("queries", [1, 5])
@pytest.mark.parametrize("k", [1, 10, 700])
def test_of_equal_scores_the_row_further_up_comes_first(queries: int, k: int) -> None:
    asked, gallery = steps(queries, seed=1), steps(17 * BLOCK + 5)
    expect_equal(closest(asked, gallery, k), plain(asked, gallery, k))
    same = torch.ones(3 * BLOCK, 4)
    assert closest(torch.ones(queries, 4), same, k)[1].tolist() == [list(range(k))] * queries


@pytest.mark.parametrize("best", ["last", "first"])
def test_a_gallery_sorted_by_score_is_searched_as_any_other(best: str) -> None:
    """Where the best come last, each block is better than all before it."""
    gallery = torch.linspace(0, 1, 5 * BLOCK + 1)[:, None] * torch.ones(1, 2)
    gallery = gallery if best == "last" else gallery.flip(0)
    asked = torch.tensor([[1.0, 0.0], [0.0, -1.0], [0.5, 0.5]])
    expect_equal(closest(asked, gallery, 12), plain(asked, gallery, 12))


@pytest.mark.parametrize("queries", [1, 3])
def test_a_row_of_no_numbers_is_told(queries: int) -> None:
    gallery = torch.full((5, 4), float("nan"))
    with pytest.raises(ValueError, match="cosines are not finite"):
        closest(rows(queries, 4), gallery, 2)


@pytest.mark.parametrize("queries", [1, 3])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_one_number_that_is_none_far_down_is_told(value: float, queries: int) -> None:
    gallery = rows(2 * BLOCK * BLOCKS_OF_ONE, 4)
    gallery[-BLOCK] = value
    with pytest.raises(ValueError, match="cosines are not finite"):
        closest(rows(queries, 4).abs(), gallery, 2)


def threads() -> list[int]:
    """PyTorch's, here and in a new thread, and those of each library that it and NumPy brought."""
    libraries = ThreadpoolController().info()
    with ThreadPoolExecutor(1) as pool:
        there = pool.submit(torch.get_num_threads).result()
    return [torch.get_num_threads(), there, *[library["num_threads"] for library in libraries]]


@pytest.fixture
def two_threads() -> Iterator[None]:
    """Whatever the machine has."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    with threadpool_limits(2):
        assert set(threads()) == {2}
        yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("broken", [False, True])
@pytest.mark.usefixtures("two_threads")
def test_a_search_leaves_the_threads_of_both_libraries_as_they_were(broken: bool) -> None:
    gallery = rows(3 * BLOCK)
    if broken:
        gallery[:] = float("nan")
    with pytest.raises(ValueError) if broken else nullcontext():
        closest(rows(50), gallery, 3)
    assert set(threads()) == {2}


@pytest.mark.usefixtures("two_threads")
def test_searches_from_several_threads_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each would otherwise restore the threads that another had set."""
    searched: list[float] = []  # a number of each block's queries, by which they are known

    def multiply(
        queries: np.ndarray, *rest: object, original: Callable = nearest._multiply
    ) -> None:
        searched.append(float(queries[0, 0]))
        original(queries, *rest)

    monkeypatch.setattr(nearest, "_multiply", multiply)
    gallery, asked = rows(20 * BLOCK), [rows(3, seed=seed) for seed in range(8)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda queries: closest(queries, gallery, 5), asked))
    for queries, answers in zip(asked, found, strict=True):
        expect_equal(answers, plain(queries, gallery, 5))
    changes = [before for before, after in pairwise(searched) if before != after]
    assert len(searched) == 8 * 10 and len(changes) == 7
    assert set(threads()) == {2}


def test_more_queries_than_one_reading_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "QUERIES", 3)
    asked, gallery = rows(7, seed=1), rows(100)
    expect_equal(closest(asked, gallery, 4), plain(asked, gallery, 4))


@pytest.mark.parametrize("queries", [1, 4])
def test_a_half_precision_gallery_is_multiplied_in_float32(queries: int) -> None:
    asked, gallery = rows(queries, 64, seed=1), rows(BLOCK * BLOCKS_OF_ONE + 9, 64).half()
    expect_equal(closest(asked, gallery, 10), plain(asked, gallery, 10))


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_a_table_on_disk_is_mapped_and_left_as_it_is(tmp_path: Path, dtype: type) -> None:
    gallery = rows(3 * BLOCK + 1)
    np.save(tmp_path / "table.npy", gallery.numpy().astype(dtype))
    before = (tmp_path / "table.npy").read_bytes()
    (tmp_path / "table.npy").chmod(0o444)
    mapped = torch.from_numpy(np.load(tmp_path / "table.npy", mmap_mode="c"))
    asked = rows(5, seed=1)
    expect_equal(closest(asked, mapped, 10), plain(asked, mapped, 10))
    assert (tmp_path / "table.npy").read_bytes() == before


@pytest.mark.parametrize("queries", [1, 50])
def test_equals_faiss(queries: int) -> None:
    asked, gallery = rows(queries, 512, seed=1), rows(20_000, 512)
    other = faiss.IndexFlatIP(512)
    other.add(gallery.numpy())
    scores, found = other.search(asked.numpy(), 10)
    expect_equal(closest(asked, gallery, 10), (torch.tensor(scores).double(), torch.tensor(found)))


@pytest.mark.parametrize(
    ("queries", "gallery", "k", "told"),
    [
        ((2, 3), (5, 4), 1, r"not \(2, 3\) and \(5, 4\)"),
        ((1, 2, 4), (5, 4), 1, r"not \(1, 2, 4\)"),
        ((4,), (4,), 1, r"the gallery \(N, E\)"),
        ((4,), (5, 4), 0, "at least 1, not 0"),
    ],
)
def test_what_does_not_fit_is_told(
    queries: tuple[int, ...], gallery: tuple[int, ...], k: int, told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        closest(torch.ones(queries), torch.ones(gallery), k)


PEAK = """
import torch
from cliplib.memory import peak_memory
from cliplib.nearest import closest

CPU = torch.device("cpu")

def plain(queries, gallery, k):
    return torch.topk(queries @ gallery.float().T, k)

random = torch.Generator().manual_seed(0)
gallery = torch.randn(100_000, 512, generator=random).to(torch.DTYPE)
queries = torch.randn(100, 512, generator=random)
open("/proc/self/clear_refs", "w").write("5")  # the peak counts from here on
FORM(queries[:3], gallery[:3000], 3)
before = peak_memory(CPU)
FORM(queries, gallery, 10)
FORM(queries[0], gallery, 10)
print((peak_memory(CPU) - before) / 1e6)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Peak memory is read from Linux's /proc.")
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_memory_does_not_grow_with_the_gallery(dtype: str) -> None:
    """100,000 rows have 205 MB in float32, their scores for 100 queries 40 MB."""
    found = {}
    for form in ("closest", "plain"):
        program = PEAK.replace("FORM", form).replace("DTYPE", dtype)
        ran = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        )
        found[form] = float(ran.stdout)
    assert found["closest"] < 20 and found["plain"] > 39, found


def test_half_precision_is_not_slow() -> None:
    """It took ninety times as long while NumPy multiplied what PyTorch had converted."""
    gallery, queries = F.normalize(torch.randn(50_000, 512), dim=1), torch.randn(4, 512)
    best = {}
    for table in (gallery, gallery.half()):
        seconds = []
        for query in queries:
            started = time.perf_counter()
            closest(query, table, 10)
            seconds.append(time.perf_counter() - started)
        best[table.dtype] = min(seconds)
    assert best[torch.float16] < 15 * best[torch.float32], best
