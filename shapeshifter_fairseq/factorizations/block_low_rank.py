"""Block low-rank matrices: each block of a grid has a low-rank factorization of its own."""

from __future__ import annotations

from math import ceil

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from . import svd
from .factorization import Factorization
from .sizes import balanced_sizes, require_between


class BlockLowRank(Factorization):
    """W is a grid of b x c blocks, each of rank r (Gupta et al., section 2.2, where b = c)::

        W[i*o + k, j*p + l] = scale * sum over a of  L[i, j, k, a] * R[i, j, a, l]

    with blocks of o = n/b rows and p = m/c columns. Where b does not divide n, or c does not divide
    m, the blocks are rounded up, and rows and columns past n and m are cut off. It stores
    r*(c*n + b*m) numbers. With one block it is `LowRank`. `scale` is explained in `Kronecker`.

    The option `blocks` is b, and c too; `column_blocks` is c where it differs. `blocks=0` asks for
    the grid of Block Tensor-Train (Qiu et al., ICML 2024, "Compute better spent: replacing dense
    layers with structured matrices", of two cores): b is near sqrt(n) and c near sqrt(m).

    A projection keeps the r largest singular values of each block: the best approximation.
    """

    def __init__(
        self,
        n: int,
        m: int,
        rank: int,
        zero_row: int | None = None,
        *,
        blocks: int = 4,
        column_blocks: int = 0,
    ) -> None:
        super().__init__(n, m, rank, zero_row, blocks=blocks, column_blocks=column_blocks)
        b, c = self.grid = self.grid_of(n, m, blocks, column_blocks)
        self.L = nn.Parameter(torch.empty(b, c, ceil(n / b), rank))  # shape: (b, c, o, r)
        self.R = nn.Parameter(torch.empty(b, c, rank, ceil(m / c)))  # shape: (b, c, r, p)

    @staticmethod
    def grid_of(n: int, m: int, blocks: int, column_blocks: int) -> tuple[int, int]:
        """How many blocks an n by m matrix has from top to bottom, and from left to right.

        >>> BlockLowRank.grid_of(512, 1024, 4, 0), BlockLowRank.grid_of(512, 1024, 0, 0)
        ((4, 4), (16, 32))
        """
        require_between(0, n if column_blocks else min(n, m), n, m, blocks=blocks)
        require_between(0, m, n, m, column_blocks=column_blocks)
        rows = blocks or balanced_sizes(n, 2)[0]
        return rows, column_blocks or blocks or balanced_sizes(m, 2)[0]

    @classmethod
    def max_rank(cls, n: int, m: int, *, blocks: int = 4, column_blocks: int = 0) -> int:
        b, c = cls.grid_of(n, m, blocks, column_blocks)
        return min(ceil(n / b), ceil(m / c))

    @classmethod
    def parameter_count(
        cls, n: int, m: int, rank: int, *, blocks: int = 4, column_blocks: int = 0
    ) -> int:
        b, c = cls.grid_of(n, m, blocks, column_blocks)
        return b * c * rank * (ceil(n / b) + ceil(m / c))

    def _factors(self) -> list[tuple[nn.Parameter, tuple[int, ...]]]:
        return [(self.L, (2,)), (self.R, (3,))]

    def _materialize(self, L: Tensor, R: Tensor) -> Tensor:
        return self._whole_of(L @ R).flatten(-2).flatten(-3, -2)  # shape: (*, b*o, c*p)

    def _rows(self, index: Tensor) -> Tensor:
        block, row = self._place_of(index)  # shapes: (T,), (T,)
        # Sorted by block: then a block's rows are one product, and R is not gathered, which would
        # take r*m numbers per row.
        block, order = block.sort()
        counts = torch.bincount(block, minlength=self.grid[0]).tolist()
        rows = [
            torch.bmm(L.index_select(1, own) * self.scale, R).transpose(0, 1)
            for L, R, own in zip(self.L, self.R, row[order].split(counts))
        ]
        rows = torch.cat(rows).index_select(0, order.argsort())  # shape: (T, c, p)
        return rows.flatten(1)[:, : self.m]

    def _project(self, weight: Tensor) -> None:
        (b, c, rows, _), columns = self.L.shape, self.R.shape[3]
        whole = F.pad(weight, (0, c * columns - self.m, 0, b * rows - self.n))
        left, right = svd.of_rank(self._blocks_of(whole), self.rank)
        self.L.copy_(left)
        self.R.copy_(right)

    def _by_factors_cost(self, vectors: int) -> int:
        return vectors * (self.L.numel() + self.R.numel())

    def _by_factors_inner(self, vectors: int) -> int:
        return vectors * self.grid[0] * self.grid[1] * self.rank

    def _by_factors(self, x: Tensor) -> Tensor:
        (b, c, _, r), columns = self.L.shape, self.R.shape[3]
        x = F.pad(x, (0, c * columns - self.m)).view(-1, c, columns).transpose(0, 1)  # (j, T, p)
        right = (self.R * self.scale).transpose(0, 1).flatten(1, 2)  # shape: (j, i*r, p)
        # Reorder the products with R, (j, T, i, r), to (i, T, j, r) for L. Copying short runs of r
        # numbers is slow if there are many: then T stays last in memory.
        if b * c * r > self.m:
            inner = torch.bmm(right, x.mT).unflatten(1, (b, -1))  # shape: (j, i, r, T)
            inner = inner.transpose(0, 1).flatten(1, 2).mT  # shape: (i, T, j*r)
        else:
            inner = torch.bmm(x, right.mT).unflatten(2, (b, -1))  # shape: (j, T, i, r)
            inner = inner.permute(2, 1, 0, 3).flatten(2)  # shape: (i, T, j*r)
        left = self.L.transpose(2, 3).flatten(1, 2)  # shape: (i, j*r, o)
        y = torch.bmm(inner, left).transpose(0, 1)  # shape: (T, i, o)
        # Treat y as blocks of one column, to put the rows in W's order.
        return self._whole_of(y[:, :, None, :, None]).flatten(1)[:, : self.n]

    # --- where the rows of W lie in the blocks; Monarch overrides only this ---------------------

    def _whole_of(self, blocks: Tensor) -> Tensor:  # (*, i, j, o, p) -> rows by columns of W
        return blocks.transpose(-3, -2)  # shape: (*, i, o, j, p)

    def _blocks_of(self, whole: Tensor) -> Tensor:  # (b*o, c*p) -> (i, j, o, p)
        (b, c), rows, columns = self.grid, self.L.shape[2], self.R.shape[3]
        return whole.view(b, rows, c, columns).transpose(1, 2)

    def _place_of(self, row: Tensor) -> tuple[Tensor, Tensor]:  # row of W -> block row, row in it
        rows = self.L.shape[2]
        return row // rows, row % rows
