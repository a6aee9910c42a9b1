"""Commands with the network off, where the system can do that without rights; for tests."""

from __future__ import annotations

import shutil
import subprocess
import sys

# Only the loopback device is there, and it is switched on: Jupyter's kernels talk through it.
LOOPBACK = """
import fcntl, os, socket, struct, sys
up = struct.pack("16sH22x", b"lo", 0x41)
fcntl.ioctl(socket.socket(), 0x8914, up)
os.execvp(sys.argv[1], sys.argv[1:])
"""
PREFIX = ("unshare", "--map-root-user", "--net", sys.executable, "-c", LOOPBACK)


def prefix() -> tuple[str, ...]:
    """What to put before a command; empty where the network cannot be switched off."""
    if shutil.which("unshare") is None:
        return ()
    tried = subprocess.run([*PREFIX, "true"], capture_output=True)
    return PREFIX if tried.returncode == 0 else ()
