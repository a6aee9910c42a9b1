"""What tests and lessons run as tests share: no network, no display, data of their own."""

import atexit
import os
import shutil
import tempfile
import time
from queue import Empty

from nbval.kernel import RunningKernel

# before any import that reads them; kernels inherit them
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ["CLIPLIB_DATA"] = tempfile.mkdtemp(prefix="cliplib-tests-")
for name in ("CLIPLIB_PROFILE", "CLIPLIB_RUN"):
    os.environ.pop(name, None)
atexit.register(shutil.rmtree, os.environ["CLIPLIB_DATA"], ignore_errors=True)

POLL = 2.0  # seconds between two looks at whether a kernel still lives

wait_for_message = RunningKernel.get_message


def get_message_of_a_living_kernel(
    kernel: RunningKernel, stream: str, timeout: float | None = None
) -> dict:
    """nbval's own waits the whole time-out of a cell when its kernel has died."""
    end = time.monotonic() + (float("inf") if timeout is None else timeout)
    while True:
        try:
            return wait_for_message(kernel, stream, min(POLL, max(0.0, end - time.monotonic())))
        except Empty:
            if time.monotonic() >= end:
                raise
            if not kernel.is_alive():
                raise RuntimeError("The kernel died while this cell ran.") from None


RunningKernel.get_message = get_message_of_a_living_kernel
