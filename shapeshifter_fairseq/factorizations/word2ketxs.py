"""word2ketXS: a whole table is a sum of tensor products of several small matrices."""

from __future__ import annotations

import math
from collections.abc import Iterator
from math import ceil, prod

import torch
from torch import Tensor, nn
from torch.nn import functional

from .factorization import Factorization
from .sizes import most_digits, require_between, root
from .tensor_products import gain_of, nearer_sum, sum_of_tensor_products


class Word2KetXS(Factorization):
    """W = scale^o * sum over k of  F_1k kron F_2k kron ... kron F_ok, cut to n rows and m columns
    (dissertation, section 3.4, equation 3.4; Panahi et al., ICLR 2020).

    F_jk is t x q with t^o >= n and q^o >= m, the smallest such whole numbers. With the digits
    i1..io of row i to the base t and j1..jo of column j to the base q::

        W[i, j] = scale^o * sum over k of  F[1, k, i1, j1] * ... * F[o, k, io, jo]

    It stores r*o*q*t numbers. The order o is 2 or more. A row of W needs one row of each F_jk.

    A projection rearranges the matrix into a tensor of order o, with the F_jk as vectors, and fits
    it: by one SVD for order 2, as in `Kronecker`, else by alternating least squares (`nearer_sum`).
    """

    scale_each = True

    def __init__(
        self, n: int, m: int, rank: int, zero_row: int | None = None, *, order: int = 2
    ) -> None:
        super().__init__(n, m, rank, zero_row, order=order)
        self.order, self.t, self.q = order, root(n, order), root(m, order)
        self.F = nn.Parameter(torch.empty(order, rank, self.t, self.q))  # shape: (o, r, t, q)

    @classmethod
    def max_rank(cls, n: int, m: int, *, order: int = 2) -> int:
        require_between(2, most_digits(max(n, m)), n, m, order=order)
        # One term can hold any t x q block of W, if all factors but the last are one-hot.
        return ceil(n / root(n, order)) * ceil(m / root(m, order))

    @classmethod
    def parameter_count(cls, n: int, m: int, rank: int, *, order: int = 2) -> int:
        return rank * order * root(n, order) * root(m, order)

    @property
    def degree(self) -> int:
        return self.order

    def _factors(self) -> list[tuple[nn.Parameter, tuple[int, ...]]]:
        return [(self.F, (2, 3))]

    def initialize_(self, std: float, gain: float) -> None:
        super().initialize_(std, gain)
        self._match_spread_(std)

    def _matrices(self, F: Tensor) -> list[Tensor]:
        """F_1..F_o, without F_1's rows and columns that are cut off.  # shapes: (*, r, t, q)"""
        rows, columns = self._first
        first, *others = F.unbind(-4)
        return [first[..., :rows, :columns], *others]

    @property
    def _first(self) -> tuple[int, int]:
        """How many rows and columns of F_1 are not cut off."""
        later = self.order - 1
        return ceil(self.n / self.t**later), ceil(self.m / self.q**later)

    def _materialize(self, F: Tensor) -> Tensor:
        matrices = self._matrices(F)
        rows, columns = zip(*(matrix.shape[-2:] for matrix in matrices))
        # Multiply as vectors of t*q numbers; then separate the digits of rows and of columns.
        whole = sum_of_tensor_products([matrix.flatten(-2) for matrix in matrices])
        stack = whole.shape[:-1]
        whole = whole.view(*stack, *(size for digit in zip(rows, columns) for size in digit))
        digits = range(len(stack), whole.dim())
        whole = whole.permute(*range(len(stack)), *digits[::2], *digits[1::2])
        return whole.reshape(*stack, prod(rows), prod(columns))

    def _project(self, weight: Tensor) -> None:
        self.F.normal_(generator=torch.Generator(weight.device).manual_seed(0))
        self._fit_padded(weight, self._fit, closed_form=self.order == 2)

    def _fit(self, whole: Tensor) -> None:
        matrices = self._matrices(self.F * self.scale)
        shapes = [matrix.shape[1:] for matrix in matrices]
        whole = whole.view([shape[side] for side in (0, 1) for shape in shapes])
        # Order the digits as i1 j1 i2 j2 ..., then join each pair into one axis.
        digits = [place + side for place in range(self.order) for side in (0, self.order)]
        whole = whole.permute(digits).reshape(1, *(prod(shape) for shape in shapes))
        found = nearer_sum(whole, [matrix.flatten(1).unsqueeze(0) for matrix in matrices])
        for factor, (rows, columns), vectors in zip(self.F, shapes, found):
            factor[:, :rows, :columns] = vectors.view(self.rank, rows, columns)

    def _gain(self) -> float:
        squares = [matrix.square().mean((1, 2)) for matrix in self._matrices(self.F * self.scale)]
        return self.scale.item() * math.sqrt(self.rank) * gain_of(torch.stack(squares, 1))

    def _rows(self, index: Tensor) -> Tensor:
        leaves = []
        for later, matrix in zip(reversed(range(self.order)), self._matrices(self.F * self.scale)):
            digit = index // self.t**later % self.t
            leaves.append(matrix.transpose(0, 1).index_select(0, digit))  # shape: (T, r, q)
        return sum_of_tensor_products(leaves)[:, : self.m]

    def _by_factors_cost(self, vectors: int) -> int:
        return sum(columns * made for columns, made in self._steps(vectors))

    def _by_factors_inner(self, vectors: int) -> int:
        return sum(made for _, made in self._steps(vectors))

    def _steps(self, vectors: int) -> Iterator[tuple[int, int]]:
        """For each product in `_by_factors`: multiplications per number made, and numbers made."""
        sizes = [self._first, *[(self.t, self.q)] * (self.order - 1)]
        before, after = prod([columns for _, columns in sizes]), 1
        for rows, columns in reversed(sizes):
            before, after = before // columns, after * rows
            yield columns, vectors * self.rank * before * after

    def _by_factors(self, x: Tensor) -> Tensor:
        matrices = self._matrices(self.F * self.scale)
        before, after = prod([matrix.shape[2] for matrix in matrices]), 1
        y = functional.pad(x, (0, before - self.m)).unsqueeze(1)
        y = y.expand(-1, self.rank, -1)  # shape: (T, r, columns before, rows after)
        for matrix in reversed(matrices):
            _, rows, columns = matrix.shape
            before //= columns
            y = y.reshape(x.shape[0], self.rank, before, columns, after)
            y = torch.einsum("tkbqa,knq->tkbna", y, matrix)
            after *= rows
        return y.sum(1).reshape(x.shape[0], after)[:, : self.n]
