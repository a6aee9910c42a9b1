"""Losses of large batches: their (B, B) matrix is made block by block, and never stands whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

BLOCK = 2048  # rows and columns at a time; smaller blocks are slower, larger ones gain nothing
LARGEST_EXPONENT = 70  # of e: with 2¹⁵ such numbers added up, float32 still holds the sum
SMALLEST_SUM = 1e-25  # numbers too small for float32, below 1e-38, no longer count beside it


@dataclass(frozen=True)
class Blocks:
    """The logits of all pairs, one block after the other in the same piece of memory.

    Shapes: two (B, E) matrices, the images already times the logit scale.
    """

    scaled_images: Tensor
    texts: Tensor
    size: int

    def __iter__(self) -> Iterator[tuple[slice, slice, Tensor]]:
        """Rows, columns, and their logits, which you may overwrite, until the next is asked for."""
        images, texts, size = self.scaled_images, self.texts, self.size
        memory = images.new_empty(min(size, len(images)) * min(size, len(texts)))
        for top in range(0, len(images), size):
            rows = slice(top, min(top + size, len(images)))
            for left in range(0, len(texts), size):
                columns = slice(left, min(left + size, len(texts)))
                shape = rows.stop - rows.start, columns.stop - columns.start
                block = memory[: shape[0] * shape[1]].view(shape)  # (rows, columns)
                torch.mm(images[rows], texts[columns].T, out=block)
                yield rows, columns, block


@dataclass(frozen=True)
class LogSums:
    """log Σ exp of each row and of each column, (B,) each; shift: what exp needs first, if one
    number does for all."""

    rows: Tensor
    columns: Tensor
    shift: Tensor | None


def log_sums(blocks: Blocks) -> LogSums:
    """With one shift for all when float32 can do that; it saves passes over every block."""
    longest = blocks.scaled_images.norm(dim=1).max() * blocks.texts.norm(dim=1).max()
    shift = longest - LARGEST_EXPONENT  # no logit is larger than the product of two lengths
    rows, columns = (part.new_zeros(len(part)) for part in (blocks.scaled_images, blocks.texts))
    for at, across, block in blocks:
        block.sub_(shift).exp_()
        rows[at] += block.sum(1)
        columns[across] += block.sum(0)
    if torch.minimum(rows.min(), columns.min()) > SMALLEST_SUM:
        return LogSums(rows.log() + shift, columns.log() + shift, shift)
    for part in (rows, columns):
        part.fill_(-torch.inf)
    for at, across, block in blocks:
        rows[at] = torch.logaddexp(rows[at], block.logsumexp(1))
        columns[across] = torch.logaddexp(columns[across], block.logsumexp(0))
    return LogSums(rows, columns, None)


def both_shares(
    sums: LogSums, rows: slice, columns: slice, block: Tensor, memory: Tensor
) -> Tensor:
    """Each logit's share of its row plus its share of its column, in the block's own place."""
    of_rows, of_columns = sums.rows[rows, None], sums.columns[columns]
    other = memory[: block.numel()].view_as(block)
    if sums.shift is None:
        torch.sub(block, of_columns, out=other)
        return block.sub_(of_rows).exp_().add_(other.exp_())
    torch.add((sums.shift - of_rows).exp(), (sums.shift - of_columns).exp(), out=other)
    return block.sub_(sums.shift).exp_().mul_(other)


class _Contrastive(torch.autograd.Function):
    """Value and gradients at once: what `backward` gets only multiplies them."""

    @staticmethod
    def forward(
        ctx: FunctionCtx, images: Tensor, texts: Tensor, scale: Tensor, size: int
    ) -> Tensor:
        blocks = Blocks(scale * images, texts, size)
        sums = log_sums(blocks)
        own = (images * texts).sum(1).mean()  # the mean cosine of true pairs
        loss = (sums.rows.mean() + sums.columns.mean()) / 2 - scale * own
        if any(ctx.needs_input_grad):
            # The loss's slope at a logit: both shares, less 2 on the diagonal, over 2 B.
            of_images, of_texts = torch.zeros_like(images), torch.zeros_like(texts)  # (B, E)
            memory = images.new_empty(min(size, len(images)) ** 2)
            for rows, columns, block in blocks:
                shares = both_shares(sums, rows, columns, block, memory)
                of_images[rows].addmm_(shares, texts[columns])
                of_texts[columns].addmm_(shares.T, images[rows])
            _keep(ctx, images, texts, scale, of_images, of_texts, 1 / (2 * len(images)))
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, upstream: Tensor) -> tuple[Tensor | None, ...]:
        return (*(upstream * gradient for gradient in ctx.saved_tensors), None)


def _keep(
    ctx: FunctionCtx, images: Tensor, texts: Tensor, scale: Tensor,
    of_images: Tensor, of_texts: Tensor, factor: float,
) -> None:  # fmt: skip
    """Takes the true pairs off, and leaves the gradients in `ctx`; overwrites both sums."""
    of_images.sub_(texts, alpha=2).mul_(factor)
    of_texts.sub_(images, alpha=2).mul_(factor * scale)
    of_scale = (of_images * images).sum()
    ctx.save_for_backward(of_images.mul_(scale), of_texts, of_scale)


def contrastive_loss_in_blocks(
    image_embeddings: Tensor, text_embeddings: Tensor, logit_scale: Tensor, block: int = BLOCK
) -> Tensor:
    """`loss.contrastive_loss` in memory that grows with B instead of B².

    The matrix is made twice, once for the sums of its rows and columns, once for the gradients; on
    CPUs that is still faster than to keep it, since a large matrix waits for memory. Half precision
    is computed in float32.
    Shapes: two (B, E) matrices of unit rows and the scale (not its logarithm); a scalar in nats.
    """
    return _Contrastive.apply(*_in_float32(image_embeddings, text_embeddings, logit_scale), block)


def _in_float32(*tensors: Tensor) -> list[Tensor]:
    return [t.float() if t.dtype in (torch.float16, torch.bfloat16) else t for t in tensors]


class _Sigmoid(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx, images: Tensor, texts: Tensor, scale: Tensor, bias: Tensor, size: int
    ) -> Tensor:
        pairs = len(images)
        wanted = any(ctx.needs_input_grad)
        of_images, of_texts = torch.zeros_like(images), torch.zeros_like(texts)  # (B, E)
        cost, believed = (torch.zeros((), dtype=torch.float64, device=images.device) for _ in "ab")
        for rows, columns, block in Blocks(scale * images, texts, size):
            block += bias
            cost += F.softplus(block).sum()  # as if every pair were wrong
            if wanted:
                believed += block.sigmoid_().sum()
                of_images[rows].addmm_(block, texts[columns])
                of_texts[columns].addmm_(block.T, images[rows])
        own = scale * (images * texts).sum() + pairs * bias  # softplus(-x) is softplus(x) - x
        if wanted:
            of_images.sub_(texts).div_(pairs)
            of_texts.sub_(images).mul_(scale / pairs)
            of_scale = (of_images * images).sum()
            of_bias = ((believed - pairs) / pairs).to(images.dtype)
            ctx.save_for_backward(of_images.mul_(scale), of_texts, of_scale, of_bias)
        return ((cost - own) / pairs).to(images.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, upstream: Tensor) -> tuple[Tensor | None, ...]:
        return (*(upstream * gradient for gradient in ctx.saved_tensors), None)


def sigmoid_loss(
    image_embeddings: Tensor,
    text_embeddings: Tensor,
    logit_scale: Tensor,
    logit_bias: Tensor,
    block: int = BLOCK,
) -> Tensor:
    """Each of the B · B pairs is asked alone: do you belong together? In blocks, like the other.

    Shapes: two (B, E) matrices of unit rows, the scale (not its logarithm) and the bias, scalars;
    a scalar in nats, the sum over all pairs divided by B.
    Raises: ValueError when the matrices do not match.
    Source: Zhai et al. 2023, Sigmoid Loss for Language Image Pre-Training, section 3.2
    (arXiv 2303.15343).
    """
    if image_embeddings.shape != text_embeddings.shape or image_embeddings.ndim != 2:
        raise ValueError(
            "sigmoid_loss needs two matrices of one shape (B, E), row i of both from pair i; "
            f"got {tuple(image_embeddings.shape)} and {tuple(text_embeddings.shape)}."
        )
    given = _in_float32(image_embeddings, text_embeddings, logit_scale, logit_bias)
    return _Sigmoid.apply(*given, block)
