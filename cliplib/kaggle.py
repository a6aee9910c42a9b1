"""Flickr8k from Kaggle, through its own library: mounted, kept from before, or downloaded.

The data are public: no account is needed. One that is there is used, the first of:
KAGGLE_API_TOKEN (a token, or a file with one), the file ~/.kaggle/access_token, KAGGLE_USERNAME
with KAGGLE_KEY, a kaggle.json (in KAGGLE_CONFIG_DIR; without that in the course's own folder; else
in ~/.kaggle), Colab's secrets of the same names.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import kagglehub
import requests
from kagglehub.config import get_cache_folder, get_kaggle_credentials
from kagglehub.exceptions import DataCorruptionError

from cliplib import flickr8k
from cliplib.config import COURSE, data_root
from cliplib.flickr8k import BROKEN_ZIP, disk_fault, require_space
from cliplib.pictures import DataError

HANDLE = "adityajn105/flickr8k/versions/1"  # with its version: so it is found without asking
TIMEOUT = (5, 30)  # seconds to connect, and of silence in an answer
WAITS = (1, 4)  # seconds before another try, when one brought nothing
REFUSED, ABSENT, BUSY = (401, 403), 404, 429


def ways_out() -> str:
    """What to do when Kaggle gives nothing."""
    size = flickr8k.CONTENTS.archive / 1e9
    return (
        f"Two ways out: download {flickr8k.PAGE} in a browser ({size:.1f} GB) and place the "
        f"archive as {data_root() / 'flickr8k.zip'}; or take the same files from the model hub "
        "with `python -m cliplib.data flickr8k --from hub`."
    )


def mounted() -> Path | None:
    """The copy that a Kaggle notebook shows once the data set is among its inputs: read-only."""
    if "KAGGLE_KERNEL_RUN_TYPE" not in os.environ:
        return None
    inputs = Path(os.environ.get("KAGGLE_CACHE_MOUNT_FOLDER", "/kaggle/input"))
    places = (inputs / "flickr8k", inputs / "datasets" / "adityajn105" / "flickr8k")
    return next((place for place in places if (place / "captions.txt").is_file()), None)


def cached() -> Path | None:
    """What Kaggle's library has kept whole: from a download, or laid there by hand."""
    folder = _cache() / "versions" / "1"
    return folder if folder.is_dir() and (_cache() / "1.complete").exists() else None


def _cache() -> Path:
    """Where Kaggle's library keeps Flickr8k."""
    return Path(get_cache_folder()) / "datasets" / "adityajn105" / "flickr8k"


def account() -> str:
    """What Kaggle is asked with, in words; "" without an account."""
    if os.environ.get("KAGGLE_API_TOKEN"):
        return "the variable KAGGLE_API_TOKEN"
    for name in ("access_token", "access_token.txt"):
        if (Path.home() / ".kaggle" / name).is_file():
            return str(Path.home() / ".kaggle" / name)
    if os.environ.get("KAGGLE_USERNAME") and os.environ.get("KAGGLE_KEY"):
        return "the variables KAGGLE_USERNAME and KAGGLE_KEY"
    return str(_token_file()) if _token_file().is_file() else ""


def _token_file() -> Path:
    folder = os.environ.get("KAGGLE_CONFIG_DIR")
    if folder is None and (COURSE / "kaggle.json").is_file():
        return COURSE / "kaggle.json"
    return Path(folder or Path.home() / ".kaggle") / "kaggle.json"


def download() -> Path:
    """Flickr8k's folder as Kaggle's library gives it: a mount, its cache, or a download into that.

    A download that was cut off goes on, here after a pause and in the next call.
    Raises: DataError that says what is wrong and what to do.
    """
    if cached() is None:
        size, files = flickr8k.CONTENTS.archive, flickr8k.CONTENTS.files
        what = f"Flickr8k ({size / 1e9:.1f} GB archive, {files / 1e9:.1f} GB files)"
        require_space(_cache(), size + files - _size(_archive()), what)
        print(f"{what} comes from Kaggle; a download is kept in {_cache()}. No account is needed.")
    with _own_token_file(), _time_limit():
        _require_readable_account()
        return _persist()


def _persist() -> Path:
    """Asks until the download is whole, as long as tries bring something or pauses are left."""
    waits, anew = list(WAITS), 1
    while True:
        before = _size(_archive())
        try:
            return Path(kagglehub.dataset_download(HANDLE))
        except Exception as error:  # the library's, requests' and the system's own
            if _size(_archive()) > before:
                waits = list(WAITS)
            if _is_damage(error):
                _archive().unlink(missing_ok=True)  # else it would be taken for whole again
                if not anew:
                    raise _fault(error) from None
                anew -= 1
                print("What came is damaged: its checksum is wrong. The download starts anew.")
            elif waits and _may_pass(error):
                print(f"Kaggle gave no more ({type(error).__name__}). Next try in {waits[0]} s.")
                time.sleep(waits.pop(0))
            else:
                raise _fault(error) from None


def _archive() -> Path:
    return _cache() / "1.archive"


def _size(file: Path) -> int:
    return file.stat().st_size if file.is_file() else 0


def _status(error: Exception) -> int:
    """The server's answer as a number; 0 when there was none."""
    return getattr(getattr(error, "response", None), "status_code", 0)


def _is_damage(error: Exception) -> bool:
    """Whether all of it came and is wrong: a false checksum, a broken zip, or no zip at all."""
    wrong = isinstance(error, (*BROKEN_ZIP, DataCorruptionError, ValueError))
    return wrong and not isinstance(error, requests.RequestException)


def _may_pass(error: Exception) -> bool:
    """Whether another try can help: no connection, a cut, a server that is busy."""
    server = isinstance(error, requests.RequestException)
    return server and (not _status(error) or _status(error) == BUSY or _status(error) >= 500)


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".strip().partition("\n")[0]


def _fault(error: Exception) -> DataError:
    """What is told when no try is left."""
    status = _status(error)
    if status in REFUSED:
        asked = (
            f"was asked with {account()}: mend or remove it" if account() else "wants an account"
        )
        told = f"Kaggle refuses Flickr8k (status {status}). It {asked}."
    elif status == ABSENT:
        told = f"Kaggle has no {HANDLE} (status 404). Was it moved, or is a newer version there?"
    elif status:
        told = f"Kaggle answers with status {status} instead of Flickr8k. Later it may do better."
    elif isinstance(error, requests.RequestException):
        told = (
            f"Kaggle cannot be reached, or the connection broke off ({type(error).__name__}). Is "
            "this computer online? What came is kept: the next call goes on from there."
        )
        if "KAGGLE_KERNEL_RUN_TYPE" in os.environ:
            told += " In a Kaggle notebook, add the data set adityajn105/flickr8k to its inputs."
    elif isinstance(error, OSError):
        told = f"{disk_fault(error, _cache())} KAGGLEHUB_CACHE names another folder."
    elif _is_damage(error):
        told = (
            f"What Kaggle sent is not Flickr8k's archive, twice ({_short(error)}). Nothing of it "
            "was kept. Does this network want you to sign in first?"
        )
    else:
        told = f"Kaggle's library gave up ({_short(error)})."
    return DataError(f"{told} {ways_out()}")


def _require_readable_account() -> None:
    """A broken kaggle.json stops Kaggle's library even for public data."""
    try:
        get_kaggle_credentials()
    except (ValueError, TypeError, OSError) as error:
        raise DataError(
            f"{_token_file()} cannot be used ({error}). Mend it: it holds "
            '{"username": "…", "key": "…"} as Kaggle\'s page of settings makes it. Or remove it: '
            f"these data need no account. {ways_out()}"
        ) from None


@contextmanager
def _own_token_file() -> Iterator[None]:
    """Lets Kaggle's library find a kaggle.json in the course's own folder."""
    if "KAGGLE_CONFIG_DIR" in os.environ or not (COURSE / "kaggle.json").is_file():
        yield
        return
    os.environ["KAGGLE_CONFIG_DIR"] = str(COURSE)
    try:
        yield
    finally:
        del os.environ["KAGGLE_CONFIG_DIR"]


@contextmanager
def _time_limit() -> Iterator[None]:
    """Kaggle's library sets no limit to its first request: nobody's answer is waited for for ever.

    Where it sets one, that holds.
    """
    without = requests.Session.send
    requests.Session.send = functools.partialmethod(without, timeout=TIMEOUT)
    try:
        yield
    finally:
        requests.Session.send = without
