"""The album to practise with, and what was measured beforehand."""

import math
import re
from pathlib import Path
from random import Random

import numpy as np
import pandas as pd
import pytest

from cliplib import album, measured
from cliplib.captions import NOUNS, in_words, true_meaning
from cliplib.data import DataError, load_pairs
from cliplib.drawing import draw


@pytest.fixture(scope="module")
def laid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return album.lay(tmp_path_factory.mktemp("home") / "album", album.scenes(30))


def test_an_album_is_a_data_set_and_the_same_for_the_same_seed(laid: Path, tmp_path: Path) -> None:
    pairs = load_pairs(laid, "all")
    assert len(pairs.images) == 30 and len(pairs.captions) == 60
    again = load_pairs(album.lay(tmp_path / "again", album.scenes(30)), "all")
    assert again.captions == pairs.captions
    assert [p.read_bytes() for p in again.paths()] == [p.read_bytes() for p in pairs.paths()]
    assert album.scenes(30, seed=1) != album.scenes(30)
    with pytest.raises(FileExistsError):
        album.lay(laid, album.scenes(2))


def test_its_words_are_not_the_books(laid: Path) -> None:
    told = " ".join(load_pairs(laid, "all").captions).lower()
    theirs = {word for forms in NOUNS.values() for pair in forms for word in pair}
    assert not theirs & set(album.OWN_WORDS.values())
    found = set(re.findall(r"\w+", told))
    assert not found & {"boat", "boats", "cat", "cats", "house", "houses", "trees"}
    assert len(found & set(album.OWN_WORDS.values())) > 5


def test_captions_differ_from_the_books_in_these_words_alone() -> None:
    for scene in album.scenes(40):
        book, own = Random(3), Random(3)
        said = in_words(true_meaning(scene, book), book).split()
        words = album.caption(scene, own).split()
        assert len(words) == len(said)
        changed = {
            (a.strip(",."), b.strip(",.")) for a, b in zip(said, words, strict=True) if a != b
        }
        assert all(b.removesuffix("s") in album.OWN_WORDS.values() for _, b in changed)


def test_a_page_is_paler_than_the_picture_and_has_its_colours() -> None:
    scene = album.scenes(1)[0]
    page, painted = (np.asarray(p, float) for p in (album.pencil(scene), draw(scene, album.SIZE)))
    assert page.shape == painted.shape
    assert np.median(page) > np.median(painted) + 20
    hue = [p - p.mean(axis=2, keepdims=True) for p in (page, painted)]
    assert np.corrcoef(hue[0].ravel(), hue[1].ravel())[0, 1] > 0.8


def test_pictures_are_read_off_a_curve() -> None:
    pictures, recall = [50, 100, 200, 400], [0.1, 0.2, 0.3, 0.4]
    assert measured.pairs_needed(pictures, recall, 0.35) == pytest.approx(200 * math.sqrt(2))
    assert measured.pairs_needed(pictures, recall, 0.2) == pytest.approx(100)
    assert measured.pairs_needed(pictures, recall, 0.05) == 50
    assert measured.pairs_needed(pictures, recall, 0.41) == math.inf
    assert measured.pairs_needed(pictures, [0.1, 0.3, 0.2, 0.4], 0.3) == pytest.approx(100)
    for wrong in ([50, 200, 100, 400], [50, 100, 200]):
        with pytest.raises(ValueError, match="pictures rise"):
            measured.pairs_needed(wrong, recall, 0.3)


def test_what_was_measured_is_there_and_complete() -> None:
    curve = measured.table("learning_curve")
    test = curve.query("split == 'test'")
    for (_, _, pictures), rows in test.groupby(["data", "encoders", "pictures"]):
        assert set(rows.seed) >= {0, 1, 2}, f"{pictures} pictures have fewer than three seeds"
        assert rows.steps.nunique() == 1 and (rows.gallery == 1000).all()
        tried = curve.query("split == 'val'").merge(rows[["data", "encoders", "pictures"]])
        best = tried.loc[tried.t2i_r10.idxmax()]
        assert rows.steps.iloc[0] == best.steps, "steps are those that validation chose"
    mean = test.groupby(["data", "encoders", "pictures"]).t2i_r10.mean()
    for _, line in mean.groupby(["data", "encoders"]):
        assert line.is_monotonic_increasing


def test_shares_were_chosen_on_validation_data() -> None:
    forgotten = measured.table("forgetting")
    keys = ["before", "album", "trained", "seed"]
    for _, rows in forgotten.groupby(keys):
        val, test = rows.query("split == 'val'"), rows.query("split == 'test'")
        mean = val.groupby("share").t2i_r1.mean()
        assert set(test.share) == {0.0, float(mean.idxmax()), 1.0}
        assert set(test.measured_on) == {"old", "new"}


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    pd.DataFrame({"a": [1]}).to_csv(tmp_path / "one.csv", index=False)
    assert measured.table("one", tmp_path).a.tolist() == [1]
    with pytest.raises(FileNotFoundError, match=r"no two.csv .* it holds one"):
        measured.table("two", tmp_path)


def test_an_empty_folder_of_an_album_says_so(tmp_path: Path) -> None:
    empty = album.lay(tmp_path / "none", [])
    with pytest.raises(DataError):
        load_pairs(empty, "all")
