"""Tensor-train matrices: a chain of small cores, one for each digit of row and column."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import reduce
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from . import svd
from .factorization import Factorization
from .sizes import balanced_sizes, most_digits, require_between


class TensorTrain(Factorization):
    """W = scale^d * G_1 G_2 ... G_d, cut to n rows and m columns (dissertation, section 4.1;
    Oseledets 2011; Novikov et al. 2015, "Tensorizing neural networks").

    A row i has the digits i1..id (i_k < n_k, n1*...*nd >= n), a column j likewise::

        W[i, j] = scale^d * G_1[:, i1, j1, :] G_2[:, i2, j2, :] ... G_d[:, id, jd, :]

    This multiplies a row of r_1 numbers, matrices of r_(k-1) x r_k and a column. It stores the sum
    over k of r_(k-1)*n_k*m_k*r_k numbers. Every r_k is `rank`, or less where less is enough to hold
    any matrix.

    A projection takes one truncated SVD after another, core by core (TT-SVD). Its error is at most
    sqrt(d - 1) times the minimum, so with two cores it is the best possible. For rows and columns
    that are cut off see `_fit_padded`.
    """

    scale_each = True

    def __init__(
        self, n: int, m: int, rank: int, zero_row: int | None = None, *, cores: int = 3
    ) -> None:
        super().__init__(n, m, rank, zero_row, cores=cores)
        self.cores = cores
        for k, shape in enumerate(core_shapes(n, m, rank, cores)):
            self.register_parameter(f"G{k + 1}", nn.Parameter(torch.empty(shape)))

    @classmethod
    def max_rank(cls, n: int, m: int, *, cores: int = 3) -> int:
        require_between(2, most_digits(max(n, m)), n, m, cores=cores)
        return max(_needed_ranks(n, m, cores))

    @classmethod
    def parameter_count(cls, n: int, m: int, rank: int, *, cores: int = 3) -> int:
        return sum(prod(shape) for shape in core_shapes(n, m, rank, cores))

    @property
    def degree(self) -> int:
        return self.cores

    @property
    def terms(self) -> int:
        return prod([core.shape[3] for core, _ in self._factors()])

    def _factors(self) -> list[tuple[nn.Parameter, tuple[int, ...]]]:
        return [(getattr(self, f"G{k + 1}"), (1, 2)) for k in range(self.cores)]

    def initialize_(self, std: float, gain: float) -> None:
        super().initialize_(std, gain)
        self._match_spread_(std)

    def _materialize(self, *cores: Tensor) -> Tensor:  # shape: (*, n1*...*nd, m1*...*md)
        left = cores[0].squeeze(-4)  # shape: (*, rows so far, columns so far, r_k)
        for core in cores[1:]:
            left = torch.einsum("...nmr,...rijs->...nimjs", left, core)
            left = left.flatten(-3, -2).flatten(-4, -3)
        return left.squeeze(-1)

    def _project(self, weight: Tensor) -> None:
        self._fit_padded(weight, self._fit)

    def _fit(self, whole: Tensor) -> None:  # shape: (n1*...*nd, m1*...*md)
        cores = [core for core, _ in self._factors()]
        digits = whole.view([core.shape[side] for side in (1, 2) for core in cores])
        # i1 j1 i2 j2 ...: the digits of rows and of columns in turn
        rest = digits.permute([d + side for d in range(self.cores) for side in (0, self.cores)])
        bond = whole.new_ones(1)  # the singular values between a core and the next
        for core in cores[:-1]:
            rows = core.shape[0] * core.shape[1] * core.shape[2]
            u, s, v = svd.singular_values(rest.reshape(rows, -1), core.shape[3])
            # Both neighbours get the root of the values between them.
            core.copy_(_divided(u.view_as(core), bond) * s.sqrt())
            rest, bond = s.unsqueeze(1) * v, s
        cores[-1].copy_(_divided(rest.reshape(cores[-1].shape), bond))
        sizes = [core.square().mean().sqrt() for core in cores]
        mean = torch.stack(sizes).log().mean().exp()
        for core, size in zip(cores, sizes):
            core.mul_(mean / size if mean > 0 else 0)

    def _gain(self) -> float:
        # Multiply mean squares along the train, as in `_materialize`; the core that steps counts 1.
        squares = [core.square().mean((1, 2)) for core, _ in self._factors()]
        moved = 0.0
        for k, square in enumerate(squares):
            chain = [*squares[:k], torch.ones_like(square), *squares[k + 1 :]]
            moved += reduce(torch.matmul, chain).item()
        return self.scale.item() ** self.cores * math.sqrt(moved)

    def _rows(self, index: Tensor) -> Tensor:
        cores = [core * self.scale for core, _ in self._factors()]
        left = self.scale.new_ones(len(index), 1, 1)  # shape: (T, columns so far, r_k)
        later = prod([core.shape[1] for core in cores])
        for core in cores:
            later //= core.shape[1]
            digit = index // later % core.shape[1]
            # shape: (T, r_(k-1), m_k * r_k)
            slices = core.transpose(0, 1).index_select(0, digit).flatten(2)
            columns = left.shape[1] * core.shape[2]
            left = (left @ slices).reshape(len(index), columns, core.shape[3])
        return left.squeeze(2)[:, : self.m]

    def _by_factors_cost(self, vectors: int) -> int:
        return sum(each * made for each, made in self._steps(vectors))

    def _by_factors_inner(self, vectors: int) -> int:
        *before, _ = (made for _, made in self._steps(vectors))  # the last one's are the result
        return sum(before)

    def _steps(self, vectors: int) -> Iterator[tuple[int, int]]:
        """For each product in `_by_factors`: multiplications per number made, and numbers made."""
        before, after = prod([core.shape[2] for core, _ in self._factors()]), vectors
        for core, _ in reversed(self._factors()):
            rank_before, rows, columns, rank = core.shape
            before, after = before // columns, after * rows
            yield columns * rank, before * rank_before * after

    def _by_factors(self, x: Tensor) -> Tensor:
        cores = [core * self.scale for core, _ in self._factors()]
        before, after = prod([core.shape[2] for core in cores]), 1
        y = F.pad(x, (0, before - self.m))  # shape: (T, columns before, r_k, rows after)
        for core in reversed(cores):
            _, rows, columns, rank = core.shape
            before //= columns
            y = y.reshape(x.shape[0], before, columns, rank, after)
            y = torch.einsum("tbmra,qnmr->tbqna", y, core)
            after *= rows
        return y.reshape(x.shape[0], after)[:, : self.n]


def _divided(core: Tensor, bond: Tensor) -> Tensor:
    """Divide a core by the roots of the singular values before it; zero where they are zero."""
    root = bond.sqrt().view(-1, 1, 1, 1)
    return torch.where(root > 0, core / root, 0)


def core_shapes(n: int, m: int, rank: int, cores: int) -> list[tuple[int, int, int, int]]:
    """The shapes (r_(k-1), n_k, m_k, r_k) of the cores."""
    ranks = [1, *(min(rank, needed) for needed in _needed_ranks(n, m, cores)), 1]
    return list(zip(ranks, balanced_sizes(n, cores), balanced_sizes(m, cores), ranks[1:]))


def _needed_ranks(n: int, m: int, cores: int) -> list[int]:
    """The ranks r_1..r_(d-1) of a train that can hold any matrix."""
    sizes = [a * b for a, b in zip(balanced_sizes(n, cores), balanced_sizes(m, cores))]
    return [min(prod(sizes[:k]), prod(sizes[k:])) for k in range(1, cores)]
