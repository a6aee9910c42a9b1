"""Finds pictures by words, by a picture or by both, and captions for a picture.

What the image encoder makes of a folder's pictures is kept in an index on disk (`cliplib.index`).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from cliplib import plots
from cliplib.checkpoint import Run, find_run, load_run, load_threshold
from cliplib.config import PROFILES, data_root, get_profile, named_profile
from cliplib.data import TokenTable
from cliplib.encoders import pick_device
from cliplib.features import FeatureTable, caption_features, weights_digest
from cliplib.gallery import Answer, Gallery, find_gallery, table
from cliplib.index import PART, index_pictures, kept_embeddings
from cliplib.model import CLIP
from cliplib.nearest import closest
from cliplib.pictures import DataError, open_rgb, summarise
from cliplib.retrieval import embed_images, embed_texts
from cliplib.theirs import load_theirs


@dataclass(frozen=True, eq=False)
class PictureIndex:
    """A gallery of N pictures and where they lie in the shared space."""

    paths: tuple[Path, ...]  # (N,)
    embeddings: Tensor  # (N, E) unit rows in float32 or float16, memory-mapped
    skipped: tuple[str, ...] = ()  # a sentence for each file that cannot be decoded


@dataclass(frozen=True, eq=False)
class CaptionIndex:
    """M different captions and where they lie in the shared space."""

    captions: tuple[str, ...]  # (M,)
    embeddings: Tensor  # (M, E) unit rows


def build_index(
    run: Run, paths: Sequence[Path], progress: bool = True, folder: Path | None = None,
    dtype: torch.dtype = torch.float32,
) -> PictureIndex:  # fmt: skip
    """Makes pictures ready to be searched; only those that are new or changed are decoded.

    Files that cannot be decoded are named and left out. `folder` is where the pictures lie, the one
    that the kept index belongs to; left out, the innermost folder that holds all of them. With
    torch.float16 the vectors take half as much; what that costs in recall says `nearest.closest`.
    Raises: ValueError when there are no pictures, none can be decoded or one is not in the folder.
    """
    if not paths:
        raise ValueError("There are no pictures to search: the list of paths is empty.")
    model = _ready(run)
    name = f"{run.profile.image_encoder}:{run.profile.image_output}"
    found = index_pictures(model.image_encoder, name, paths, run.transform, folder, progress)
    if found.faults:
        what = f"{len(found.faults)} of {len(paths):,} pictures cannot be searched"
        told = summarise(what, found.faults, "They are tried again the next time.")
        if not found.paths:
            raise DataError(told)
        print(told)
    head = f"{weights_digest(model.image_projection)} {model.image_power}"
    embeddings = kept_embeddings(
        found, head, lambda features: embed_images(model, FeatureTable(features)), dtype
    )
    return PictureIndex(found.paths, embeddings, found.faults)


def build_caption_index(run: Run, captions: Sequence[str], progress: bool = True) -> CaptionIndex:
    """Makes captions ready to be searched; equal ones stand in the index once.

    Raises: ValueError when there are none, or one is empty.
    """
    _check_words(captions)
    model, profile = _ready(run), run.profile
    features = caption_features(
        model.text_encoder, profile.text_encoder, captions, run.tokenizer, progress
    )
    row_of = {caption: row for row, caption in enumerate(captions)}
    embeddings = embed_texts(model, features).cpu()[list(row_of.values())]
    return CaptionIndex(tuple(row_of), embeddings)


def embed_words(run: Run, sentences: Sequence[str]) -> Tensor:
    """Sentences as unit vectors, (Q, E). Raises: ValueError when one is empty."""
    _check_words(sentences)
    tokens = TokenTable(run.tokenizer.encode(sentences), run.tokenizer.pad_id)
    return embed_texts(_ready(run), tokens).cpu()


@torch.inference_mode()
def embed_picture(run: Run, path: Path) -> Tensor:
    """A picture as a unit vector, (E,). Raises: DataError when it cannot be decoded."""
    picture = run.transform.normalise(run.transform.load(path)[None])  # (1, 3, H, W)
    return _ready(run).encode_image(picture.to(pick_device()))[0].cpu()


def by_words(run: Run, index: PictureIndex, sentence: str, k: int) -> list[Answer]:
    """The k pictures that a sentence fits best. Raises: ValueError (no words, k below 1)."""
    return _closest(embed_words(run, [sentence])[0], index.paths, index.embeddings, k)


def by_picture(run: Run, index: PictureIndex, path: Path, k: int) -> list[Answer]:
    """The k pictures that are most alike one; if it is in the index, it finds itself first.

    Raises: ValueError (a picture that cannot be decoded, k below 1).
    """
    return _closest(embed_picture(run, path), index.paths, index.embeddings, k)


def by_picture_and_words(
    run: Run, index: PictureIndex, path: Path, words: str, k: int, words_weight: float = 0.5
) -> list[Answer]:
    """The k pictures closest to a mixture: words_weight of the words, the rest of the picture.

    Raises: ValueError (no words, a weight not from 0 to 1, k below 1).
    """
    if not 0 <= words_weight <= 1:
        raise ValueError(f"words_weight is a share from 0 to 1, not {words_weight}.")
    words_part = words_weight * embed_words(run, [words])[0]
    mixture = words_part + (1 - words_weight) * embed_picture(run, path)  # (E,)
    return _closest(F.normalize(mixture, dim=0), index.paths, index.embeddings, k)


def captions_for(run: Run, index: CaptionIndex, path: Path, k: int) -> list[Answer]:
    """The k captions that fit a picture best.

    Raises: ValueError (a picture that cannot be decoded, k below 1).
    """
    return _closest(embed_picture(run, path), index.captions, index.embeddings, k)


def nothing_matches(run: Run, answers: Sequence[Answer]) -> str:
    """A sentence when no picture found by words is above the run's threshold; else "".

    The threshold is that of words among the validation pictures (`train.measure_threshold`): in
    another gallery, above all a larger one, other shares of queries pass it. A run from before
    thresholds were kept, or a web-trained model, never says that nothing matches.
    """
    threshold = load_threshold(run.folder)
    best = max(answer.score for answer in answers)
    if threshold is None or best > threshold.cosine:
        return ""
    return (
        f"Nothing here matches: the best cosine, {best:.3f}, is not above {threshold.cosine:.3f}. "
        f"Of validation queries {threshold.false_alarm_rate:.0%} without a match came above it, "
        f"and {threshold.answer_rate:.1%} of those with one. The nearest pictures:"
    )


def _closest(
    query: Tensor, items: Sequence[Path] | Sequence[str], embeddings: Tensor, k: int
) -> list[Answer]:
    _check_number(k)
    scores, rows = closest(query, embeddings, k)
    pairs = zip(rows.tolist(), scores.tolist(), strict=True)
    return [Answer(items[row], score) for row, score in pairs]


def _ready(run: Run) -> CLIP:
    """The run's model where it is fastest: its encoders may have been moved there before."""
    return run.model.to(pick_device()).eval()


def _check_words(sentences: Sequence[str]) -> None:
    if not sentences or not all(sentence.strip() for sentence in sentences):
        raise ValueError('The query is empty: say what to look for, such as "a red boat at night".')


def _check_number(k: int) -> None:
    if k < 1:
        raise ValueError(f"The number of answers is at least 1, not {k}.")


def read_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m cliplib.search",
        description="Finds pictures by words, by a picture or by both, and captions for a picture; "
        'prints the answers and draws them. Words alone can be answered with "Nothing here '
        'matches", from a threshold that training found among its validation pictures: in another '
        "or a larger gallery it errs more or less often than it says.",
    )
    add = parser.add_argument
    add("words", nargs="*", help='what to look for: "a red boat at night"')
    add("--picture", type=Path, help="look for pictures like this one; with words, for a mixture")
    add("--captions", action="store_true", help="look for captions of --picture instead")
    add("--profile", choices=PROFILES, default=get_profile().name, help="default: %(default)s")
    add("--run", type=Path, help="a run's folder; default: the profile's newest finished run")
    add("--model", help="a web-trained CLIP or SigLIP instead, by its name on the model hub")
    add("--split", help="train, val, test, unseen or all; default: test, or all of --folder")
    add("--folder", type=Path, help="any folder, with those inside it; default: the run's data set")
    add("--half", action="store_true", help="keep the pictures' vectors in half the bytes, float16")
    add("--top", type=int, default=8, help="how many answers; default: %(default)s")
    add("--out", type=Path, default=data_root() / "answers.png", help="default: %(default)s")
    return parser.parse_args(arguments)


def search(chosen: argparse.Namespace) -> None:
    """What the command does: says which model and gallery, prints the answers and draws them."""
    words = " ".join(chosen.words).strip()
    _check_request(chosen, words)
    run = _load_model(chosen)
    gallery = find_gallery(run.profile.data, chosen.folder, chosen.split)
    print(f"Gallery: {gallery.title}, {len(gallery.paths):,} pictures")
    if chosen.captions:
        answers = find_captions(run, gallery, chosen.picture, chosen.top)
    else:
        dtype = torch.float16 if chosen.half else torch.float32
        answers = find_pictures(run, gallery, words, chosen.picture, chosen.top, dtype)
        if chosen.picture is None and (told := nothing_matches(run, answers)):
            print(told)
    print(table(answers, gallery))
    plots.save(chosen.out)
    print(f"Picture of the answers: {chosen.out}")


def _load_model(chosen: argparse.Namespace) -> Run:
    """A run of one's own, or a web-trained model that searches the data set of the profile."""
    if chosen.model is None:
        run = load_run(find_run(chosen.profile, chosen.run))
        print(f"Model: {run.folder} (profile {run.profile.name})")
        return run
    run = load_theirs(chosen.model, data=named_profile(chosen.profile).data)
    print(f"Model: {chosen.model} (trained by others on the web), from {run.folder}")
    return run


def _check_request(chosen: argparse.Namespace, words: str) -> None:
    """Tells what cannot work before a gallery is encoded, which can take minutes."""
    _check_number(chosen.top)
    if chosen.model is not None and chosen.run is not None:
        raise ValueError("--model names a web-trained model and --run a run of yours: give one.")
    if chosen.captions and (words or chosen.picture is None):
        raise ValueError("--captions looks for captions of a picture: give --picture and no words.")
    if chosen.captions and chosen.half:
        raise ValueError("--half is about pictures' vectors, and --captions looks through none.")
    if chosen.picture is None:
        _check_words([words])
    else:
        open_rgb(chosen.picture, 1)


def find_pictures(
    run: Run, gallery: Gallery, words: str, picture: Path | None, top: int, dtype: torch.dtype
) -> list[Answer]:
    """The gallery's best pictures, drawn as the current figure."""
    index = build_index(run, gallery.paths, folder=gallery.folder, dtype=dtype)
    if picture is None:
        answers = by_words(run, index, words, top)
    elif words:
        answers = by_picture_and_words(run, index, picture, words, top)
    else:
        answers = by_picture(run, index, picture, top)
    like = "" if picture is None else f"like {picture.name}"
    query = ", ".join(filter(None, (like, words)))
    plots.text_to_image_grid([query], [[a.item for a in answers]], [[a.score for a in answers]])
    return answers


def find_captions(run: Run, gallery: Gallery, picture: Path, top: int) -> list[Answer]:
    """The gallery's best captions for a picture, drawn as the current figure."""
    captions = [caption for own in gallery.captions.values() for caption in own]
    if not captions:
        raise ValueError(f"{gallery.title} has no captions to choose from: leave --captions out.")
    print(f"Captions: {len(set(captions)):,} different ones")
    answers = captions_for(run, build_caption_index(run, captions), picture, top)
    plots.image_to_text_grid([picture], [[a.item for a in answers]], [[a.score for a in answers]])
    return answers


def main(arguments: Sequence[str] | None = None) -> int:
    try:
        search(read_arguments(arguments))
    except KeyboardInterrupt:
        print(
            f"\nInterrupted. What was encoded so far is kept, {PART} pictures at a time; "
            "the next search goes on there.",
            file=sys.stderr,
        )
        return 130
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="backslashreplace")  # a file's name may be no text
    sys.exit(main())
