"""Search: an untrained run and a handful of pictures, from the index to the command."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cliplib import index as kept_index
from cliplib import search
from cliplib.checkpoint import METRICS, Run, load_run, save_run
from cliplib.config import COURSE, QUICK
from cliplib.encoders import train_tokenizer
from cliplib.model import CLIP, build_clip
from cliplib.pictures import ImageTransform
from cliplib.search import Answer

COLOURS = ("red", "green", "blue", "yellow", "white", "black", "orange", "purple")
CAPTIONS = tuple(f"a {colour} boat on the sea" for colour in COLOURS)


@dataclass(frozen=True)
class Course:
    """A data folder of its own with eight captioned pictures and an untrained run."""

    data: Path
    run: Run

    @property
    def folder(self) -> Path:
        return self.data / "pairs"

    @property
    def paths(self) -> list[Path]:
        return [self.folder / "Images" / f"{colour}.png" for colour in COLOURS]


@pytest.fixture
def course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Course:
    monkeypatch.setenv("CLIPLIB_DATA", str(tmp_path))
    monkeypatch.delenv("CLIPLIB_RUN", raising=False)
    monkeypatch.delenv("CLIPLIB_PROFILE", raising=False)
    write_pairs(tmp_path / "pairs")
    folder = tmp_path / "runs" / "tiny"
    save_untrained(folder, str(tmp_path / "pairs"), seed=0)
    return Course(tmp_path, load_run(folder))


def write_pairs(folder: Path) -> None:
    (folder / "Images").mkdir(parents=True)
    (folder / "splits").mkdir()
    rng = np.random.default_rng(0)
    for colour in COLOURS:
        tint = np.array(Image.new("RGB", (1, 1), colour))
        noise = rng.integers(0, 256, (8, 8, 3))
        blocks = ((tint.astype(int) + noise) // 2).astype(np.uint8).repeat(5, 0).repeat(5, 1)
        Image.fromarray(blocks).save(folder / "Images" / f"{colour}.png")
    rows = [f"{colour}.png,{text}" for colour, text in zip(COLOURS, CAPTIONS, strict=True)]
    (folder / "captions.txt").write_text("\n".join(["image,caption", *rows]) + "\n")
    for split, names in {"train": COLOURS[:4], "val": COLOURS[4:5], "test": COLOURS[5:]}.items():
        lines = "".join(f"{name}.png\n" for name in names)
        (folder / "splits" / f"{split}.txt").write_text(lines)


def save_untrained(folder: Path, data: str, seed: int) -> None:
    profile = replace(
        QUICK, name="quick", data=data, image_size=32, text_width=64, embed_dim=32,
        vocabulary_size=64,
    )  # fmt: skip
    torch.manual_seed(seed)
    tokenizer = train_tokenizer(CAPTIONS, profile.vocabulary_size, profile.max_tokens)
    save_run(folder, build_clip(profile), profile, tokenizer)


def forbid_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(transform: ImageTransform, path: Path) -> np.ndarray:
        raise AssertionError(f"{path} was decoded")

    monkeypatch.setattr(ImageTransform, "load", decode)


def test_index_holds_the_pictures_and_their_unit_vectors(course: Course) -> None:
    index = search.build_index(course.run, course.paths, progress=False)
    assert index.paths == tuple(course.paths)
    assert index.embeddings.shape == (8, 32)
    torch.testing.assert_close(index.embeddings.norm(dim=1), torch.ones(8))
    for path, row in zip(course.paths, index.embeddings, strict=True):
        torch.testing.assert_close(search.embed_picture(course.run, path), row)


def test_a_run_that_is_saved_and_loaded_again_gives_the_same_vectors(course: Course) -> None:
    again = load_run(course.run.folder)
    first, second = (search.embed_words(run, CAPTIONS) for run in (course.run, again))
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    assert first.shape == (8, 32)


def test_words_mean_the_same_alone_and_beside_longer_ones(course: Course) -> None:
    alone = search.embed_words(course.run, ["a red boat"])[0]
    beside = search.embed_words(course.run, ["a red boat", "a red boat on the sea"])[0]
    torch.testing.assert_close(alone, beside)


def test_answers_by_words_are_the_largest_cosines_in_order(course: Course) -> None:
    index = search.build_index(course.run, course.paths, progress=False)
    answers = search.by_words(course.run, index, CAPTIONS[0], 3)
    cosines = index.embeddings @ search.embed_words(course.run, [CAPTIONS[0]])[0]
    order = np.argsort(-cosines.numpy())[:3]
    assert [a.item for a in answers] == [course.paths[row] for row in order]
    assert [a.score for a in answers] == pytest.approx(cosines[order].tolist())


def test_a_picture_finds_itself_first(course: Course) -> None:
    index = search.build_index(course.run, course.paths, progress=False)
    for path in course.paths:
        best, second = search.by_picture(course.run, index, path, 2)
        assert best.item == path
        assert best.score == pytest.approx(1, abs=1e-5)
        assert second.score < best.score


def test_asking_for_more_than_there_are_gives_all(course: Course) -> None:
    index = search.build_index(course.run, course.paths, progress=False)
    assert len(search.by_words(course.run, index, "boat", 99)) == 8


def test_a_mixture_reaches_from_the_picture_to_the_words(course: Course) -> None:
    run, path, words = course.run, course.paths[2], CAPTIONS[5]
    index = search.build_index(run, course.paths, progress=False)
    scores = {
        weight: scores_by_path(search.by_picture_and_words(run, index, path, words, 8, weight))
        for weight in (0.0, 0.5, 1.0)
    }
    by_picture = scores_by_path(search.by_picture(run, index, path, 8))
    by_words = scores_by_path(search.by_words(run, index, words, 8))
    assert scores[0.0] == pytest.approx(by_picture, abs=1e-5)
    assert scores[1.0] == pytest.approx(by_words, abs=1e-5)
    total = search.embed_picture(run, path) + search.embed_words(run, [words])[0]
    for item in course.paths:
        middle = (by_picture[item] + by_words[item]) / total.norm().item()
        assert scores[0.5][item] == pytest.approx(middle, abs=1e-5)


def scores_by_path(answers: list[Answer]) -> dict[Path, float]:
    return {answer.item: answer.score for answer in answers}


def test_captions_for_a_picture_are_different_ones_in_order(course: Course) -> None:
    captions = [CAPTIONS[3], CAPTIONS[0], CAPTIONS[3], CAPTIONS[1], CAPTIONS[0]]
    index = search.build_caption_index(course.run, captions, progress=False)
    assert index.captions == (CAPTIONS[3], CAPTIONS[0], CAPTIONS[1])
    torch.testing.assert_close(index.embeddings, search.embed_words(course.run, index.captions))
    answers = search.captions_for(course.run, index, course.paths[0], 2)
    cosines = index.embeddings @ search.embed_picture(course.run, course.paths[0])
    best = cosines.argsort(descending=True)[:2].tolist()
    assert [a.item for a in answers] == [index.captions[row] for row in best]


def test_a_second_index_decodes_nothing(course: Course, monkeypatch: pytest.MonkeyPatch) -> None:
    first = search.build_index(course.run, course.paths, progress=False)
    forbid_decoding(monkeypatch)
    second = search.build_index(course.run, course.paths, progress=False)
    torch.testing.assert_close(first.embeddings, second.embeddings, rtol=0, atol=0)
    some = search.build_index(course.run, course.paths[5:1:-1], progress=False)
    assert some.paths == tuple(course.paths[5:1:-1])
    torch.testing.assert_close(some.embeddings, first.embeddings[[5, 4, 3, 2]], rtol=0, atol=0)
    shutil.copy(course.paths[0], course.paths[0].with_name("new.png"))
    with pytest.raises(AssertionError, match=r"new\.png was decoded"):
        search.build_index(course.run, [course.paths[0].with_name("new.png")], progress=False)


def vectors_on_disk(course: Course) -> list[Path]:
    return list((course.data / "index").rglob("made/*/*.npy"))


def test_vectors_are_mapped_from_a_file_that_is_made_once(
    course: Course, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = search.build_index(course.run, course.paths, progress=False)
    (path,) = vectors_on_disk(course)
    monkeypatch.setattr(search, "embed_images", None)  # whatever calls it fails
    second = search.build_index(course.run, course.paths, progress=False)
    assert torch.equal(first.embeddings, second.embeddings)
    np.testing.assert_array_equal(np.load(path), first.embeddings)
    content = path.read_bytes()
    second.embeddings.zero_()  # what a learner does to a table is not done to the file
    assert path.read_bytes() == content
    if sys.platform == "linux":
        assert str(path) in Path("/proc/self/maps").read_text()


def test_in_half_precision_the_same_pictures_are_found(course: Course) -> None:
    whole = search.build_index(course.run, course.paths, progress=False)
    sizes = [path.stat().st_size for path in vectors_on_disk(course)]
    half = search.build_index(course.run, course.paths, progress=False, dtype=torch.float16)
    sizes += [path.stat().st_size for path in vectors_on_disk(course)]
    assert half.embeddings.dtype == torch.float16
    torch.testing.assert_close(half.embeddings.float(), whole.embeddings, rtol=0, atol=5e-4)
    header = 128
    assert len(sizes) == 2 and sizes[1] - header == (sizes[0] - header) / 2
    for words in CAPTIONS:
        exact = search.by_words(course.run, whole, words, 8)
        found = search.by_words(course.run, half, words, 8)
        assert [a.score for a in found] == pytest.approx([a.score for a in exact], abs=5e-4)


def test_another_list_or_order_of_the_pictures_has_its_own_vectors(course: Course) -> None:
    every = search.build_index(course.run, course.paths, progress=False).embeddings
    for rows in ([0, 1, 2], [2, 1, 0], [5, 6, 7], [0, 0, 1]):
        some = search.build_index(course.run, [course.paths[row] for row in rows], progress=False)
        torch.testing.assert_close(some.embeddings, every[rows])


@pytest.mark.parametrize("left", [0, 40, 300])
def test_damaged_vectors_are_made_anew(course: Course, left: int) -> None:
    first = search.build_index(course.run, course.paths, progress=False).embeddings.clone()
    (path,) = vectors_on_disk(course)
    path.write_bytes(path.read_bytes()[:left])
    second = search.build_index(course.run, course.paths, progress=False)
    assert torch.equal(first, second.embeddings)


def set_power(model: CLIP, power: float) -> None:
    model.image_power = power


def test_of_a_list_of_pictures_one_table_is_kept_and_none_when_they_change(course: Course) -> None:
    search.build_index(course.run, course.paths, progress=False)
    search.build_index(course.run, course.paths[:3], progress=False)
    before = set(vectors_on_disk(course))
    assert len(before) == 2
    model = course.run.model
    for turn in (lambda: model.image_projection.weight.data.neg_(), lambda: set_power(model, 0.5)):
        turn()
        other = search.build_index(course.run, course.paths, progress=False)
        after = set(vectors_on_disk(course))
        assert len(after) == 2 and len(after & before) == 1
        true = search.embed_picture(course.run, course.paths[0])
        torch.testing.assert_close(other.embeddings[0], true)
    course.paths[0].unlink()
    search.build_index(course.run, course.paths[1:], progress=False)
    assert len(vectors_on_disk(course)) == 1


def test_an_index_of_other_weights_is_made_anew(course: Course) -> None:
    old = search.build_index(course.run, course.paths, progress=False)
    save_untrained(course.data / "runs" / "other", str(course.folder), seed=1)
    other = load_run(course.data / "runs" / "other")
    new = search.build_index(other, course.paths, progress=False)
    for path, row in zip(course.paths, new.embeddings, strict=True):
        torch.testing.assert_close(search.embed_picture(other, path), row)
    assert not torch.allclose(old.embeddings, new.embeddings, atol=0.01)


def test_an_index_of_a_changed_picture_is_made_anew(course: Course) -> None:
    old = search.build_index(course.run, course.paths, progress=False)
    changed = course.paths[0]
    before = changed.stat()
    Image.open(course.paths[1]).rotate(90).save(changed)
    os.utime(changed, ns=(before.st_atime_ns, before.st_mtime_ns + 1_000_000))
    new = search.build_index(course.run, course.paths, progress=False)
    torch.testing.assert_close(search.embed_picture(course.run, changed), new.embeddings[0])
    assert not torch.allclose(old.embeddings[0], new.embeddings[0], atol=0.01)
    torch.testing.assert_close(old.embeddings[1:], new.embeddings[1:])


@pytest.mark.parametrize("words", ["", "   "])
def test_an_empty_query_is_told(course: Course, words: str) -> None:
    index = search.build_index(course.run, course.paths, progress=False)
    with pytest.raises(ValueError, match="query is empty"):
        search.by_words(course.run, index, words, 3)
    with pytest.raises(ValueError, match="query is empty"):
        search.by_picture_and_words(course.run, index, course.paths[0], words, 3)


def test_no_answers_no_pictures_and_a_wrong_weight_are_told(course: Course) -> None:
    index = search.build_index(course.run, course.paths, progress=False)
    with pytest.raises(ValueError, match="at least 1, not 0"):
        search.by_words(course.run, index, "boat", 0)
    with pytest.raises(ValueError, match="list of paths is empty"):
        search.build_index(course.run, [], progress=False)
    with pytest.raises(ValueError, match="from 0 to 1, not 2"):
        search.by_picture_and_words(course.run, index, course.paths[0], "boat", 3, 2)


def test_command_finds_by_words(course: Course, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(course.run.folder)
    assert search.main(["a", "red", "boat", "--run", run, "--top", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"Model: {run} (profile quick)"
    assert lines[1] == f"Gallery: {course.folder}, split test, 3 pictures"
    index = search.build_index(course.run, course.paths[5:], progress=False)
    for rank, answer in enumerate(search.by_words(course.run, index, "a red boat", 2), start=1):
        colour = answer.item.stem
        words = [str(rank), f"{answer.score:.2f}", f"{colour}.png", f"a {colour} boat on the sea"]
        assert lines[2 + rank].split() == " ".join(words).split()
    picture = course.data / "answers.png"
    assert lines[-1] == f"Picture of the answers: {picture}"
    assert Image.open(picture).size[0] > 200
    assert not list(course.data.glob("*.aside"))


def test_command_takes_the_profile_that_is_named_before_the_environments(
    course: Course, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (course.run.folder / METRICS).write_text('{"profile": "quick"}', encoding="utf-8")
    monkeypatch.setenv("CLIPLIB_PROFILE", "laptop")
    assert search.main(["boat"]) == 1
    assert "no finished run of the profile 'laptop'" in capsys.readouterr().err
    assert search.main(["boat", "--profile", "quick"]) == 0
    assert f"Model: {course.run.folder} (profile quick)" in capsys.readouterr().out


def keep_threshold(run: Run, cosine: float) -> None:
    about = {"profile": "quick", "threshold": cosine, "false_alarm_rate": 0.05, "answer_rate": 0.9}
    (run.folder / METRICS).write_text(json.dumps(about), encoding="utf-8")


def test_nothing_matches_when_the_best_is_not_above_the_threshold(course: Course) -> None:
    answers = [Answer(course.paths[0], 0.21), Answer(course.paths[1], 0.13)]
    assert search.nothing_matches(course.run, answers) == "", "a run without a threshold"
    keep_threshold(course.run, 0.2)
    assert search.nothing_matches(course.run, answers) == ""
    for cosine in (0.21, 0.34):
        keep_threshold(course.run, cosine)
        told = search.nothing_matches(course.run, answers)
        assert f"Nothing here matches: the best cosine, 0.210, is not above {cosine:.3f}." in told
        assert "5% without a match came above it, and 90.0% of those with one." in told


def test_command_says_that_nothing_matches_words_and_shows_the_nearest(
    course: Course, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--run", str(course.run.folder), "--top", "2"]
    keep_threshold(course.run, 1.0)
    assert search.main([*arguments, "boat"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].startswith("Nothing here matches: ") and lines[2].endswith("nearest pictures:")
    assert [line.split()[0] for line in lines[3:6]] == ["rank", "1", "2"]
    picture = ["--picture", str(course.paths[0])]
    for others in (picture, [*picture, "boat"], [*picture, "--captions"]):
        assert search.main([*arguments, *others]) == 0
        assert "Nothing here matches" not in capsys.readouterr().out
    keep_threshold(course.run, -1.0)
    assert search.main([*arguments, "boat"]) == 0
    assert "Nothing here matches" not in capsys.readouterr().out


def test_command_finds_by_picture_and_by_both(
    course: Course, capsys: pytest.CaptureFixture[str]
) -> None:
    like_red = ["--run", str(course.run.folder), "--picture", str(course.paths[0])]
    assert search.main([*like_red, "--split", "all"]) == 0
    by_picture = capsys.readouterr().out
    assert "split all, 8 pictures" in by_picture
    assert by_picture.splitlines()[3].split()[:3] == ["1", "1.00", "red.png"]
    assert search.main([*like_red, "--split", "all", CAPTIONS[5]]) == 0
    both = capsys.readouterr().out
    assert both.splitlines()[3] != by_picture.splitlines()[3]


def test_command_searches_in_half_precision(
    course: Course, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["a red boat", "--run", str(course.run.folder), "--split", "all", "--top", "8"]
    assert search.main(arguments) == 0
    whole = capsys.readouterr().out
    assert search.main([*arguments, "--half"]) == 0
    assert sorted(capsys.readouterr().out.splitlines()[-9:]) == sorted(whole.splitlines()[-9:])
    (path,) = vectors_on_disk(course)
    assert np.load(path).dtype == np.float16


def test_command_finds_captions(course: Course, capsys: pytest.CaptureFixture[str]) -> None:
    out = course.data / "elsewhere" / "captions.png"
    arguments = ["--captions", "--picture", str(course.paths[0]), "--split", "all", "--top", "3"]
    assert search.main([*arguments, "--run", str(course.run.folder), "--out", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    index = search.build_caption_index(course.run, CAPTIONS, progress=False)
    expected = search.captions_for(course.run, index, course.paths[0], 3)
    assert [line.split(maxsplit=2)[2] for line in lines[4:7]] == [a.item for a in expected]
    assert out.is_file()


def test_command_searches_any_folder(course: Course, capsys: pytest.CaptureFixture[str]) -> None:
    plain = course.data / "holiday"
    plain.mkdir()
    Image.new("RGB", (50, 30), "red").save(plain / "beach.jpg")
    arguments = ["boat", "--run", str(course.run.folder), "--folder"]
    assert search.main([*arguments, str(plain)]) == 0
    assert "beach.jpg" in capsys.readouterr().out
    assert [path.name for path in plain.iterdir()] == ["beach.jpg"]
    (plain / "Images").mkdir()
    (plain / "beach.jpg").rename(plain / "Images" / "dune.jpg")
    assert search.main([*arguments, str(plain)]) == 0
    assert "dune.jpg" in capsys.readouterr().out
    assert search.main([*arguments, str(course.folder)]) == 0
    assert "8 pictures" in capsys.readouterr().out
    assert search.main([*arguments, str(course.folder), "--split", "train"]) == 0
    out = capsys.readouterr().out
    assert "split train, 4 pictures" in out
    assert "a blue boat on the sea" in out


def test_faults_are_one_sentence_without_a_traceback(
    course: Course, capsys: pytest.CaptureFixture[str]
) -> None:
    run = ["--run", str(course.run.folder)]
    (course.data / "text.jpg").write_text("no picture")
    (course.data / "empty").mkdir()
    faults = {
        ("boat", "--run", str(course.data / "none")): "There is no run in",
        (*run,): "query is empty",
        (*run, "  "): "query is empty",
        (*run, "boat", "--top", "0"): "at least 1, not 0",
        (*run, "--picture", str(course.data / "none.jpg")): "none.jpg is missing",
        (*run, "--picture", str(course.data / "text.jpg")): "cannot be decoded",
        (*run, "boat", "--folder", str(course.data / "empty")): "holds no picture",
        (*run, "boat", "--folder", str(course.data / "none")): "There is no folder",
        (*run, "boat", "--split", "tset"): "no split 'tset'",
        (*run, "boat", "--captions"): "--captions looks for",
        (*run, "--picture", "none.jpg", "--captions", "--half"): "--captions looks through none",
        (*run, "boat", "--out", str(course.data / "text.jpg" / "a.png")): "text.jpg",
    }
    for arguments, expected in faults.items():
        assert search.main(arguments) == 1, arguments
        out, told = capsys.readouterr()
        assert expected in told, arguments
        assert "Traceback" not in told
        if "--picture" in arguments:
            assert not out  # told before a gallery is encoded


def test_an_interrupted_search_keeps_what_is_encoded_and_the_next_goes_on(
    course: Course, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(kept_index, "PART", 3)
    sound, decoded = ImageTransform.load, []

    def interrupted(transform: ImageTransform, path: Path) -> np.ndarray:
        if len(decoded) == 5:
            raise KeyboardInterrupt
        decoded.append(path.name)
        return sound(transform, path)

    arguments = ["boat", "--run", str(course.run.folder), "--split", "all"]
    with monkeypatch.context() as patch:
        patch.setattr(ImageTransform, "load", interrupted)
        assert search.main(arguments) == 130
    told = capsys.readouterr().err
    assert "Interrupted. What was encoded so far is kept" in told and "Traceback" not in told
    decoded.clear()
    monkeypatch.setattr(ImageTransform, "load", lambda *a: decoded.append(a[1].name) or sound(*a))
    assert search.main(arguments) == 0
    assert len(decoded) == 5, "the first three are kept"


def test_captions_of_a_gallery_without_any_are_told(
    course: Course, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--run", str(course.run.folder), "--captions", "--picture", str(course.paths[0])]
    assert search.main([*arguments, "--folder", str(course.folder / "Images")]) == 1
    assert "has no captions" in capsys.readouterr().err


def test_command_tells_that_data_is_missing(
    course: Course, capsys: pytest.CaptureFixture[str]
) -> None:
    save_untrained(course.data / "runs" / "lost", str(course.data / "moved"), seed=0)
    assert search.main(["boat", "--run", str(course.data / "runs" / "lost")]) == 1
    assert "moved is missing" in capsys.readouterr().err


def test_command_as_it_is_typed(course: Course) -> None:
    environment = {**os.environ, "CLIPLIB_RUN": str(course.run.folder), "CLIPLIB_PROFILE": ""}
    command = [sys.executable, "-m", "cliplib.search"]
    found = subprocess.run(
        [*command, "a red boat", "--top", "1"], cwd=COURSE, env=environment,
        capture_output=True, text=True,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    assert (course.data / "answers.png").is_file()
    environment["CLIPLIB_PROFILE"] = "huge"
    failed = subprocess.run(
        [*command, "boat"], cwd=COURSE, env=environment, capture_output=True, text=True
    )
    assert failed.returncode == 1
    assert failed.stderr.startswith("There is no profile 'huge'")


def test_cliplib_alone_lists_its_commands_and_imports_nothing_heavy() -> None:
    heavy = "import runpy, sys; runpy.run_module('cliplib', run_name='__main__'); "
    heavy += "assert not {'torch', 'numpy', 'matplotlib', 'timm'} & set(sys.modules)"
    listed = subprocess.run(
        [sys.executable, "-c", heavy], cwd=COURSE, capture_output=True, text=True
    )
    assert listed.returncode == 0, listed.stderr
    for command, examples in (("data", 2), ("train", 2), ("search", 1)):
        assert listed.stdout.count(f"python -m cliplib.{command} ") == 1 + examples
        assert (COURSE / "cliplib" / f"{command}.py").is_file()
