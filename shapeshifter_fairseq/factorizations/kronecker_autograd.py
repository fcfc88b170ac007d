"""Kronecker products in training: large W are built twice, a block at a time, instead of kept."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from .cost import block_size


def multiply(A: Tensor, B: Tensor) -> Tensor:
    """(*, n1, m1, r) and (*, r, n2, m2) -> (*, n1*n2, m1*m2), the sum of r Kronecker products."""
    (*stack, n1, m1, _), (n2, m2) = A.shape, B.shape[-2:]
    products = A.flatten(-3, -2) @ B.flatten(-2)  # shape: (*, n1*m1, n2*m2)
    products = products.view(*stack, n1, m1, n2, m2).transpose(-3, -2)
    return products.reshape(*stack, n1 * n2, m1 * m2)


class Product(torch.autograd.Function):
    """x W^T + bias with a W that is built again for the backward pass, and gradients by hand.

    The forward pass drops W once it is used, before the loss needs memory. The backward pass,
    where memory is at its peak, builds W and its gradient a block of rows at a time (the rows of
    some slices of A), so that neither is ever whole. Sums over blocks are in fp32 at least.
    """

    @staticmethod
    def forward(x, bias, A, B, scale, n, m, zero_row):
        n2 = B.shape[1]
        # In blocks here too, to save memory while W is built. (Multiplying x with them one by one,
        # each into its columns of the result, takes 1.3 times as long as one product.)
        W = A.new_empty(n, m)
        for part in _slices(A, B):
            W[part.start * n2 : part.stop * n2] = _block(
                A[part] * scale, B, part.start * n2, n, m, zero_row
            )
        return F.linear(x, W, bias)

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, _, A, B, scale, *ctx.sizes = inputs
        ctx.save_for_backward(x, A, B, scale)

    @staticmethod
    @once_differentiable
    def backward(ctx, dy):
        x, A, B, scale = ctx.saved_tensors
        n, m, zero_row = ctx.sizes
        (_, m1, rank), (_, n2, m2) = A.shape, B.shape
        wants_x, wants_bias, *wants = ctx.needs_input_grad[:4]
        slices = _slices(A, B)
        wide = dy.dtype if len(slices) == 1 else torch.promote_types(dy.dtype, torch.float32)
        dx = dB = None
        dA = torch.empty_like(A) if any(wants) else None
        for part in slices:
            left, first = A[part] * scale, part.start * n2
            rows = slice(first, min(n, first + len(left) * n2))
            if wants_x:
                dx = _add(dx, dy[:, rows] @ _block(left, B, first, n, m, zero_row), wide)
            if any(wants):
                dW = dy[:, rows].T @ x  # shape: (rows, m)
                if zero_row is not None and first <= zero_row < rows.stop:
                    dW[zero_row - first] = 0
                padding = (0, m1 * m2 - m, 0, len(left) * n2 - len(dW))
                if any(padding):
                    dW = F.pad(dW, padding)
                dW = dW.view(-1, n2, m1, m2).transpose(1, 2).reshape(-1, n2 * m2)
                torch.mm(dW, B.reshape(rank, -1).T, out=dA[part].view(-1, rank))
                dB = _add(dB, left.view(-1, rank).T @ dW, wide)
        return (
            None if dx is None else dx.to(x.dtype),
            dy.sum(0) if wants_bias else None,
            None if dA is None else dA.mul_(scale),
            None if dB is None else dB.to(B.dtype).view_as(B),
            *[None] * 4,
        )


class Rows(torch.autograd.Function):
    """Rows of W, each from a slice of A and one of B, a few at a time, forward and backward."""

    @staticmethod
    def forward(index, A, B, scale):
        n2, left, right = B.shape[1], A * scale, B.transpose(0, 1)
        if len(index) > n2:  # with fewer rows, copying B would cost more than copying their slices
            right = right.contiguous()
        rows = A.new_empty(len(index), A.shape[1], B.shape[2])
        for some, out in _few(A, B, index, rows):
            slices = left.index_select(0, some // n2), right.index_select(0, some % n2)
            torch.bmm(*slices, out=out)
        return rows.flatten(1)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    @once_differentiable
    def backward(ctx, drows):
        index, A, B, scale = ctx.saved_tensors
        n2, right = B.shape[1], B.transpose(0, 1).contiguous()
        # Rows share slices, so their gradients add up: in fp32 at least.
        wide = torch.promote_types(A.dtype, torch.float32)
        dA, dright = torch.zeros_like(A, dtype=wide), torch.zeros_like(right, dtype=wide)
        drows = (drows * scale).view(len(index), A.shape[1], B.shape[2])
        for some, d in _few(A, B, index, drows):
            i1, i2 = some // n2, some % n2
            dleft = d @ right.index_select(0, i2).transpose(1, 2)
            dA.index_add_(0, i1, dleft.to(wide))
            dright.index_add_(0, i2, (A.index_select(0, i1).transpose(1, 2) @ d).to(wide))
        return None, dA.to(A.dtype), dright.transpose(0, 1).to(B.dtype), None


def _slices(A: Tensor, B: Tensor) -> list[slice]:
    """Split A into slices, each of which gives one block of rows of W."""
    (n1, m1, _), (_, n2, m2) = A.shape, B.shape
    numbers = 2 * n2 * m1 * m2  # of a slice: its product, and a copy in W's order
    step = max(1, block_size(A.device) // numbers)
    return [slice(first, min(n1, first + step)) for first in range(0, n1, step)]


def _block(
    left: Tensor, B: Tensor, first: int, n: int, m: int, zero_row: int | None
) -> Tensor:  # shape: (rows, m)
    """The rows of W, from `first` on, that `left` gives: slices of A, times scale."""
    W = multiply(left, B)[: max(0, n - first), :m]  # the last slice may lie in the padding
    if zero_row is not None and 0 <= zero_row - first < len(W):
        W[zero_row - first] = 0
    return W


def _add(total: Tensor | None, part: Tensor, wide: torch.dtype) -> Tensor:
    return part.to(wide) if total is None else total.add_(part)


def _few(A: Tensor, B: Tensor, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Split tensors into a few rows at a time, as many as fill a block with their gradients."""
    numbers = 2 * A.shape[2] * (A.shape[1] + B.shape[2])
    step = max(1, block_size(A.device) // numbers)
    return zip(*(tensor.split(step) for tensor in tensors))
