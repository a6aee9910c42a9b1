"""Several processes as one training: who is who, gathered embeddings, averaged gradients.

`torchrun --nproc-per-node 2 -m cliplib.train …` starts them, on one machine or more; each trains on
its part of every batch, and the loss sees the whole batch in each of them. From a notebook it is
`accelerate.notebook_launcher(train.main, (["--profile", "original"],), num_processes=2)`.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

PATIENCE = timedelta(minutes=30)  # the others wait while the first downloads, measures, saves


class ProcessLost(RuntimeError):
    """Another process of this training is gone; the last whole checkpoint stays."""


def rank() -> int:
    """This process's number, from 0; the first one writes and speaks."""
    return dist.get_rank() if dist.is_initialized() else 0


def world() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


@contextmanager
def together() -> Iterator[None]:
    """Joins the processes that a launcher started; alone it does nothing.

    Raises: ProcessLost when another one ends before the training does.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield
        return
    if multiprocessing.parent_process() is not None:
        # A notebook's launcher forks: the threads that shared the arithmetic stay behind, and the
        # copy would wait for them for ever.
        torch.set_num_threads(1)
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if torch.cuda.is_available():
        torch.cuda.set_device(local)
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=PATIENCE)
    try:
        yield
    except RuntimeError as error:
        if not _is_of_connections(error):
            raise
        raise ProcessLost(
            f"Process {rank()} of {world()} lost another one, which ended or hangs; what that one "
            "says tells why. The last whole checkpoint stays: give the same command with --resume."
        ) from error
    finally:
        dist.destroy_process_group()


def _is_of_connections(error: RuntimeError) -> bool:
    told = str(error).lower()
    return isinstance(error, dist.DistError) or "connection" in told or "gloo" in told


@contextmanager
def first_alone() -> Iterator[None]:
    """The first process does what stands within before the others: they find what it kept."""
    if rank():
        dist.barrier()
    yield
    if world() > 1 and not rank():
        dist.barrier()


def wait_for_all() -> None:
    if world() > 1:
        dist.barrier()


def of_the_first(value: float) -> float:
    """The first process's number, for all: clocks differ, decisions must not."""
    told = [value]
    if world() > 1:
        dist.broadcast_object_list(told)
    return told[0]


def own_part(rows: np.ndarray) -> np.ndarray:
    """This process's part of a batch's rows, along their last dimension.

    Shapes: (..., B) -> (..., B / world). Raises: ValueError when B cannot be divided so.
    """
    if rows.shape[-1] % world():
        raise ValueError(
            f"A batch of {rows.shape[-1]} pairs cannot be shared equally by {world()} processes: "
            "choose a batch_size that can."
        )
    size = rows.shape[-1] // world()
    return rows[..., rank() * size : (rank() + 1) * size]


class _Gather(torch.autograd.Function):
    """All processes' rows, in the order of their numbers.

    Each process computes the whole loss, so it knows the gradients of its own rows completely;
    times the number of processes, because the mean over them is taken afterwards.
    """

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, own: Tensor) -> Tensor:
        parts = [torch.empty_like(own) for _ in range(world())]
        dist.all_gather(parts, own.contiguous())
        ctx.size = len(own)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, upstream: Tensor) -> Tensor:
        start = rank() * ctx.size
        return world() * upstream[start : start + ctx.size]


def gather(own: Tensor) -> Tensor:
    """Every process's rows together, with gradients for one's own.

    Shapes: (B / world, …) -> (B, …).
    """
    return _Gather.apply(own) if world() > 1 else own


def share_gradients(module: nn.Module) -> nn.Module:
    """The module, its gradients averaged over all processes while they are computed (DDP)."""
    if world() == 1:
        return module
    return nn.parallel.DistributedDataParallel(module)
