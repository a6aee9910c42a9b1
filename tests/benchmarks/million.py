"""Search at a million beside faiss's exact index: time as ratios, memory, and half precision.

    pip install faiss-cpu
    python tests/benchmarks/million.py
    python tests/benchmarks/million.py recall

A million unit vectors of 512 numbers lie in a memory-mapped file (2 GB, and 1 GB more in float16)
in a temporary folder; both search it for the top 10, in turns, with two threads each, and the best
of their rounds counts. faiss has its own copy of the table in memory; ours is what lies on disk,
in the system's cache. Memory is a fresh process's own, beside the table. The second command says
what float16 costs in recall on Flickr8k's test split, with the laptop profile.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cliplib.config import LAPTOP
from cliplib.data import ensure
from cliplib.evaluate import embed_split, prepare_split
from cliplib.nearest import closest
from cliplib.retrieval import recalls
from cliplib.train import ready_run

ROWS, WIDTH, TOP = 1_000_000, 512, 10
AT_ONCE = 50_000  # rows that are made and written together
ROUNDS = {1: 20, 100: 3, 1000: 2}  # queries: rounds
FILES = {"float32": "whole.npy", "float16": "half.npy"}

Search = Callable[[Tensor], tuple[np.ndarray, np.ndarray]]  # (Q, E) to scores and rows (Q, 10)


def write_tables(folder: Path, rows: int) -> None:
    random = torch.Generator().manual_seed(0)
    tables = {
        name: np.lib.format.open_memmap(folder / file, "w+", np.dtype(name), (rows, WIDTH))
        for name, file in FILES.items()
    }
    for start in range(0, rows, AT_ONCE):
        count = min(AT_ONCE, rows - start)
        part = F.normalize(torch.randn(count, WIDTH, generator=random), dim=1)
        for name, table in tables.items():
            table[start : start + count] = part.to(getattr(torch, name)).numpy()


def some_queries(count: int) -> Tensor:
    return F.normalize(torch.randn(1000, WIDTH, generator=torch.Generator().manual_seed(1)), dim=1)[
        :count
    ]


def mapped(folder: Path, name: str) -> Tensor:
    """Mode "c" never writes to the file, and torch takes it without a copy or a warning."""
    return torch.from_numpy(np.load(folder / FILES[name], mmap_mode="c"))


def ours(table: Tensor) -> Search:
    def search(queries: Tensor) -> tuple[np.ndarray, np.ndarray]:
        scores, rows = closest(queries, table, TOP)
        return scores.numpy(), rows.numpy()

    return search


def theirs(folder: Path) -> Search:
    import faiss  # only here: a process whose memory is measured does without

    faiss.omp_set_num_threads(2)
    table = np.load(folder / FILES["float32"], mmap_mode="r")
    index = faiss.IndexFlatIP(WIDTH)
    for start in range(0, len(table), AT_ONCE):
        index.add(table[start : start + AT_ONCE])
    return lambda queries: index.search(queries.numpy(), TOP)


def in_words(found: tuple[np.ndarray, np.ndarray], exact: tuple[np.ndarray, np.ndarray]) -> str:
    """How far answers agree with the exact ones."""
    kept = np.mean([len(set(a) & set(b)) / TOP for a, b in zip(found[1], exact[1], strict=True)])
    same = (found[1] == exact[1]).mean()
    error = np.abs(found[0] - exact[0]).max()
    return f"{kept:8.3%} of the top 10, {same:8.3%} in place, scores to {error:.0e}"


def extra_memory(folder: Path, name: str, queries: int) -> float:
    command = [sys.executable, __file__, str(folder), name, str(queries)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def anonymous() -> float:
    """MB of this process that are no file's pages; Linux."""
    told = Path("/proc/self/status").read_text()
    return int(told.split("RssAnon:")[1].split()[0]) / 1000


def print_memory(folder: Path, name: str, queries: int) -> None:
    """The most that one search takes beside the table: a thread looks every few milliseconds."""
    from threading import Event, Thread

    search, asked, done, seen = ours(mapped(folder, name)), some_queries(queries), Event(), []

    def look() -> None:
        while not done.wait(0.005):
            seen.append(anonymous())

    before = anonymous()
    watch = Thread(target=look)
    watch.start()
    search(asked)
    done.set()
    watch.join()
    print(max(seen) - before)


def compare(folder: Path, counts: list[int]) -> None:
    forms = {
        "faiss": theirs(folder),
        **{name: ours(mapped(folder, name)) for name in FILES},
    }
    for count in counts:
        best, found, asked = dict.fromkeys(forms, float("inf")), {}, some_queries(count)
        for _ in range(ROUNDS[count]):
            for name, search in forms.items():
                started = time.perf_counter()
                found[name] = search(asked)
                best[name] = min(best[name], time.perf_counter() - started)
        for name, seconds in best.items():
            told = f"{count:5,} queries  {name:8} {1e3 * seconds:9,.0f} ms"
            if name != "faiss":
                told += f" {seconds / best['faiss']:6.2f} of faiss "
                told += f"{extra_memory(folder, name, count):5.0f} MB  "
                told += in_words(found[name], found["faiss"])
            print(told, flush=True)


def print_recall() -> None:
    run = ready_run(LAPTOP)
    folder = ensure("flickr8k", progress=False)
    test = prepare_split(run.profile, run.model, run.tokenizer, folder, "test", progress=False)
    images, texts = embed_split(run.model, test)  # (N, E), (M, E)
    for name in FILES:
        kept = images.to(getattr(torch, name)).float()
        found = recalls((texts @ kept.T).numpy(), test.pairs.caption_image)
        told = ", ".join(f"{way} {100 * found[way]:.2f}" for way in ("t2i_r1", "t2i_r5", "t2i_r10"))
        print(f"{name:8} {told} % among {len(images):,}")


def main() -> None:
    print(f"torch {torch.__version__}, numpy {np.__version__}, {torch.get_num_threads()} threads")
    with tempfile.TemporaryDirectory() as folder:
        write_tables(Path(folder), ROWS)
        compare(Path(folder), list(ROUNDS))


if __name__ == "__main__":
    torch.set_num_threads(2)
    if sys.argv[1:] == ["recall"]:
        print_recall()
    elif len(sys.argv) == 4:
        print_memory(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
    else:
        main()
