"""Memory: how much of it is free, and large buffers that are used again."""

from __future__ import annotations

import os
import sys
import threading
import weakref
from pathlib import Path

import numpy as np
import torch
from torch import Tensor


class BufferRing:
    """A few large buffers, each used again only when nothing that was made on it is alive.

    The operating system clears fresh memory page by page, which can take several times as long as
    the arithmetic on it.
    """

    def __init__(self, buffers: int = 3) -> None:
        # Three live at a time: the batch being used, the one waiting, the one being made.
        self._buffers = buffers
        self._slots: list[tuple[np.ndarray, weakref.ref]] = []
        self._lock = threading.Lock()

    def take(self, count: int) -> Tensor:
        """Shapes: (count,) float32, with values left over from before."""
        with self._lock:
            buffer = self._unused(count)
            # The tensor's storage, shared by all its views, owns this very array: when that dies,
            # nobody can see the buffer any more. (numpy's own views would point past it.)
            handle = buffer[:count]
            if len(self._slots) < self._buffers:
                self._slots.append((buffer, weakref.ref(handle)))
            return torch.from_numpy(handle)  # (count,)

    def _unused(self, count: int) -> np.ndarray:
        dead = [at for at, (_, handle) in enumerate(self._slots) if handle() is None]
        for at in reversed(dead):
            buffer, _ = self._slots.pop(at)
            if len(buffer) >= count:
                return buffer
        return np.empty(count, np.float32)


def free_memory() -> int:
    """Bytes that programs can still take; where the system does not say, half of what it has."""
    if sys.platform == "win32":
        return _free_memory_windows()
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if "MemAvailable" in line)
        group = Path("/sys/fs/cgroup/memory.max")  # a container's own limit
        limit = group.read_text().strip() if group.exists() else "max"
        return free if limit == "max" else min(free, int(limit))
    except (OSError, StopIteration):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def _free_memory_windows() -> int:
    import ctypes

    status = (ctypes.c_ulonglong * 8)(64)  # MEMORYSTATUSEX: two 32-bit, then seven 64-bit numbers
    ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))
    return int(status[2])  # ullAvailPhys


def peak_memory(device: torch.device) -> int | None:
    """The most bytes that this process has held so far: of a GPU's memory, else of the computer's.

    None where the system does not say, as on Windows.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "linux":  # ru_maxrss would begin at that of the process which started it
        told = Path("/proc/self/status").read_text()
        return int(told.split("VmHWM:")[1].split()[0]) * 1024
    if sys.platform == "win32":
        return None
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # macOS counts in bytes


def ran_out_of_memory(error: RuntimeError) -> bool:
    """Whether a device had no room left: CUDA has a class of error for it, others have words."""
    return isinstance(error, torch.OutOfMemoryError) or any(
        told in str(error) for told in ("out of memory", "can't allocate memory")
    )
