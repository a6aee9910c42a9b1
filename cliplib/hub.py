"""Files of pretrained encoders: from the model hub once, from its cache ever after."""

from __future__ import annotations

import re
from pathlib import Path

from huggingface_hub import hf_hub_download, model_info, try_to_load_from_cache
from huggingface_hub.errors import (
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from cliplib.storage import sha256_of

# Each is a choice: one of these files must be there.
CONFIG = ("config.json",)
VOCABULARY = ("tokenizer.json", "vocab.txt", "vocab.json", "tokenizer.model", "spiece.model",
              "sentencepiece.bpe.model")  # fmt: skip
WEIGHTS = ("model.safetensors", "model.safetensors.index.json",
           "pytorch_model.bin", "pytorch_model.bin.index.json")  # fmt: skip

CARD = "README.md"
SETTINGS_FILE = re.compile(r"[^/]+\.(json|txt|model)")
WEIGHT_FILES = (  # in this order of preference; large models come in parts and an index of them
    re.compile(r"model(-\d+-of-\d+)?\.safetensors(\.index\.json)?"),
    re.compile(r"pytorch_model(-\d+-of-\d+)?\.bin(\.index\.json)?"),
)
ANSWER_WITHIN = 10.0  # seconds, that the hub has to say what it holds


def fetch(repository: str, revision: str, needed: tuple[tuple[str, ...], ...]) -> Path:
    """The folder that holds an encoder's files; prints the size of what must be downloaded first.

    What is kept is used without asking the hub: so the revision "" is what was newest when it was
    downloaded. A folder of one's own stands for itself.
    Raises: OSError when files are neither kept nor to be had; ValueError for a name or a revision
    that cannot be.
    """
    if Path(repository).is_dir():
        if revision:
            raise ValueError(f"{repository} is a folder, so it has no revision {revision!r}.")
        return Path(repository)
    try:
        folder = _kept(repository, revision, needed)
        return folder or _download(repository, revision)
    except HFValidationError:
        raise ValueError(
            f"{repository!r} is neither a folder that exists nor a name on the model hub, such as "
            "'timm/resnet18.a1_in1k'. A revision belongs in image_revision or text_revision."
        ) from None
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        of = f"revision {revision!r} of " if isinstance(error, RevisionNotFoundError) else ""
        raise OSError(
            f"The model hub has no {of}{repository}, or keeps it private: check the spelling."
        ) from None
    except Exception as error:  # the hub's client, its HTTP and its storage layer share no class
        at = f" at revision {revision!r}" if revision else ""
        raise OSError(
            f"{repository}{at} is neither in the model cache nor to be had from the model hub "
            f"({type(error).__name__}). Go online once and it is kept, or copy a cache that holds "
            "it here and point HF_HOME at it."
        ) from error


def weights_in(folder: Path) -> list[Path]:
    """The files in a folder that hold an encoder's weights, of the first form that is there."""
    names = sorted(path.name for path in folder.iterdir())
    return [folder / name for name in _weights(names) if not name.endswith(".json")]


def weights_used(folder: Path | None) -> dict[str, str]:
    """Revision and SHA-256 of the weights that were read from a folder; empty without one.

    A folder of one's own has the revision "local"; weights in parts have several hashes.
    """
    if folder is None:
        return {}
    of_the_hub = folder.parent.name == "snapshots"  # of its cache: snapshots/REVISION/file
    return {
        "revision": folder.name if of_the_hub else "local",
        "sha256": " ".join(sha256_of(path) for path in weights_in(folder)),
    }


def _kept(repository: str, revision: str, needed: tuple[tuple[str, ...], ...]) -> Path | None:
    """The cache's folder of a revision, when one file of each choice is in it."""
    folder = None
    for choice in needed:
        found = [try_to_load_from_cache(repository, name, revision=_or_main(revision))
                 for name in choice]  # fmt: skip
        there = [Path(path) for path in found if isinstance(path, str)]
        if not there:
            return None
        folder = there[0].parent
    return folder


def _download(repository: str, revision: str) -> Path:
    info = model_info(
        repository, revision=_or_main(revision), files_metadata=True, timeout=ANSWER_WITHIN
    )
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or []}
    wanted = _wanted(sorted(sizes))
    missing = [name for name in wanted
               if not isinstance(try_to_load_from_cache(repository, name, revision=info.sha), str)
               ]  # fmt: skip
    size = _in_words(sum(sizes[name] for name in missing))
    print(f"Downloading {repository} from the model hub, once: {size}.")
    for name in wanted:  # kept ones too, so that the cache notes which commit the revision names
        path = hf_hub_download(repository, name, revision=_or_main(revision))
    return Path(path).parent


def _or_main(revision: str) -> str:
    return revision or "main"


def _wanted(names: list[str]) -> list[str]:
    """Card, settings and vocabulary, then one form of the weights: where those are, all is there.

    The card names the licence under which the rest may be given on.
    """
    weights = _weights(names)
    if not weights:
        raise FileNotFoundError("it holds no weights that are read here")
    forms = [name for name in names if any(form.fullmatch(name) for form in WEIGHT_FILES)]
    settings = [name for name in names if SETTINGS_FILE.fullmatch(name) and name not in forms]
    return [name for name in names if name == CARD] + settings + weights


def _weights(names: list[str]) -> list[str]:
    """The names of one form of weights, an index after its parts."""
    for form in WEIGHT_FILES:
        if matching := [name for name in names if form.fullmatch(name)]:
            return matching
    return []


def _in_words(size: int) -> str:
    return f"{size / 1e6:,.0f} MB" if size >= 1e6 else f"{size / 1e3:,.0f} kB"
