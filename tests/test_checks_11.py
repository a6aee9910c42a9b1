"""Wrong answers to lesson 11's exercises, and what the lesson writes against cliplib's own."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from test_checks import expect_hint, taught_by, wrong_answers
from torch import Tensor, nn

from cliplib.blockwise import Blocks, log_sums
from cliplib.checks import lesson11
from cliplib.model import unit


@pytest.fixture(autouse=True)
def own_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPLIB_DATA", str(tmp_path))


def whole(images: Tensor, texts: Tensor, scale: float, block: int) -> Tensor:
    return (scale * images @ texts.T).logsumexp(1)


def in_blocks(images: Tensor, texts: Tensor, scale: float, block: int) -> Tensor:
    total = torch.full((len(images),), -torch.inf)
    for part in texts.split(block):
        total = torch.logaddexp(total, (scale * images @ part.T).logsumexp(1))
    return total


def plain_sum(images: Tensor, texts: Tensor, scale: float, block: int) -> Tensor:
    return sum((scale * images @ part.T).exp().sum(1) for part in texts.split(block)).log()


def clipped(images: Tensor, texts: Tensor, scale: float, block: int) -> Tensor:
    """Finite, but e to the 80 is the largest it knows."""
    parts = texts.split(block)
    return sum((scale * images @ p.T).clamp(max=80).exp().sum(1) for p in parts).log()


def added(images: Tensor, texts: Tensor, scale: float, block: int) -> Tensor:
    return sum((scale * images @ part.T).logsumexp(1) for part in texts.split(block))


def last_one(images: Tensor, texts: Tensor, scale: float, block: int) -> Tensor:
    for part in texts.split(block):
        total = (scale * images @ part.T).logsumexp(1)
    return total


def not_rescaled(images: Tensor, texts: Tensor, scale: float, block: int) -> Tensor:
    """A new maximum is taken, the old sum stays on the old one."""
    most, total = torch.full((len(images),), -torch.inf), torch.zeros(len(images))
    for part in texts.split(block):
        logits = scale * images @ part.T
        most = torch.maximum(most, logits.amax(1))
        total = total + (logits - most[:, None]).exp().sum(1)
    return most + total.log()


def full_blocks_only(images: Tensor, texts: Tensor, scale: float, block: int) -> Tensor:
    kept = max(1, len(texts) // block) * block
    return in_blocks(images, texts[:kept], scale, block)


def kept_blocks(images: Tensor, texts: Tensor, scale: float, block: int) -> Tensor:
    parts = [scale * images @ part.T for part in texts.split(block)]
    return torch.stack([part.logsumexp(1) for part in parts]).logsumexp(0)


WRONG_SUMS = {
    "without a second dimension": lambda i, t, s, b: whole(i, t, s, b)[:, None],
    "one number for each": lambda i, t, s, b: whole(i, t, s, b).mean(),
    "row i belong to picture i": lambda i, t, s, b: in_blocks(t, i, s, b),
    "multiplied by it": lambda i, t, s, b: in_blocks(i, t, 1.0, b),
    "logarithm taken": lambda i, t, s, b: in_blocks(i, t, s, b).exp(),
    "log of the sum of exp": lambda i, t, s, b: (s * i @ t.T).amax(1),
    "logarithms were added": added,
    "earlier ones kept": last_one,
    "what of the old sum": not_rescaled,
    "the last, short one": full_blocks_only,
    "exp(100) in float32": plain_sum,
    "taken off first": clipped,
    "whole matrix": whole,
    "let go when the next": kept_blocks,
}
Loss = Callable[[Tensor], Tensor]


def cached(
    encoder: nn.Module, pictures: Tensor, loss_of: Loss, chunk: int,
    times: float = 1.0, states: bool = True, clear: bool = False, reverse: bool = False,
) -> Tensor:  # fmt: skip
    """The right one, and what its options make wrong."""
    parts, drawn, found = pictures.split(chunk), [], []
    with torch.no_grad():
        for part in parts:
            drawn.append(torch.get_rng_state())
            found.append(encoder(part))
    rows = torch.cat(found).requires_grad_()
    loss = loss_of(rows)
    loss.backward()
    slopes = rows.grad.flip(0) if reverse else rows.grad
    for part, state, slope in zip(parts, drawn, slopes.split(chunk), strict=True):
        if states:
            torch.set_rng_state(state)
        if clear:
            encoder.zero_grad()
        encoder(part).backward(times * slope)
    return loss.detach()


def chunk_losses(encoder: nn.Module, pictures: Tensor, loss_of: Loss, chunk: int) -> Tensor:
    parts = pictures.split(chunk)
    losses = [loss_of(encoder(part)) / len(parts) for part in parts]
    for loss in losses:
        loss.backward()
    return sum(losses).detach()


def chunk_gradients(encoder: nn.Module, pictures: Tensor, loss_of: Loss, chunk: int) -> Tensor:
    """Says the whole batch's loss, and learns from the chunks'."""
    chunk_losses(encoder, pictures, loss_of, chunk)
    with torch.no_grad():
        return loss_of(torch.cat([encoder(part) for part in pictures.split(chunk)]))


def no_second_pass(encoder: nn.Module, pictures: Tensor, loss_of: Loss, chunk: int) -> Tensor:
    with torch.no_grad():
        rows = torch.cat([encoder(part) for part in pictures.split(chunk)])
    loss = loss_of(rows.requires_grad_())
    loss.backward()
    return loss


def all_at_once(encoder: nn.Module, pictures: Tensor, loss_of: Loss, chunk: int) -> Tensor:
    """In chunks only where dropout would show it."""
    loss = loss_of(torch.cat([encoder(part) for part in pictures.split(chunk)]))
    loss.backward()
    return loss


def not_split(encoder: nn.Module, pictures: Tensor, loss_of: Loss, chunk: int) -> Tensor:
    with torch.no_grad():
        state = torch.get_rng_state()
        encoder(pictures)
        torch.set_rng_state(state)
    return cached(encoder, pictures, loss_of, chunk)


def whole_chunks(encoder: nn.Module, pictures: Tensor, loss_of: Loss, chunk: int) -> Tensor:
    """The last chunk goes back only when it is full."""
    full = cached(encoder, pictures, loss_of, chunk)
    if len(pictures) % chunk:
        encoder.zero_grad()
    return full


WRONG_STEPS = {
    "meet in one matrix": chunk_losses,
    "again, with a graph": no_second_pass,
    "added, or averaged": lambda e, p, f, c: cached(e, p, f, c, times=c / len(p)),
    "a loss for each chunk": chunk_gradients,
    "only the last chunk's": lambda e, p, f, c: cached(e, p, f, c, clear=True),
    "own rows of the": lambda e, p, f, c: cached(e, p, f, c, reverse=True),
    "chunks of 7 of 30": whole_chunks,
    "same random numbers": lambda e, p, f, c: cached(e, p, f, c, states=False),
    "graphs of 6 chunks": all_at_once,
    "Is it split": not_split,
}


def right_bill(pairs: int, epochs: int, batch: int, cards: int, days: float) -> tuple[float, ...]:
    seen = pairs * epochs
    hours = cards * days * 24
    return seen / batch, seen, hours, seen / (hours * 3600), 4 * batch**2


def other(at: int, changed: Callable[..., float]) -> Callable[..., tuple[float, ...]]:
    """The right bill with one entry that is computed otherwise."""

    def wrong(*given: float) -> tuple[float, ...]:
        found = list(right_bill(*given))
        found[at] = changed(*given)
        return tuple(found)

    return wrong


WRONG_BILLS = {
    "five numbers": lambda *given: sum(right_bill(*given)),
    "is each pair seen": other(0, lambda p, e, b, c, d: p / b),
    "how many fit": other(0, lambda p, e, b, c, d: p * e),
    "in every epoch": other(1, lambda p, e, b, c, d: p),
    "hours has a day": other(2, lambda p, e, b, c, d: c * d),
    "each card count": other(2, lambda p, e, b, c, d: 24 * d),
    "times what": other(2, lambda p, e, b, c, d: 24 * (c + d)),
    "What of one": other(3, lambda p, e, b, c, d: p * e / (d * 86400)),
    "pairs an hour": other(3, lambda p, e, b, c, d: p * e / (c * d * 24)),
    "seconds of all cards": other(3, lambda p, e, b, c, d: p / (c * d * 86400)),
    "bytes has a float32": other(4, lambda p, e, b, c, d: b**2),
    "one row": other(4, lambda p, e, b, c, d: 4 * b),
    "4 bytes each": other(4, lambda p, e, b, c, d: 8 * b**2),
}


@wrong_answers(
    (lesson11.log_sums, WRONG_SUMS),
    (lesson11.cached_step, WRONG_STEPS),
    (lesson11.bill, WRONG_BILLS),
)
def test_a_wrong_answer_gets_the_right_hint(
    checker: Callable, hint: str, wrong: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    expect_hint(checker, hint, wrong, capsys)


@pytest.mark.parametrize(
    ("checker", "right"),
    [
        (lesson11.log_sums, in_blocks),
        (lesson11.cached_step, cached),
        (lesson11.bill, right_bill),
    ],
)
def test_another_right_way_passes(
    checker: Callable, right: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    checker(right)
    assert capsys.readouterr().out.startswith("[x]")


@pytest.fixture(scope="module")
def taught() -> dict[str, Callable]:
    return taught_by("11_scale.ipynb")


@pytest.mark.parametrize("seed", range(3))
def test_what_the_lesson_writes_agrees_with_cliplib(taught: dict[str, Callable], seed: int) -> None:
    torch.manual_seed(seed)
    images, texts = unit(torch.randn(50, 16)), unit(torch.randn(50, 16))
    for scale, block in ((3.0, 7), (100.0, 16)):
        right = log_sums(Blocks(scale * images, texts, 2048))
        torch.testing.assert_close(taught["log_sums"](images, texts, scale, block), right.rows)


def test_openais_bill_is_the_one_that_the_lesson_names(taught: dict[str, Callable]) -> None:
    steps, seen, hours, speed, matrix = taught["bill"](400_000_000, 32, 32_768, 256, 12)
    assert (steps, seen, hours) == (390_625, 12_800_000_000, 73_728)
    assert speed == pytest.approx(48.2, abs=0.1) and matrix == 2**32
    assert taught["bill"](400_000_000, 32, 32_768, 592, 18)[2] == 255_744
