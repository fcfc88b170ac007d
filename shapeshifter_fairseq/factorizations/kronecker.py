"""Shapeshifter's family: W is a sum of Kronecker products of two small, balanced matrices."""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor, nn

from . import svd
from .base import Factorization


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

    A matrix is projected by rearranging it so that every Kronecker product becomes an outer product
    (Van Loan and Pitsianis, 1993) and taking the r largest singular values. Nothing is nearer where
    n1*n2 = n, m1*m2 = m and no row is always zero; else see `_project_padded`.
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

    def _materialize(self) -> Tensor:
        return self._products()[: self.n, : self.m]

    def _products(self) -> Tensor:  # shape: (n1*n2, m1*m2)
        n1, n2, m1, m2 = self.shape
        left = (self.A * self.scale).view(n1 * m1, self.rank)
        products = left @ self.B.view(self.rank, n2 * m2)  # shape: (n1*m1, n2*m2)
        return products.view(n1, m1, n2, m2).transpose(1, 2).reshape(n1 * n2, m1 * m2)

    def _project(self, weight: Tensor) -> None:
        self._project_padded(weight, self._fit, self._products)

    def _fit(self, whole: Tensor) -> None:  # shape: (n1*n2, m1*m2)
        n1, n2, m1, m2 = self.shape
        products = whole.view(n1, n2, m1, m2).transpose(1, 2).reshape(n1 * m1, n2 * m2)
        for factor, nearest in zip((self.A, self.B), svd.of_rank(products, self.rank)):
            factor.copy_(nearest.view_as(factor))

    def _rows(self, index: Tensor) -> Tensor:
        n2 = self.shape.n2
        left = (self.A * self.scale).index_select(0, index // n2)  # shape: (T, m1, r)
        right = self.B.transpose(0, 1).index_select(0, index % n2)  # shape: (T, r, m2)
        return (left @ right).flatten(1)[:, : self.m]
