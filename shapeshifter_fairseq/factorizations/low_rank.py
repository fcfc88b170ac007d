"""The ordinary low-rank factorization, which the papers compare Shapeshifter with."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from . import svd
from .factorization import Factorization


class LowRank(Factorization):
    """W = scale * U V (dissertation, section 4.2 and table 8; Gupta et al., section 2.1)::

        W[i, j] = scale * sum over k of  U[i, k] * V[k, j]

    It stores r*(n + m) numbers. The rank of W is at most r, and so is that of a stack of such
    layers; Kronecker products have no such limit. `scale` is explained in `Kronecker`.

    A projection keeps the r largest singular values: the best approximation.
    """

    by_factors_calls = 3

    def __init__(self, n: int, m: int, rank: int, zero_row: int | None = None) -> None:
        super().__init__(n, m, rank, zero_row)
        self.U = nn.Parameter(torch.empty(n, rank))  # shape: (n, r)
        self.V = nn.Parameter(torch.empty(rank, m))  # shape: (r, m)

    @classmethod
    def max_rank(cls, n: int, m: int) -> int:
        return min(n, m)

    @classmethod
    def parameter_count(cls, n: int, m: int, rank: int) -> int:
        return rank * (n + m)

    def _factors(self) -> list[tuple[nn.Parameter, tuple[int, ...]]]:
        return [(self.U, (0,)), (self.V, (1,))]

    def _materialize(self, U: Tensor, V: Tensor) -> Tensor:
        return U @ V

    def _rows(self, index: Tensor) -> Tensor:
        return self.U.index_select(0, index) @ (self.V * self.scale)

    def _project(self, weight: Tensor) -> None:
        for factor, nearest in zip((self.U, self.V), svd.of_rank(weight, self.rank)):
            factor.copy_(nearest)

    def _by_factors_cost(self, vectors: int) -> int:
        return vectors * (self.U.numel() + self.V.numel())

    def _by_factors_inner(self, vectors: int) -> int:
        return vectors * self.rank

    def _by_factors(self, x: Tensor) -> Tensor:
        return (x @ (self.V * self.scale).T) @ self.U.T
