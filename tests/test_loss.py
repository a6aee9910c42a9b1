"""The contrastive loss and its two references, against values known from elsewhere."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cliplib.loss import contrastive_loss, loss_floor, reader_loss, similarity_logits


def unit_rows(rows: int, width: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(rows, width, generator=generator, dtype=dtype), dim=1)


def scale(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def loss_in_numpy(images: np.ndarray, texts: np.ndarray, logit_scale: float) -> float:
    """The second implementation: two explicit softmaxes in double precision."""
    logits = logit_scale * np.array([[float(np.dot(i, t)) for t in texts] for i in images])
    of_captions = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)  # for each picture
    of_pictures = np.exp(logits) / np.exp(logits).sum(axis=0, keepdims=True)  # for each caption
    right = range(len(images))
    picks = [-math.log(of_captions[i, i]) for i in right]
    picks += [-math.log(of_pictures[i, i]) for i in right]
    return sum(picks) / len(picks)


@pytest.mark.parametrize("logit_scale", [1.0, 14.3, 100.0])
def test_a_crowded_batch_agrees_with_two_explicit_softmaxes(logit_scale: float) -> None:
    images, texts = unit_rows(32, 4, seed=1), unit_rows(32, 4, seed=2)
    texts = F.normalize(texts + images, dim=1)  # related, so that both directions count
    expected = loss_in_numpy(images.numpy(), texts.numpy(), logit_scale)
    found = contrastive_loss(images, texts, scale(logit_scale))
    assert found.item() == pytest.approx(expected, rel=1e-12)
    single = contrastive_loss(images.float(), texts.float(), scale(logit_scale).float())
    assert single.item() == pytest.approx(expected, rel=1e-4)


def test_a_batch_that_can_be_worked_out_on_paper() -> None:
    images = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    texts = torch.tensor([[1.0, 0.0], [1.0, 0.0]])  # both captions say the first picture
    by_picture = (math.log(2) + math.log(2)) / 2  # neither can tell the captions apart
    by_caption = (math.log(1 + math.exp(-3)) + math.log(1 + math.exp(3))) / 2
    found = contrastive_loss(images, texts, torch.tensor(3.0)).item()
    assert found == pytest.approx((by_picture + by_caption) / 2, rel=1e-6)


@pytest.mark.parametrize("pairs", [2, 7, 64])
def test_who_cannot_tell_anything_apart_pays_log_b(pairs: int) -> None:
    rows = unit_rows(1, 8, seed=3).expand(pairs, 8)
    assert contrastive_loss(rows, rows, scale(14.3)).item() == pytest.approx(math.log(pairs))
    other = unit_rows(pairs, 8, seed=4)
    assert contrastive_loss(rows, other, scale(0.0)).item() == pytest.approx(math.log(pairs))


def test_logits_have_a_row_for_each_picture() -> None:
    images, texts = unit_rows(3, 5, seed=5), unit_rows(3, 5, seed=6)
    logits = similarity_logits(images, texts, scale(2.0))
    assert logits.shape == (3, 3)
    assert logits[0, 2].item() == pytest.approx(2 * torch.dot(images[0], texts[2]).item())


def test_pictures_and_captions_may_change_places() -> None:
    images, texts = unit_rows(9, 6, seed=7), unit_rows(9, 6, seed=8)
    one = contrastive_loss(images, texts, scale(14.3)).item()
    assert contrastive_loss(texts, images, scale(14.3)).item() == pytest.approx(one, rel=1e-12)
    logits = similarity_logits(images, texts, scale(14.3))
    one_way = F.cross_entropy(logits, torch.arange(9)).item()
    assert abs(one_way - one) > 1e-3, "else one direction alone would pass"


def test_the_order_of_the_pairs_does_not_matter() -> None:
    images, texts = unit_rows(9, 6, seed=9), unit_rows(9, 6, seed=10)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    one = contrastive_loss(images, texts, scale(14.3)).item()
    moved = contrastive_loss(images[order], texts[order], scale(14.3)).item()
    assert moved == pytest.approx(one, rel=1e-12)
    assert contrastive_loss(images, texts[order], scale(14.3)).item() != pytest.approx(one)


def test_perfect_pairs_cost_nothing_and_wrong_ones_much() -> None:
    rows = torch.eye(8, dtype=torch.float64)
    assert 0 <= contrastive_loss(rows, rows, scale(100.0)).item() < 1e-12
    assert contrastive_loss(rows, rows, scale(10.0)).item() < 1e-3
    assert contrastive_loss(rows, rows.roll(1, 0), scale(100.0)).item() > 99
    close = F.normalize(rows + 0.3 * unit_rows(8, 8, seed=11), dim=1)
    worse = contrastive_loss(rows, close.roll(1, 0), scale(14.3)).item()
    assert contrastive_loss(rows, close, scale(14.3)).item() < math.log(8) < worse


def test_a_huge_scale_overflows_nothing() -> None:
    rows = unit_rows(16, 8, seed=12, dtype=torch.float32).requires_grad_()
    loss = contrastive_loss(rows, rows.detach().flip(0), torch.tensor(1e4))
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(rows.grad).all()


def test_the_gradients_are_right() -> None:
    images, texts = unit_rows(5, 3, seed=13), unit_rows(5, 3, seed=14)
    arguments = tuple(part.requires_grad_() for part in (images, texts, scale(3.0)))
    assert torch.autograd.gradcheck(contrastive_loss, arguments)
    contrastive_loss(*arguments).backward()
    assert all(part.grad.abs().sum() > 0 for part in arguments)


@pytest.mark.parametrize(
    ("images", "texts", "sentence"),
    [
        ((4, 8), (4, 6), r"one shape \(B, E\).*got \(4, 8\) and \(4, 6\)"),
        ((4, 8), (3, 8), r"got \(4, 8\) and \(3, 8\)"),
        ((8,), (8,), r"got \(8,\) and \(8,\)"),
        ((2, 4, 8), (2, 4, 8), r"got \(2, 4, 8\)"),
        ((1, 8), (1, 8), r"at least two pairs.*loss is always 0"),
        ((0, 8), (0, 8), r"at least two pairs"),
    ],
)
def test_what_cannot_be_a_batch_is_refused(
    images: tuple[int, ...], texts: tuple[int, ...], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        contrastive_loss(torch.ones(images), torch.ones(texts), torch.tensor(1.0))


@pytest.mark.parametrize(
    ("captions", "floor"),
    [
        ("abcd", 0.0),
        ("aaaa", math.log(4)),
        ("aab", 2 * math.log(2) / 3),
        ("abab", math.log(2)),
        ("aaabbc", (3 * math.log(3) + 2 * math.log(2)) / 6),
    ],
)
def test_the_floor_of_equal_captions(captions: str, floor: float) -> None:
    assert loss_floor(captions) == pytest.approx(floor, abs=1e-15)
    assert loss_floor([f"a {letter}" for letter in reversed(captions)]) == pytest.approx(floor)


def test_no_embeddings_come_below_the_floor_and_the_best_reach_it() -> None:
    captions = torch.tensor([0, 0, 0, 1, 1, 2])  # equal captions, equal embeddings
    floor = loss_floor(captions.tolist())
    images = unit_rows(6, 6, seed=17).requires_grad_()
    texts = unit_rows(3, 6, seed=18).requires_grad_()
    log_scale = scale(1.0).requires_grad_()
    optimiser = torch.optim.Adam([images, texts, log_scale], lr=0.05)
    losses = []
    for _ in range(400):
        rows, words = F.normalize(images, dim=1), F.normalize(texts, dim=1)[captions]
        loss = contrastive_loss(rows, words, log_scale.exp())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert min(losses) > floor
    assert losses[0] > floor + 0.3 and losses[-1] < floor + 0.001


def test_a_reader_pays_the_logarithm_of_what_is_equally_true() -> None:
    assert reader_loss(np.eye(5, dtype=bool)) == 0
    assert reader_loss(np.ones((5, 5), bool)) == pytest.approx(math.log(5))
    truth = np.array([[1, 1, 0], [0, 1, 0], [0, 1, 1]], bool)  # rows 2, 1, 2; columns 1, 3, 1
    expected = (2 * math.log(2) / 3 + math.log(3) / 3) / 2
    assert reader_loss(truth) == pytest.approx(expected)
    assert reader_loss(truth.T) == pytest.approx(expected)  # both directions count alike


@pytest.mark.parametrize("truth", [np.ones((2, 3), bool), np.zeros((2, 2), bool)])
def test_a_reader_needs_own_pictures_on_the_diagonal(truth: np.ndarray) -> None:
    with pytest.raises(ValueError, match="its own picture"):
        reader_loss(truth)
