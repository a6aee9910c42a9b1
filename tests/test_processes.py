"""Several processes as one training, by gloo on CPUs: torchrun starts them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from cliplib import processes
from cliplib.checkpoint import METRICS
from cliplib.config import COURSE
from cliplib.storage import read_tensors
from cliplib.trainer import STATE

PROGRAM = str(Path(__file__).parent / "two_processes.py")
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A data folder for this module, and a core for each process."""
    data = str(tmp_path_factory.mktemp("data"))
    return os.environ | {"CLIPLIB_DATA": data, "PYTHONPATH": str(COURSE), "OMP_NUM_THREADS": "1"}


def run(
    environment: dict[str, str], *arguments: object, launcher: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *launcher, PROGRAM, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)


def free_port() -> str:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return str(asked.getsockname()[1])


def tensors(path: Path) -> dict[str, Tensor]:
    return read_tensors(path)[0]


@pytest.mark.parametrize(("data", "chunk_size"), [("book", 0), ("book", 3), ("shards", 0)])
def test_two_processes_train_what_one_trains(
    environment: dict[str, str], tmp_path: Path, data: str, chunk_size: int
) -> None:
    """After 20 steps of 16 pairs, 8 in each process: the same weights, in both of them."""
    given = [tmp_path / "shards"] if data == "shards" else []
    for folder in given:
        assert run(environment, "shards", folder).returncode == 0
    for launcher in ((), TORCHRUN):
        ran = run(environment, "weights", tmp_path, chunk_size, *given, launcher=launcher)
        assert ran.returncode == 0, ran.stderr
    alone, first, second = (
        tensors(tmp_path / f"{name}.safetensors") for name in ("0-of-1", "0-of-2", "1-of-2")
    )
    assert alone["loss"] < 2.72, "else nothing was learned: log 16 is 2.77"
    for name, expected in alone.items():
        torch.testing.assert_close(first[name], expected, rtol=0, atol=1e-6)
        assert torch.equal(first[name], second[name]), name


def test_the_command_stops_goes_on_and_speaks_with_one_voice(
    environment: dict[str, str], tmp_path: Path
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    ran = run(environment, "command", "--out", whole, "--no-test", launcher=TORCHRUN)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count('"val_t2i_r1"') == ran.stdout.count("The model is in") == 1
    assert "100%" in ran.stderr and ran.stderr.count("320/320") <= 2, "one bar"
    stopped = run(
        environment, "command", "--out", cut, "--max-minutes", "0.0001", "--no-test",
        launcher=TORCHRUN,
    )  # fmt: skip
    assert stopped.returncode == 0, stopped.stderr
    assert stopped.stdout.count("Time is up after 1 of 5 epochs") == 1
    kept = tensors(cut / STATE)
    assert not torch.equal(kept["random"], kept["random1"]), "they drop differently"
    gone_on = run(environment, "command", "--out", cut, "--resume", "--no-test", launcher=TORCHRUN)
    assert gone_on.returncode == 0, gone_on.stderr
    assert (cut / METRICS).is_file() and not (cut / STATE).exists()
    one, other = (tensors(folder / "model.safetensors") for folder in (whole, cut))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_process_that_dies_ends_the_run_with_a_sentence(
    environment: dict[str, str], tmp_path: Path
) -> None:
    port, started = free_port(), []
    for rank in range(2):
        own = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
        own |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        command = [sys.executable, PROGRAM, "dying", "--out", str(tmp_path / "run"), "--no-test"]
        started.append(
            subprocess.Popen(command, env=environment | own, stderr=subprocess.PIPE, text=True)
        )
    _, told = started[0].communicate(timeout=300)
    assert started[1].wait(timeout=60) == 3
    assert started[0].returncode == 1
    assert "Process 0 of 2 lost another one" in told and "--resume" in told
    assert "Traceback" not in told


def test_a_notebook_launches_two(environment: dict[str, str], tmp_path: Path) -> None:
    """Accelerate forks a kernel whose threads have computed; the copies must not wait for them."""
    command = [sys.executable, PROGRAM, "notebook", free_port(), "--out", str(tmp_path / "run")]
    several = environment | {"OMP_NUM_THREADS": "2"}
    started = subprocess.Popen(
        [*command, "--no-test"], env=several, stdout=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        told, _ = started.communicate(timeout=300)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
    assert started.returncode == 0
    assert told.count("The model is in") == 1
    assert (tmp_path / "run" / METRICS).is_file()


def test_torchrun_ends_what_is_left(environment: dict[str, str], tmp_path: Path) -> None:
    ran = run(environment, "dying", "--out", tmp_path / "run", "--no-test", launcher=TORCHRUN)
    assert ran.returncode != 0


def test_a_batch_that_cannot_be_shared_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.arange(12).reshape(2, 6)
    assert np.array_equal(processes.own_part(rows), rows)
    monkeypatch.setattr(processes, "world", lambda: 3)
    monkeypatch.setattr(processes, "rank", lambda: 2)
    assert processes.own_part(rows).tolist() == [[4, 5], [10, 11]]
    monkeypatch.setattr(processes, "world", lambda: 4)
    with pytest.raises(ValueError, match="6 pairs cannot be shared equally by 4 processes"):
        processes.own_part(rows)
