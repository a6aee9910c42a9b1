"""What lesson 03 teaches and what cliplib holds give the same values."""

import pytest
import torch
import torch.nn.functional as F
from test_checks import taught_by

from cliplib.loss import contrastive_loss, loss_floor, similarity_logits

NAME = "03_contrastive_loss.ipynb"
LOGIT_SCALE = torch.tensor(14.3, dtype=torch.float64)


@pytest.fixture(scope="module")
def taught() -> dict[str, object]:
    return taught_by(NAME)


def features(seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(9, 6, generator=generator, dtype=torch.float64)


def library_loss(images: torch.Tensor, texts: torch.Tensor) -> float:
    return contrastive_loss(F.normalize(images), F.normalize(texts), LOGIT_SCALE).item()


@pytest.mark.parametrize("seed", range(3))
def test_the_loss_of_the_steps_is_the_librarys(taught: dict, seed: int) -> None:
    images, texts = features(seed), features(seed + 100)
    logits = similarity_logits(F.normalize(images), F.normalize(texts), LOGIT_SCALE)
    assert taught["symmetric_loss"](logits).item() == pytest.approx(library_loss(images, texts))


@pytest.mark.parametrize("seed", range(3))
def test_the_solutions_are_the_librarys(taught: dict, seed: int) -> None:
    images, texts = features(seed), features(seed + 100)
    found = taught["clip_loss"](images, texts, LOGIT_SCALE).item()
    assert found == pytest.approx(library_loss(images, texts))
    cosines = similarity_logits(F.normalize(images), F.normalize(texts), torch.tensor(1.0))
    assert torch.allclose(taught["cosine_matrix"](images, texts), cosines)


def test_the_gradient_is_autograds(taught: dict) -> None:
    logits = features(0)[:6].requires_grad_()
    targets = torch.arange(6)
    ((F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets)) / 2).backward()
    found = taught["logit_gradient"](logits.detach())
    assert torch.allclose(found, logits.grad, atol=1e-7)


@pytest.mark.parametrize("captions", ["aab", "abab", "abc", "aaaa", "abbbcc"])
def test_the_floor_is_the_librarys(taught: dict, captions: str) -> None:
    assert taught["equal_caption_floor"](list(captions)) == pytest.approx(loss_floor(captions))
