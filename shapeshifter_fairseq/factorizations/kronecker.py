"""Shapeshifter's family: W is a sum of Kronecker products of two small, balanced matrices."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from .base import Factorization, block_of


class KroneckerShape(NamedTuple):
    """The shapes of the two sides: W (n, m) = sum of (n1, m1) kron (n2, m2), cut to (n, m)."""

    n1: int
    n2: int
    m1: int
    m2: int


@cache
def balanced_shape(n: int, m: int) -> KroneckerShape:
    """Choose n1, n2, m1, m2 for an n by m matrix.

    The fewest parameters alone are not the aim: n1 = n, n2 = 1, m1 = 1, m2 = m costs as little for
    a square matrix and is the ordinary low-rank factorization. So n1 and n2 both stay near sqrt(n),
    m1 and m2 both near sqrt(m) (dissertation, section 4.3), and among those splits the one with the
    fewest parameters, n1*m1 + n2*m2 a term, is taken; that brings the two products near each other.

    >>> balanced_shape(512, 512)
    KroneckerShape(n1=16, n2=32, m1=32, m2=16)
    """
    candidates = [KroneckerShape(n1, n2, m1, m2) for n1, n2 in _splits(n) for m1, m2 in _splits(m)]
    return min(
        candidates,
        key=lambda s: (s.n1 * s.m1 + s.n2 * s.m2, s.n1 * s.n2 * s.m1 * s.m2, abs(s.n1 - s.n2)),
    )


def _splits(size: int) -> list[tuple[int, int]]:
    """Pairs (a, b) with a*b >= size, neither more than twice the other; exact ones if there are."""
    root = math.sqrt(size)
    low, high = max(1, math.ceil(root / math.sqrt(2))), math.floor(root * math.sqrt(2)) + 1
    pairs = [(a, math.ceil(size / a)) for a in range(low, high + 1)]
    pairs = [(a, b) for a, b in pairs if max(a, b) <= 2 * min(a, b)] or [(1, size), (size, 1)]
    return [(a, b) for a, b in pairs if a * b == size] or pairs


class Kronecker(Factorization):
    """W = scale * (A_1 kron B_1 + ... + A_r kron B_r), cut to n rows and m columns.

    Entry by entry, with i = i1*n2 + i2 and j = j1*m2 + j2 (dissertation, section 4.3)::

        W[i, j] = scale * sum over k of A[i1, j1, k] * B[k, i2, j2]

    It stores r*(n1*m1 + n2*m2) numbers, about 2*r*sqrt(n*m).

    `scale` decides how fast the factors learn. Adam moves every number by about the learning rate,
    whatever its size, so the smaller A and B are stored, the further one step moves W; `scale`
    leaves W itself alone. It is no parameter, but it is part of the state dict: a checkpoint means
    the same matrix whatever `gain` it is loaded under.
    """

    small_products = 2.5

    def __init__(self, n: int, m: int, rank: int, zero_row: int | None = None) -> None:
        super().__init__(n, m, rank, zero_row)
        n1, n2, m1, m2 = self.shape = self.split(n, m, rank)
        self.A = nn.Parameter(torch.empty(n1, m1, rank))  # shape: (n1, m1, r)
        self.B = nn.Parameter(torch.empty(rank, n2, m2))  # shape: (r, n2, m2)

    @classmethod
    def split(cls, n: int, m: int, rank: int) -> KroneckerShape:
        """The shapes of the two sides of each term."""
        return balanced_shape(n, m)

    @classmethod
    def max_rank(cls, n: int, m: int) -> int:
        n1, n2, m1, m2 = balanced_shape(n, m)
        return min(n1 * m1, n2 * m2)

    @classmethod
    def parameter_count(cls, n: int, m: int, rank: int) -> int:
        n1, n2, m1, m2 = cls.split(n, m, rank)
        return rank * (n1 * m1 + n2 * m2)

    def _factors(self) -> list[tuple[nn.Parameter, tuple[int, ...]]]:
        return [(self.A, (0, 1)), (self.B, (1, 2))]

    def _materialize(self) -> Tensor:
        return _multiply(self.A * self.scale, self.B)[: self.n, : self.m]

    def _rows(self, index: Tensor) -> Tensor:
        return Rows.apply(index, self.A, self.B, self.scale)[:, : self.m]

    def _product(self, x: Tensor, bias: Tensor | None) -> Tensor:
        size = self.n * self.m
        few = TOKENS_A_TERM if size <= block_of(x) else TOKENS_A_TERM // 4
        if size < WORTH_BUILDING_AGAIN or len(x) <= few * self.rank:
            return super()._product(x, bias)  # which keeps W for the backward pass
        A, B, device = self.A, self.B, x.device.type
        if torch.is_autocast_enabled(device):  # it reaches no further than the forward pass
            dtype = torch.get_autocast_dtype(device)
            x, A, B = x.to(dtype), A.to(dtype), B.to(dtype)
            bias = None if bias is None else bias.to(dtype)
        return Product.apply(x, bias, A, B, self.scale, self.n, self.m, self.zero_row)

    def _linear_cost(self, vectors: int) -> int:
        n1, n2, m1, m2 = self.shape
        return vectors * self.rank * m1 * n2 * (m2 + n1)

    def _linear(self, x: Tensor) -> Tensor:
        n1, n2, m1, m2 = self.shape
        x = functional.pad(x, (0, m1 * m2 - self.m)).view(-1, m2)  # shape: (T*m1, m2)
        inner = x @ self.B.view(-1, m2).T  # shape: (T*m1, r*n2)
        inner = inner.view(-1, m1 * self.rank, n2)
        left = (self.A * self.scale).view(n1, -1)  # shape: (n1, m1*r)
        y = torch.bmm(left.expand(len(inner), -1, -1), inner)  # shape: (T, n1, n2)
        return y.view(-1, n1 * n2)[:, : self.n]


# W is built again for the backward pass where a batch has more than this many tokens for each term,
# which costs a layer at most 1/(3*16) more multiplications; from a quarter of it on if W is large.
# And only if W has this many numbers: below, starting another product costs more than it.
TOKENS_A_TERM = 16
WORTH_BUILDING_AGAIN = 2**17


def _multiply(A: Tensor, B: Tensor) -> Tensor:
    """(n1, m1, r) and (r, n2, m2) -> (n1*n2, m1*m2), the sum of the r Kronecker products."""
    (n1, m1, rank), (_, n2, m2) = A.shape, B.shape
    products = A.reshape(n1 * m1, rank) @ B.reshape(rank, n2 * m2)  # shape: (n1*m1, n2*m2)
    return products.view(n1, m1, n2, m2).transpose(1, 2).reshape(n1 * n2, m1 * m2)


class Product(torch.autograd.Function):
    """x W^T + bias with a W that is built again for the backward pass, and gradients by hand.

    A large W is built, used and dropped a block of rows at a time (the rows of some slices of A),
    in both directions, so that neither a table nor its gradient is ever whole; what the blocks add
    up to is added in fp32 at least.
    """

    @staticmethod
    def forward(ctx, x, bias, A, B, scale, n, m, zero_row):
        ctx.save_for_backward(x, A, B, scale)
        ctx.sizes = n, m, zero_row
        slices = _slices(A, B)
        if len(slices) == 1:
            return functional.linear(x, _block(A * scale, B, 0, n, m, zero_row), bias)
        y = x.new_empty(len(x), n)
        for part in slices:
            first = part.start * B.shape[1]
            W = _block(A[part] * scale, B, first, n, m, zero_row)
            torch.mm(x, W.T, out=y[:, first : first + len(W)])
        return y if bias is None else y.add_(bias)

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
                    dW = functional.pad(dW, padding)
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
    """Rows of W, from as many slices of A and of B; a few rows at a time, in both directions."""

    @staticmethod
    def forward(ctx, index, A, B, scale):
        ctx.save_for_backward(index, A, B, scale)
        n2, left, right = B.shape[1], A * scale, B.transpose(0, 1).contiguous()
        rows = A.new_empty(len(index), A.shape[1], B.shape[2])
        for some, out in _few(A, B, index, rows):
            slices = left.index_select(0, some // n2), right.index_select(0, some % n2)
            torch.bmm(*slices, out=out)
        return rows.flatten(1)

    @staticmethod
    @once_differentiable
    def backward(ctx, drows):
        index, A, B, scale = ctx.saved_tensors
        n2, right = B.shape[1], B.transpose(0, 1).contiguous()
        # Rows share slices: what they add up to is added in fp32 at least.
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
    """Consecutive slices of A whose rows of W make a block each."""
    (n1, m1, _), (_, n2, m2) = A.shape, B.shape
    numbers = 2 * n2 * m1 * m2  # of a slice: as multiplied, and in W's order
    step = max(1, block_of(A) // numbers)
    return [slice(first, min(n1, first + step)) for first in range(0, n1, step)]


def _block(
    left: Tensor, B: Tensor, first: int, n: int, m: int, zero_row: int | None
) -> Tensor:  # shape: (rows, m)
    """The rows of W from `first` on that `left`, slices of A times scale, give."""
    W = _multiply(left, B)[: max(0, n - first), :m]  # the last slice may lie in the padding
    if zero_row is not None and 0 <= zero_row - first < len(W):
        W[zero_row - first] = 0
    return W


def _add(total: Tensor | None, part: Tensor, wide: torch.dtype) -> Tensor:
    return part.to(wide) if total is None else total.add_(part)


def _few(A: Tensor, B: Tensor, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The tensors, a few rows at a time: as many as make a block with their gradients."""
    numbers = 2 * A.shape[2] * (A.shape[1] + B.shape[2])
    step = max(1, block_of(A) // numbers)
    return zip(*(tensor.split(step) for tensor in tensors))
