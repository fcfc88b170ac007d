"""Shapeshifter's family: W is a sum of Kronecker products of two small, balanced matrices."""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from . import svd
from .factorization import Factorization
from .kronecker_autograd import Product, Rows, multiply

# A W of WORTH_BUILDING_AGAIN numbers or more (a table) is built again, in blocks, for the backward
# pass if the batch has over TOKENS_PER_TERM tokens for each term: the product then costs much more
# than W. The smaller W of layers are kept: building them again made a training step of iwslt's
# architecture take 1.15 times as long.
WORTH_BUILDING_AGAIN = 2**21
TOKENS_PER_TERM = 4


class KroneckerShape(NamedTuple):
    """The shapes of the two sides: W (n, m) = sum of (n1, m1) kron (n2, m2), cut to (n, m)."""

    n1: int
    n2: int
    m1: int
    m2: int


@cache
def balanced_shape(n: int, m: int) -> KroneckerShape:
    """Choose n1, n2, m1, m2 for an n by m matrix.

    Few parameters are not enough: n1 = n, n2 = 1, m1 = 1, m2 = m costs as little for a square
    matrix, but is the ordinary low-rank factorization. So n1 and n2 both stay near sqrt(n), and m1
    and m2 near sqrt(m) (dissertation, section 4.3). Among those splits this chooses the one with
    the fewest parameters per term, n1*m1 + n2*m2, which makes the two products about equal.

    >>> balanced_shape(512, 512)
    KroneckerShape(n1=16, n2=32, m1=32, m2=16)
    """
    candidates = [KroneckerShape(n1, n2, m1, m2) for n1, n2 in _splits(n) for m1, m2 in _splits(m)]
    return min(  # of equals, the one with the least padding, then with n1 nearest to n2
        candidates,
        key=lambda s: (s.n1 * s.m1 + s.n2 * s.m2, s.n1 * s.n2 * s.m1 * s.m2, abs(s.n1 - s.n2)),
    )


def _splits(size: int) -> list[tuple[int, int]]:
    """Pairs (a, b) with a*b >= size, neither over twice the other; only exact ones if there are."""
    root = math.sqrt(size)
    low, high = max(1, math.ceil(root / math.sqrt(2))), math.floor(root * math.sqrt(2)) + 1
    pairs = [(a, math.ceil(size / a)) for a in range(low, high + 1)]
    pairs = [(a, b) for a, b in pairs if max(a, b) <= 2 * min(a, b)]
    return [(a, b) for a, b in pairs if a * b == size] or pairs


class Kronecker(Factorization):
    """W = scale * (A_1 kron B_1 + ... + A_r kron B_r), cut to n rows and m columns.

    Entry by entry, with i = i1*n2 + i2 and j = j1*m2 + j2 (dissertation, section 4.3)::

        W[i, j] = scale * sum over k of A[i1, j1, k] * B[k, i2, j2]

    It stores r*(n1*m1 + n2*m2) numbers, about 2*r*sqrt(n*m).

    `scale` decides how fast the factors learn. Adam moves every number by about the learning rate,
    whatever its size, so the smaller A and B are stored, the further one step moves W. `scale`
    makes up for their size, so W itself is the same. It is not a parameter, but it is part of the
    state dict: a checkpoint gives the same matrix whatever `gain` it is loaded with.

    A projection rearranges the matrix so that every Kronecker product becomes an outer product (Van
    Loan and Pitsianis, 1993) and takes the r largest singular values. That is the best possible if
    n1*n2 = n, m1*m2 = m and no row is always zero; otherwise see `_fit_padded`.
    """

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

    def _materialize(self, A: Tensor, B: Tensor) -> Tensor:
        return multiply(A, B)  # shape: (*, n1*n2, m1*m2)

    def _project(self, weight: Tensor) -> None:
        self._fit_padded(weight, self._fit)

    def _fit(self, whole: Tensor) -> None:  # shape: (n1*n2, m1*m2)
        n1, n2, m1, m2 = self.shape
        products = whole.view(n1, n2, m1, m2).transpose(1, 2).reshape(n1 * m1, n2 * m2)
        for factor, nearest in zip((self.A, self.B), svd.of_rank(products, self.rank)):
            factor.copy_(nearest.view_as(factor))

    def _rows(self, index: Tensor) -> Tensor:
        return Rows.apply(index, self.A, self.B, self.scale)[:, : self.m]

    def _linear_with_w(self, x: Tensor, bias: Tensor | None) -> Tensor:
        if self.n * self.m < WORTH_BUILDING_AGAIN or len(x) <= TOKENS_PER_TERM * self.rank:
            return super()._linear_with_w(x, bias)  # which keeps W for the backward pass
        A, B, device = self.A, self.B, x.device.type
        if torch.is_autocast_enabled(device):  # it does not reach the backward pass
            dtype = torch.get_autocast_dtype(device)
            x, A, B = x.to(dtype), A.to(dtype), B.to(dtype)
            bias = None if bias is None else bias.to(dtype)
        return Product.apply(x, bias, A, B, self.scale, self.n, self.m, self.zero_row)

    def _by_factors_cost(self, vectors: int) -> int:
        n1, n2, m1, m2 = self.shape
        return vectors * self.rank * m1 * n2 * (m2 + n1)

    def _by_factors_inner(self, vectors: int) -> int:
        return vectors * self.rank * self.shape.m1 * self.shape.n2

    def _by_factors(self, x: Tensor) -> Tensor:
        n1, n2, m1, m2 = self.shape
        x = functional.pad(x, (0, m1 * m2 - self.m)).reshape(-1, m2)  # shape: (T*m1, m2)
        inner = x @ self.B.view(-1, m2).T  # shape: (T*m1, r*n2)
        inner = inner.view(-1, m1 * self.rank, n2)
        left = (self.A * self.scale).view(n1, -1)  # shape: (n1, m1*r)
        y = torch.bmm(left.expand(inner.shape[0], -1, -1), inner)  # shape: (T, n1, n2)
        return y.view(-1, n1 * n2)[:, : self.n]
