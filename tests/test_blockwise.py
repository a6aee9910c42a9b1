"""Losses in blocks, against the plain forms that keep the whole matrix."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cliplib import blockwise, loss
from cliplib.blockwise import BLOCK, contrastive_loss_in_blocks, sigmoid_loss

SCALES = [1.0, 14.3, 100.0]
SHAPES = [(2, 3), (7, 5), (8, 1), (33, 16), (64, 512)]


def rows(count: int, width: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(count, width, generator=generator, dtype=torch.float64), dim=1)


def batch(count: int, width: int, matched: bool) -> tuple[Tensor, Tensor]:
    images, texts = rows(count, width, 1), rows(count, width, 2)
    return images, F.normalize(images + 0.3 * texts, dim=1) if matched else texts


def plain_contrastive(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    logits = scale * images @ texts.T
    own = torch.arange(len(images))
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def plain_sigmoid(images: Tensor, texts: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    logits = scale * images @ texts.T + bias
    signs = 2 * torch.eye(len(images), dtype=images.dtype) - 1  # +1 for true pairs, else -1
    return -F.logsigmoid(signs * logits).sum() / len(images)


def with_gradients(form, *arguments: Tensor) -> list[Tensor]:
    """The value, and its gradient by every argument, when it is used three times over."""
    leaves = [a.detach().clone().requires_grad_() for a in arguments]
    value = form(*leaves)
    (3 * value).backward()
    return [value.detach(), *(leaf.grad for leaf in leaves)]


def number(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


@pytest.fixture
def flushing():
    torch.set_flush_denormal(True)
    yield
    torch.set_flush_denormal(False)


@pytest.mark.parametrize("matched", [True, False])
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(("count", "width"), SHAPES)
def test_contrastive_equals_the_plain_form(
    count: int, width: int, scale: float, matched: bool
) -> None:
    given = *batch(count, width, matched), number(scale)
    expected = with_gradients(plain_contrastive, *given)
    found = with_gradients(lambda *a: contrastive_loss_in_blocks(*a, block=8), *given)
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("matched", [True, False])
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(("count", "width"), SHAPES)
def test_sigmoid_equals_the_plain_form(count: int, width: int, scale: float, matched: bool) -> None:
    given = *batch(count, width, matched), number(scale), number(-10.0)
    expected = with_gradients(plain_sigmoid, *given)
    found = with_gradients(lambda *a: sigmoid_loss(*a, block=8), *given)
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("block", [50, 512])
@pytest.mark.parametrize("matched", [True, False])
@pytest.mark.parametrize("scale", [14.3, 100.0, 1e4])
def test_float32_is_finite_and_right_at_large_scales(
    flushing: None, scale: float, matched: bool, block: int
) -> None:
    given = *batch(300, 64, matched), number(scale)
    expected = with_gradients(plain_contrastive, *given)
    single = [argument.float() for argument in given]
    found = with_gradients(lambda *a: contrastive_loss_in_blocks(*a, block=block), *single)
    for one, other in zip(expected, found, strict=True):
        largest = one.abs().max().item()
        torch.testing.assert_close(other.double(), one, rtol=1e-3, atol=3e-5 * max(1.0, largest))


@pytest.mark.parametrize("scale", [14.3, 100.0])
def test_no_exponent_of_a_whole_row_may_vanish(flushing: None, scale: float) -> None:
    """Every picture opposite to every caption: with one shift for all, each sum would be 0."""
    images = rows(1, 8, 3).expand(6, 8).float()
    given = images, -images, torch.tensor(scale)
    value, *gradients = with_gradients(contrastive_loss_in_blocks, *given)
    assert value.item() == pytest.approx(torch.log(torch.tensor(6.0)).item(), rel=1e-5)
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


def test_one_shift_serves_an_ordinary_batch_and_maxima_the_others(flushing: None) -> None:
    near = [part.float() for part in batch(50, 32, matched=True)]
    far = [part.float() for part in batch(500, 512, matched=False)]  # no cosine above 0.3
    for images, texts in (near, far):
        blocks = blockwise.Blocks(100 * images, texts, 16)
        assert blockwise.log_sums(blocks).shift is not None
    blocks = blockwise.Blocks(1e4 * near[0], -near[1], 16)
    assert blockwise.log_sums(blocks).shift is None
    expected = (blocks.scaled_images.double() @ blocks.texts.double().T).logsumexp(1)
    torch.testing.assert_close(
        blockwise.log_sums(blocks).rows.double(), expected, rtol=1e-5, atol=0
    )


def test_rows_that_are_no_unit_rows_do_not_overflow() -> None:
    images, texts = (3 * part.float() for part in batch(40, 16, matched=True))
    given = images, texts, torch.tensor(50.0)
    expected = with_gradients(plain_contrastive, *(part.double() for part in given))
    found = with_gradients(lambda *a: contrastive_loss_in_blocks(*a, block=16), *given)
    torch.testing.assert_close(found[0].double(), expected[0], rtol=1e-4, atol=1e-3)


def test_gradients_by_finite_differences() -> None:
    images, texts = (part.requires_grad_() for part in batch(5, 3, matched=False))
    scale, bias = number(3.0).requires_grad_(), number(-1.0).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda *a: contrastive_loss_in_blocks(*a, block=2), (images, texts, scale)
    )
    assert torch.autograd.gradcheck(
        lambda *a: sigmoid_loss(*a, block=2), (images, texts, scale, bias)
    )


def test_only_what_is_asked_for_gets_gradients() -> None:
    images, texts = batch(9, 4, matched=True)
    texts.requires_grad_()
    contrastive_loss_in_blocks(images, texts, number(5.0), block=4).backward()
    assert texts.grad.abs().sum() > 0


def test_a_value_alone_costs_no_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    images, texts = batch(9, 4, matched=True)
    passes = []
    through = blockwise.Blocks.__iter__
    monkeypatch.setattr(
        blockwise.Blocks, "__iter__", lambda self: passes.append(1) or through(self)
    )
    assert not contrastive_loss_in_blocks(images, texts, number(5.0)).requires_grad
    assert len(passes) == 1
    contrastive_loss_in_blocks(images.requires_grad_(), texts, number(5.0))
    assert len(passes) == 3


def test_half_precision_is_computed_in_float32() -> None:
    images, texts = (part.bfloat16().requires_grad_() for part in batch(30, 16, matched=True))
    found = contrastive_loss_in_blocks(images, texts, torch.tensor(100.0))
    expected = contrastive_loss_in_blocks(images.float(), texts.float(), torch.tensor(100.0))
    assert found.dtype == torch.float32 and found.item() == expected.item()
    found.backward()
    assert images.grad.dtype == torch.bfloat16


def test_large_batches_take_blocks_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    images, texts = (part.float() for part in batch(BLOCK + 3, 4, matched=True))
    expected = plain_contrastive(images, texts, torch.tensor(14.3))
    asked = []
    in_blocks = loss.contrastive_loss_in_blocks
    monkeypatch.setattr(
        loss, "contrastive_loss_in_blocks", lambda *a: asked.append(len(a[0])) or in_blocks(*a)
    )
    found = loss.contrastive_loss(images, texts, torch.tensor(14.3))
    assert found.item() == pytest.approx(expected.item(), rel=1e-5) and asked == [BLOCK + 3]
    loss.contrastive_loss(images[:BLOCK], texts[:BLOCK], torch.tensor(14.3))
    assert asked == [BLOCK + 3]


def test_the_sigmoid_loss_of_untrained_pairs_on_paper() -> None:
    """Two pairs at right angles, scale 0: each of four questions costs as its bias says."""
    eye = torch.eye(2, dtype=torch.float64)
    found = sigmoid_loss(eye, eye, number(0.0), number(-2.0)).item()
    yes, no = F.softplus(number(2.0)).item(), F.softplus(number(-2.0)).item()
    assert found == pytest.approx((2 * yes + 2 * no) / 2, rel=1e-12)


@pytest.mark.parametrize("shapes", [((4, 8), (4, 6)), ((8,), (8,))])
def test_matrices_that_do_not_match_are_refused(shapes: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(ValueError, match=r"one shape \(B, E\)"):
        sigmoid_loss(*(torch.ones(shape) for shape in shapes), number(1.0), number(0.0))


PEAK = """
import torch
from cliplib.blockwise import contrastive_loss_in_blocks
from cliplib.memory import peak_memory
from tests.test_blockwise import plain_contrastive
CPU = torch.device("cpu")

images, texts = (torch.nn.functional.normalize(torch.randn(8192, 32), dim=1) for _ in "ab")
images.requires_grad_()
form(images[:64], texts[:64], torch.tensor(14.3)).backward()
before = peak_memory(CPU)
form(images, texts, torch.tensor(14.3)).backward()
print((peak_memory(CPU) - before) / 1e6)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="The limits are those that Linux counts.")
def test_memory_does_not_hold_the_matrix() -> None:
    """8,192 pairs: the matrix alone has 268 MB."""
    found = {}
    for form in ("contrastive_loss_in_blocks", "plain_contrastive"):
        program = PEAK.replace("form(", f"{form}(")
        ran = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        )
        found[form] = float(ran.stdout)
    assert found["contrastive_loss_in_blocks"] < 60 and found["plain_contrastive"] > 500, found
