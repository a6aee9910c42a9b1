"""A stand-in for Kaggle on this computer: it speaks the calls that Kaggle's own library makes.

    with serve(flickr8k_zip(names)) as kaggle:
        environment = kaggle.environment(an_empty_folder)   # for a test, a process, a kernel

What was asked is in `kaggle.asked`; `status`, `cuts`, `checksum` and `silent` make it fail.
"""

import base64
import hashlib
import io
import json
import re
import threading
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
from PIL import Image

from cliplib.layout import PUBLISHED


def flickr8k_names() -> list[str]:
    """8,091 names: those of the published lists, and 91 that stand in none."""
    listed = [n for path in sorted(PUBLISHED.glob("*.txt")) for n in path.read_text().split()]
    return [*listed, *(f"{number}_in_no_list.jpg" for number in range(91))]


def picture(number: int, width: int, height: int) -> bytes:
    """A JPEG of noise, another for each number: it cannot be packed any smaller."""
    pixels = np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=90)
    return file.getvalue()


def captions_txt(names: Sequence[str]) -> str:
    rows = [f'{name},"Dog {at}, seen {turn} times ."' for at, name in enumerate(names)
            for turn in range(5)]  # fmt: skip
    return "\n".join(["image,caption", *rows]) + "\n"


def flickr8k_zip(names: Sequence[str], width: int = 12, height: int = 9) -> bytes:
    """An archive in the layout of Flickr8k on Kaggle, with pictures of noise."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("captions.txt", captions_txt(names))
        for number, name in enumerate(names):
            archive.writestr(f"Images/{name}", picture(number, width, height))
    return file.getvalue()


@dataclass(frozen=True)
class Asked:
    """One request, as it came in."""

    call: str  # "GET", or the last part of the address that was posted to
    range: str | None
    authorization: str | None


@dataclass
class Kaggle:
    """What the stand-in answers with; change it at any time."""

    archive: bytes
    status: int = 200  # of the answer to DownloadDataset
    cuts: dict[int, int] = field(default_factory=dict)  # n-th GET: bytes before it breaks off
    checksum: str | None = None  # a false one, in place of the archive's
    silent: bool = False  # takes DownloadDataset and never answers
    mount: str = ""  # the folder that it says it has mounted
    asked: list[Asked] = field(default_factory=list)
    port: int = 0
    closing: threading.Event = field(default_factory=threading.Event)

    def calls(self, call: str) -> list[Asked]:
        return [asked for asked in self.asked if asked.call == call]

    def environment(self, home: Path) -> dict[str, str]:
        """Variables under which Kaggle's library talks to this server and keeps all in `home`."""
        return {
            "KAGGLE_API_ENVIRONMENT": "LOCALHOST",  # http://localhost/…
            "http_proxy": f"http://127.0.0.1:{self.port}",  # … by way of this server
            "no_proxy": "127.0.0.1",
            "KAGGLEHUB_CACHE": str(home / "kagglehub"),
            "HOME": str(home),
            "USERPROFILE": str(home),
        }


def handler(kaggle: Kaggle) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            call = self.path.rpartition("/")[2]
            self.note(call)
            if call == "DownloadDataset" and kaggle.silent:
                kaggle.closing.wait(60)
            elif call == "DownloadDataset" and kaggle.status == 200:
                self.send_response(302)
                self.send_header("Location", f"http://127.0.0.1:{kaggle.port}/archive.zip")
                self.end_headers()
            elif call == "DownloadDataset":
                told = {"code": kaggle.status, "message": "not for you"}
                self.send_json(told, kaggle.status)
            elif call == "GetDataset":
                self.send_json({"currentVersionNumber": 1})
            elif call == "AttachDatasourceUsingJwtRequest":  # in a Kaggle notebook
                result = {"mountSlug": kaggle.mount, "versionNumber": 1}
                self.send_json({"wasSuccessful": True, "result": result})
            elif call in ("is_supported", "mount"):  # on Colab
                self.send_json({"slug": kaggle.mount}, 200 if kaggle.mount else 404)
            else:
                self.send_json({"code": 404, "message": f"no call {call}"}, 404)

        def do_GET(self) -> None:
            self.note("GET")
            cut = kaggle.cuts.get(len(kaggle.calls("GET")))
            wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            start = int(wanted[1]) if wanted else 0
            body, size = kaggle.archive[start:], len(kaggle.archive)
            digest = base64.b64encode(hashlib.md5(kaggle.archive).digest()).decode()
            self.send_response(206 if wanted else 200)
            self.send_header("Content-Type", "application/zip")
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("x-goog-hash", f"crc32c=AAAAAA==,md5={kaggle.checksum or digest}")
            if wanted:
                self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
            self.end_headers()
            try:
                self.wfile.write(body[:cut])
            except OSError:  # the client took the head only, and asks for a part
                self.close_connection = True

        def note(self, call: str) -> None:
            headers = self.headers
            kaggle.asked.append(Asked(call, headers.get("Range"), headers.get("Authorization")))

        def send_json(self, content: object, status: int = 200) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@contextmanager
def serve(archive: bytes) -> Iterator[Kaggle]:
    """Runs the stand-in on a free port of this computer until the block ends."""
    kaggle = Kaggle(archive)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(kaggle))
    kaggle.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield kaggle
    finally:
        kaggle.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()
