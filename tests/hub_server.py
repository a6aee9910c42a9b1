"""A stand-in for the model hub on this computer: it serves files by their addresses.

with serve_hub({"/datasets/ORG/NAME/resolve/main/FILE": content}) as hub:
    environment = {"HF_ENDPOINT": hub.address, "HF_HUB_OFFLINE": "0"}   # before the import
"""

import hashlib
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789" * 4


@dataclass
class Hub:
    """What the stand-in serves; the first GET of a file in `cuts` breaks off after those bytes."""

    files: Mapping[str, bytes]  # by the path of their address
    cuts: dict[str, int] = field(default_factory=dict)
    commits: Mapping[str, str] = field(default_factory=dict)  # other than the usual, by path
    refusals: Mapping[str, str] = field(default_factory=dict)  # the hub's error codes, by path
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)  # method, path, Range
    address: str = ""


def handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer()

        def do_GET(self) -> None:
            body = self.answer()
            self.wfile.write(body[: hub.cuts.pop(self.path, len(body))])

        def answer(self) -> bytes:
            """Sends the head and gives what belongs after it."""
            hub.asked.append((self.command, self.path, self.headers.get("Range")))
            content = hub.files.get(self.path)
            if content is None:
                self.send_response(404)
                self.send_header("X-Error-Code", hub.refusals.get(self.path, "EntryNotFound"))
                self.send_header("Content-Length", "0")
                self.end_headers()
                return b""
            wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            start = int(wanted[1]) if wanted else 0
            self.send_response(206 if wanted else 200)
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("X-Repo-Commit", hub.commits.get(self.path, COMMIT))
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Length", str(len(content) - start))
            if wanted:
                size = len(content)
                self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
            self.end_headers()
            return content[start:]

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@contextmanager
def serve_hub(files: Mapping[str, bytes]) -> Iterator[Hub]:
    """Runs the stand-in on a free port of this computer until the block ends."""
    hub = Hub(files)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(hub))
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
