"""What tests and lessons run as tests share: no network, no display, data of their own."""

import atexit
import os
import shutil
import tempfile
import time
from pathlib import Path
from queue import Empty

import matplotlib
from nbval.kernel import RunningKernel

# before any import that reads it; kernels inherit it
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ["KAGGLE_API_ENVIRONMENT"] = "LOCALHOST"  # no test asks the real Kaggle
for name in ("CLIPLIB_PROFILE", "CLIPLIB_RUN"):
    os.environ.pop(name, None)
# not MPLBACKEND: kernels would inherit that, and lessons would show no figure
os.environ.pop("MPLBACKEND", None)
matplotlib.use("Agg")

from cliplib import config, picturebook  # noqa: E402

OWN_DATA = Path(tempfile.mkdtemp(prefix="cliplib-tests-"))
atexit.register(shutil.rmtree, OWN_DATA, ignore_errors=True)
drawn = config.data_folder("picturebook")
if picturebook.is_whole(drawn):  # else the first test that needs the book draws it, in a minute
    try:
        (OWN_DATA / "picturebook").symlink_to(drawn.resolve(), target_is_directory=True)
    except OSError:  # Windows allows links to few people
        shutil.copytree(drawn, OWN_DATA / "picturebook")
os.environ["CLIPLIB_DATA"] = str(OWN_DATA)

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
