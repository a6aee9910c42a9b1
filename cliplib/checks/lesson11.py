"""Checks of lesson 11: log-sum-exp in blocks, gradients chunk by chunk, the bill of a training."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.overrides import TorchFunctionMode

from cliplib.checks import Yours, check
from cliplib.model import unit

PAIRS, WIDTH = 30, 8  # B, E of the small batches here


def _rows(seed: int = 0, width: int = WIDTH) -> tuple[Tensor, Tensor]:
    made = torch.Generator().manual_seed(seed)
    images, texts = (unit(torch.randn(PAIRS, width, generator=made)) for _ in "it")
    return images, texts


def log_sums(yours: Yours) -> None:
    """Exercise 1: images, texts (B, E), a scale and a block's columns in, (B,) out."""
    check("11.1", yours, [_one_each, _one_block, _blocks, _whole_width, _large_scale, _in_parts])


def _right(images: Tensor, texts: Tensor, scale: float) -> Tensor:
    return (scale * images @ texts.T).logsumexp(1)


def _close(found: Tensor, right: Tensor) -> bool:
    return bool(torch.allclose(found, right, atol=1e-4, rtol=1e-4))


def _one_each(yours: Yours) -> str:
    shape = tuple(yours(*_rows(), 5.0, 10).shape)
    if shape == (PAIRS, 1):
        return f"shape {shape} came back. Is it one number a row, without a second dimension?"
    if shape != (PAIRS,):
        return f"shape {shape} came back of {PAIRS} pictures. Is there one number for each?"
    return ""


def _one_block(yours: Yours) -> str:
    images, texts = _rows()
    found = yours(images, texts, 5.0, PAIRS)
    if _close(found, _right(images, texts, 5.0)):
        return ""
    if _close(found, _right(texts, images, 5.0)):
        return "in one block you have the captions' sums. Does row i belong to picture i?"
    if _close(found, _right(images, texts, 1.0)):
        return "in one block the scale changes nothing. Is each cosine multiplied by it?"
    if _close(found, _right(images, texts, 5.0).exp()):
        return "in one block your numbers are e to the right ones. Is the logarithm taken?"
    return f"in one block the first is {found[0].item():.3f}, expected " + (
        f"{_right(images, texts, 5.0)[0].item():.3f}. Is it log of the sum of exp?"
    )


def _blocks(yours: Yours) -> str:
    images, texts = _rows()
    found, right = yours(images, texts, 5.0, 10), _right(images, texts, 5.0)
    if _close(found, right):
        return ""
    parts = [(5.0 * images @ part.T).logsumexp(1) for part in texts.split(10)]
    if _close(found, sum(parts)):
        return "three blocks: logarithms were added. Which sum do two logarithms stand for?"
    if _close(found, parts[-1]):
        return "three blocks: only the last one counts. Is the sum of the earlier ones kept?"
    off = (found - right).abs().max().item()
    return f"three blocks: off by {off:.2f}. When a larger maximum comes, what of the old sum?"


def _whole_width(yours: Yours) -> str:
    images, texts = _rows()
    for size in (7, 1, 64):
        found = yours(images, texts, 5.0, size)
        if not _close(found, _right(images, texts, 5.0)):
            return f"blocks of {size} for {PAIRS} columns went wrong. What of the last, short one?"
    return ""


def _large_scale(yours: Yours) -> str:
    images, texts = _rows()
    for other, name in ((images, "equal"), (-images, "opposite"), (texts, "random")):
        found = yours(images, other, 100.0, 7)
        if not torch.isfinite(found).all():
            return f"scale 100, {name} vectors: {found[0].item()}. What is exp(100) in float32?"
        if not _close(found, _right(images, other, 100.0)):
            return f"scale 100, {name} vectors: wrong. Is the largest logit so far taken off first?"
    return ""


class _Alive(TorchFunctionMode):
    """The most numbers that stood at once in tensors made while it lasts."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[weakref.ref[Tensor]] = []
        self.most = 0

    def __torch_function__(
        self, function: Callable, types: Sequence[type], args: tuple = (),
        kwargs: dict | None = None,
    ) -> object:  # fmt: skip
        result = function(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result._base is None:
            self.made = [ref for ref in self.made if ref() is not None] + [weakref.ref(result)]
            self.most = max(
                self.most, sum(t.numel() for ref in self.made if (t := ref()) is not None)
            )
        return result


def _in_parts(yours: Yours) -> str:
    images, texts = _rows()
    images, texts = images.repeat(10, 1), texts.repeat(10, 1)  # (300, E)
    with torch.no_grad(), _Alive() as alive:
        yours(images, texts, 5.0, 4)
    if alive.most >= len(images) ** 2 / 2:
        return (
            f"with blocks of 4 columns, {alive.most:,} numbers stood at once, and the whole matrix "
            f"has {len(images) ** 2:,}. Is a block let go when the next is made?"
        )
    return ""


class _Counted(torch.autograd.Function):
    """Passes everything on, and counts the graphs that wait for their way back."""

    @staticmethod
    def forward(ctx: FunctionCtx, rows: Tensor, encoder: ToyEncoder) -> Tensor:
        ctx.encoder = encoder
        encoder.waiting += 1
        encoder.most_waiting = max(encoder.most_waiting, encoder.waiting)
        return rows.clone()

    @staticmethod
    def backward(ctx: FunctionCtx, upstream: Tensor) -> tuple[Tensor, None]:
        ctx.encoder.waiting -= 1
        return upstream, None


class ToyEncoder(nn.Module):
    """(B, 6) to (B, E) unit rows in float64; notes how many rows and graphs it holds at once."""

    def __init__(self, drop: float = 0.0) -> None:
        super().__init__()
        made = torch.Generator().manual_seed(3)
        self.first, self.last = (
            nn.Parameter(torch.randn(shape, generator=made, dtype=torch.float64))
            for shape in ((6, 10), (10, WIDTH))
        )
        self.drop = nn.Dropout(drop)
        self.waiting = self.most_waiting = self.most_rows = 0

    def forward(self, rows: Tensor) -> Tensor:
        self.most_rows = max(self.most_rows, len(rows))
        hidden = self.drop((rows @ self.first).tanh())
        if torch.is_grad_enabled():
            hidden = _Counted.apply(hidden, self)
        return unit(hidden @ self.last)

    def gradients(self) -> Tensor:
        """All in one row; 0 where there are none."""
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters()]
        return torch.cat([part.flatten() for part in parts])


def _pictures_and_loss() -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    made = torch.Generator().manual_seed(5)
    pictures = torch.randn(PAIRS, 6, generator=made, dtype=torch.float64)
    texts = unit(torch.randn(PAIRS, WIDTH, generator=made, dtype=torch.float64))

    def loss_of(embeddings: Tensor) -> Tensor:
        """Pictures pick their captions among those of as many rows as came, from the first on."""
        logits = 5 * embeddings @ texts[: len(embeddings)].T
        return (logits.logsumexp(1) + logits.logsumexp(0)).mean() / 2 - logits.diagonal().mean()

    return pictures, loss_of


def cached_step(yours: Yours) -> None:
    """Exercise 2: an encoder, pictures (B, D), a loss of embeddings, and a chunk's size."""
    check("11.2", yours, [_the_loss, _the_gradients, _uneven, _same_dropout, _a_chunk_at_a_time])


def _taken(yours: Yours, size: int, drop: float = 0.0) -> tuple[ToyEncoder, Tensor]:
    pictures, loss_of = _pictures_and_loss()
    encoder = ToyEncoder(drop)
    torch.manual_seed(11)
    loss = yours(encoder, pictures, loss_of, size)
    return encoder, torch.as_tensor(loss).detach()


def _whole(size: int = PAIRS, drop: float = 0.0) -> tuple[Tensor, Tensor]:
    """Gradients and loss when the graph of all chunks stands at once, with the same dropout."""
    pictures, loss_of = _pictures_and_loss()
    encoder = ToyEncoder(drop)
    torch.manual_seed(11)
    loss = loss_of(torch.cat([encoder(part) for part in pictures.split(size)]))
    loss.backward()
    return encoder.gradients(), loss.detach()


def _of_chunks(size: int) -> Tensor:
    """Gradients of the mean of the chunks' own losses: accumulation."""
    pictures, loss_of = _pictures_and_loss()
    encoder = ToyEncoder()
    parts = pictures.split(size)
    for part in parts:
        (loss_of(encoder(part)) / len(parts)).backward()
    return encoder.gradients()


def _the_loss(yours: Yours) -> str:
    loss, right = _taken(yours, 10)[1], _whole()[1]
    if abs(loss - right) > 1e-6:
        return (
            f"the loss is {loss.item():.4f}, that of the whole batch {right.item():.4f}. Do all "
            "embeddings meet in one matrix?"
        )
    return ""


def _along(found: Tensor, right: Tensor) -> float | None:
    """How many times the right gradients these are, if they point the same way."""
    times = float(found @ right / (right @ right))
    return times if torch.allclose(found, times * right, atol=1e-9) else None


def _the_gradients(yours: Yours) -> str:
    found, right = _taken(yours, 10)[0].gradients(), _whole()[0]
    if torch.allclose(found, right, atol=1e-9):
        return ""
    if not found.any():
        return "the encoder has no gradients. Does each chunk go through it again, with a graph?"
    if (times := _along(found, right)) is not None:
        return f"the gradients are {times:.2f} times the right ones. Are chunks added, or averaged?"
    parts = _of_chunks(10)
    if _along(found, parts) is not None:
        return "the gradients are those of a loss for each chunk. Which embeddings does it compare?"
    if _last_chunk(found, 10):
        return "only the last chunk's gradients are there. Are those of the others added up?"
    return (
        "the gradients differ from the whole batch's. Does chunk i get its own rows of the "
        "embeddings' gradients?"
    )


def _last_chunk(found: Tensor, size: int) -> bool:
    pictures, loss_of = _pictures_and_loss()
    encoder = ToyEncoder()
    with torch.no_grad():
        rows = encoder(pictures)
    rows.requires_grad_()
    loss_of(rows).backward()
    encoder(pictures[-size:]).backward(rows.grad[-size:])
    return torch.allclose(found, encoder.gradients(), atol=1e-9)


def _uneven(yours: Yours) -> str:
    for size in (7, 1, PAIRS):
        if not torch.allclose(_taken(yours, size)[0].gradients(), _whole()[0], atol=1e-9):
            return f"chunks of {size} of {PAIRS} rows went wrong. What of the last, short one?"
    return ""


def _same_dropout(yours: Yours) -> str:
    found, right = _taken(yours, 10, 0.5)[0].gradients(), _whole(10, 0.5)[0]
    if not torch.allclose(found, right, atol=1e-9):
        return (
            "with dropout the gradients belong to other embeddings than the loss. Does a chunk "
            "draw the same random numbers the second time?"
        )
    return ""


def _a_chunk_at_a_time(yours: Yours) -> str:
    encoder = _taken(yours, 5)[0]
    if encoder.most_rows > 5:
        return f"the encoder got {encoder.most_rows} rows at once, a chunk has 5. Is it split?"
    if encoder.most_waiting > 1:
        return (
            f"the graphs of {encoder.most_waiting} chunks stood at once. Is the first pass without "
            "a graph, and each chunk sent back before the next?"
        )
    return ""


def bill(yours: Yours) -> None:
    """Exercise 3: pairs, epochs, a batch, cards and days in; five numbers out."""
    check("11.3", yours, [_five, _steps, _seen, _hours, _speed, _matrix])


SMALL = (1000, 3, 10, 2, 0.5)  # 1,000 pairs, 3 epochs, B = 10, two cards for half a day
OPENAI = (400_000_000, 32, 32_768, 256, 12)


def _five(yours: Yours) -> str:
    found = yours(*SMALL)
    if not isinstance(found, list | tuple) or len(found) != 5:
        return f"{found!r} came back. Are there five numbers, in the order of the task?"
    return ""


def _is(found: object, right: float) -> bool:
    return abs(float(found) - right) <= 1e-6 * right


def _steps(yours: Yours) -> str:
    small, found = yours(*SMALL)[0], yours(*OPENAI)[0]
    if _is(small, 100):
        return "1,000 pairs, 3 epochs, batches of 10: 100 steps. How often is each pair seen?"
    if not _is(small, 300) or not _is(found, 390_625):
        return f"OpenAI's steps came out as {found:,}. A step takes a batch: how many fit in all?"
    return ""


def _seen(yours: Yours) -> str:
    found = yours(*SMALL)[1]
    if not _is(found, 3000):
        return f"1,000 pairs in 3 epochs: {found:,} seen. Is it every pair, in every epoch?"
    return ""


def _hours(yours: Yours) -> str:
    found = yours(*SMALL)[2]
    if _is(found, 1):
        return "two cards for half a day gave 1: those are days. How many hours has a day?"
    if _is(found, 12):
        return "two cards for half a day gave 12 hours. Does each card count?"
    if not _is(found, 24):
        return f"two cards for half a day gave {found} hours. Cards times days times what?"
    return ""


def _speed(yours: Yours) -> str:
    found, right = float(yours(*OPENAI)[3]), 12_800_000_000 / (256 * 12 * 86_400)
    if _is(found, right * 256):
        return f"{found:,.0f} pairs a second is what all cards do. What of one?"
    if _is(found, right * 3600):
        return f"{found:,.0f} is pairs an hour. How many seconds has one?"
    if not _is(found, right):
        return f"{found:,.2f} pairs a second on a card. Pairs seen over seconds of all cards?"
    return ""


def _matrix(yours: Yours) -> str:
    found = yours(*OPENAI)[4]
    if _is(found, 32_768**2):
        return f"{found:,} is the number of cells. How many bytes has a float32?"
    if _is(found, 4 * 32_768):
        return f"{found:,} bytes is one row. How many rows has the matrix?"
    if not _is(found, 4 * 32_768**2):
        return f"the matrix came out as {found:,} bytes. B rows, B columns, 4 bytes each?"
    return ""
