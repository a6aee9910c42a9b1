"""Zero-shot: prompts, kept classifiers, counts and the linear probe, beside scikit-learn's."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, recall_score, roc_auc_score
from sklearn.metrics import confusion_matrix as sklearn_confusion

from cliplib import plots_classes
from cliplib.checkpoint import Run, load_run
from cliplib.config import shipped_checkpoint
from cliplib.model import unit
from cliplib.picturebook import compose
from cliplib.probe import few_shots, linear_probe
from cliplib.scenes import GROUNDS, SKIES, labels_of
from cliplib.search import embed_words
from cliplib.zeroshot import (
    accuracy_per_class,
    area_under_curve,
    classifier,
    classify,
    confusion_matrix,
    ensemble,
    prompts,
)

CLASSES = ["a boat", "a house", "a cat"]
TEMPLATES = ["{}", "a picture of {}"]


@pytest.fixture(autouse=True)
def made_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("CLIPLIB_DATA", str(tmp_path))
    yield tmp_path / "features"
    plt.close("all")


@pytest.fixture(scope="module")
def run() -> Run:
    return load_run(shipped_checkpoint())


def test_prompts_go_class_by_class() -> None:
    assert prompts(["a boat", "{x}"], TEMPLATES) == [
        "a boat",
        "a picture of a boat",
        "{x}",
        "a picture of {x}",
    ]


@pytest.mark.parametrize(
    ("classes", "templates", "told"),
    [
        (CLASSES, ["a picture"], "'a picture' has 0 places"),
        (CLASSES, ["{} and {}"], "'{} and {}' has 2 places"),
        (CLASSES, [], "templates is a list"),
        (CLASSES, "a picture of {}", "templates is a list"),
        ([], TEMPLATES, "classes is a list"),
        (["a boat", " "], TEMPLATES, "classes is a list"),
        (["a boat", "a boat"], TEMPLATES, "classes has a text twice"),
        (CLASSES, ["{}", "{}"], "templates has a text twice"),
    ],
)
def test_what_makes_no_prompts_is_told(classes: list, templates: list, told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        prompts(classes, templates)


def test_a_row_is_the_mean_of_its_prompts_at_length_one(run: Run) -> None:
    rows = classifier(run.model, run.tokenizer, CLASSES, TEMPLATES)
    for row, name in zip(rows, CLASSES, strict=True):
        each = embed_words(run, [name, f"a picture of {name}"]).double()
        mean = (each[0] + each[1]) / 2
        torch.testing.assert_close(row.double(), mean / mean.norm(), atol=1e-5, rtol=0)
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(3))


def test_an_ensemble_by_hand() -> None:
    embeddings = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [0.0, 1.0]]])  # (K, T, E)
    expected = torch.tensor([[0.5**0.5, 0.5**0.5], [0.0, 1.0]])
    torch.testing.assert_close(ensemble(embeddings), expected)


def test_prompts_are_embedded_once(run: Run, made_here: Path) -> None:
    first = classifier(run.model, run.tokenizer, CLASSES, TEMPLATES)
    (path,) = made_here.iterdir()
    written = path.stat().st_mtime_ns
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(run.model), "encode_text", None)  # calling it would fail
        again = classifier(run.model, run.tokenizer, CLASSES, TEMPLATES)
    assert torch.equal(first, again)
    assert [p.stat().st_mtime_ns for p in made_here.iterdir()] == [written]


def test_other_weights_never_get_a_kept_classifier(run: Run, made_here: Path) -> None:
    first = classifier(run.model, run.tokenizer, CLASSES, TEMPLATES)
    other = copy.deepcopy(run.model)
    with torch.no_grad():
        other.text_projection.weight[0, 0] += 1
    changed = classifier(other, run.tokenizer, CLASSES, TEMPLATES)
    assert not torch.allclose(first, changed) and len(list(made_here.iterdir())) == 2


def test_other_prompts_never_get_a_kept_classifier(run: Run, made_here: Path) -> None:
    first = classifier(run.model, run.tokenizer, CLASSES, TEMPLATES)
    turned = classifier(run.model, run.tokenizer, CLASSES[::-1], TEMPLATES)
    torch.testing.assert_close(turned, first.flip(0), atol=1e-5, rtol=0)
    classifier(run.model, run.tokenizer, CLASSES, TEMPLATES[:1])
    assert len(list(made_here.iterdir())) == 3


def test_another_tokenizer_never_gets_a_kept_classifier(run: Run, made_here: Path) -> None:
    classifier(run.model, run.tokenizer, CLASSES, TEMPLATES)
    other = copy.copy(run.tokenizer)
    other.to_json = lambda: "another"  # type: ignore[method-assign]
    classifier(run.model, other, CLASSES, TEMPLATES)
    assert len(list(made_here.iterdir())) == 2


def test_a_damaged_file_is_made_again(run: Run, made_here: Path) -> None:
    first = classifier(run.model, run.tokenizer, CLASSES, TEMPLATES)
    (path,) = made_here.iterdir()
    path.write_bytes(path.read_bytes()[:50])
    assert torch.equal(classifier(run.model, run.tokenizer, CLASSES, TEMPLATES), first)


def test_the_nearest_row_is_the_class_and_the_first_of_equal_ones() -> None:
    rows = torch.tensor([[1.0, 0.0], [0.0, 1.0]])  # (K, E)
    images = unit(torch.tensor([[0.1, 0.9], [0.9, 0.1], [1.0, 1.0]]))  # (N, E)
    assert classify(images, rows).tolist() == [1, 0, 0]
    with pytest.raises(ValueError, match=r"\(3, 2\) and rows \(2, 5\)"):
        classify(images, torch.zeros(2, 5))


@pytest.mark.parametrize("seed", range(3))
def test_counts_agree_with_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 5, 200)
    answers = np.where(rng.random(200) < 0.6, labels, rng.integers(0, 5, 200))
    counts = confusion_matrix(labels, answers, 5)
    assert np.array_equal(counts, sklearn_confusion(labels, answers, labels=range(5)))
    expected = recall_score(labels, answers, average=None, labels=range(5))
    np.testing.assert_allclose(accuracy_per_class(counts), expected)
    assert counts.trace() / counts.sum() == pytest.approx(accuracy_score(labels, answers))
    scores = rng.normal(size=200).round(1) + (labels == 0)  # with ties
    found = area_under_curve(scores, labels == 0)
    assert found == pytest.approx(roc_auc_score(labels == 0, scores))


def test_a_class_without_pictures_has_no_accuracy() -> None:
    counts = confusion_matrix(np.array([0, 0, 2]), np.array([0, 1, 2]), 3)
    assert counts.tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 1]]
    np.testing.assert_equal(accuracy_per_class(counts), [0.5, np.nan, 1.0])


@pytest.mark.parametrize(
    ("labels", "answers"), [([0, 3], [0, 1]), ([0, -1], [0, 1]), ([0], [0, 1])]
)
def test_labels_that_do_not_fit_are_told(labels: list[int], answers: list[int]) -> None:
    with pytest.raises(ValueError, match="from 0 to 2"):
        confusion_matrix(np.array(labels), np.array(answers), 3)


def test_the_area_needs_both_kinds() -> None:
    assert area_under_curve(np.array([0.5, 0.5, 0.5]), np.array([True, False, False])) == 0.5
    with pytest.raises(ValueError, match="there must be True"):
        area_under_curve(np.array([0.1, 0.2]), np.array([True, True]))


@pytest.mark.parametrize("penalty", [1e-1, 1e-2, 1e-3])
def test_the_probe_agrees_with_scikit_learn(penalty: float) -> None:
    """Probabilities within 0.001, though the features' mean is far from 0."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 300)
    features = rng.normal(size=(300, 12)) + rng.normal(size=(4, 12))[labels] + 2
    weights, biases = linear_probe(torch.tensor(features), torch.tensor(labels), 4, penalty)
    theirs = LogisticRegression(C=1 / (300 * penalty), tol=1e-10, max_iter=10_000)
    theirs.fit(features, labels)
    ours = torch.softmax(torch.tensor(features).float() @ weights.T + biases, dim=1)
    np.testing.assert_allclose(ours.numpy(), theirs.predict_proba(features), atol=1e-3)
    np.testing.assert_allclose(weights.numpy(), theirs.coef_, atol=1e-3)


@pytest.mark.parametrize("penalty", [0.0, -1.0, float("nan")])
def test_a_probe_without_a_penalty_is_refused(penalty: float) -> None:
    with pytest.raises(ValueError, match="penalty is a number above 0"):
        linear_probe(torch.zeros(2, 2), torch.tensor([0, 1]), 2, penalty)


def test_labels_come_from_the_facts() -> None:
    scenes = [
        compose("red boat", sky="night", ground="sea"),
        compose("blue cat", "green boat", sky="rain", ground="snow"),
        compose("pink cat"),
    ]
    assert [SKIES[i] for i in labels_of(scenes, "weather")] == ["night", "rain", "day"]
    assert [GROUNDS[i] for i in labels_of(scenes, "ground")] == ["sea", "snow", "grass"]
    assert labels_of(scenes, "boat").tolist() == [1, 1, 0]
    with pytest.raises(ValueError, match="weather, ground, bird"):
        labels_of(scenes, "sky")


def test_the_confusion_figure_reads_its_commonest_mistake() -> None:
    counts = np.array([[3, 2], [0, 5]])
    sentence = plots_classes.confusion(counts, ["cat", "boat"])
    assert sentence == (
        "8 of 10 pictures are named right (80.0%); "
        "the commonest mistake is 'boat' for 'cat', 2 of 5."
    )
    assert [text.get_text() for text in plt.gcf().axes[0].texts] == ["0.60", "0.40", "0.00", "1.00"]
    assert "nothing is mistaken" in plots_classes.confusion(np.eye(2, dtype=int), ["cat", "boat"])
    with pytest.raises(ValueError, match="3 classes"):
        plots_classes.confusion(counts, ["a", "b", "c"])


def test_the_figure_by_class_names_both_ends_and_chance() -> None:
    values = {"words": np.array([0.5, np.nan, 1.0])}
    sentence = plots_classes.by_class(values, ["cat", "none", "boat"], 1 / 3, "accuracy")
    assert sentence == (
        "words: 75.0% on average, from 50.0% (cat) to 100.0% (boat). Chance: 33.3%."
    )
    assert plt.gca().get_xlabel() == "accuracy (%)"
    with pytest.raises(ValueError, match="2 values each"):
        plots_classes.by_class(values, ["cat", "boat"], 0.5, "accuracy")


def test_few_shots_are_so_many_of_each_class_and_grow_by_adding() -> None:
    labels = torch.tensor([0, 1, 2, 0, 1, 0, 1, 0, 1, 0] * 3)  # class 2 has three pictures
    for shots in (1, 3, 5):
        rows = few_shots(labels, shots, seed=4)
        counts = torch.bincount(labels[rows], minlength=3).tolist()
        assert counts == [shots, shots, min(shots, 3)]
        assert rows.tolist() == sorted(set(rows.tolist()))
    assert set(few_shots(labels, 2, 4).tolist()) < set(few_shots(labels, 3, 4).tolist())
    assert few_shots(labels, 3, 4).tolist() == few_shots(labels, 3, 4).tolist()
    assert few_shots(labels, 3, 4).tolist() != few_shots(labels, 3, 5).tolist()
    with pytest.raises(ValueError, match="at least 1, not 0"):
        few_shots(labels, 0)
