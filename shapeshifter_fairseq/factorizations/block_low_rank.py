"""Block low-rank matrices: each of b x b blocks has a low-rank factorization of its own."""

from __future__ import annotations

from math import ceil

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from . import svd
from .factorization import Factorization
from .sizes import require_between


class BlockLowRank(Factorization):
    """W is a grid of b x b blocks, each of rank r (Gupta et al., section 2.2)::

        W[i*o + k, j*p + l] = scale * sum over a of  L[i, j, k, a] * R[i, j, a, l]

    with blocks of o = n/b rows and p = m/b columns. Where b does not divide n or m, the blocks are
    rounded up, and rows and columns past n and m are cut off. It stores b*r*(n + m) numbers. With
    b = 1 it is `LowRank`. `scale` is explained in `Kronecker`.

    A projection keeps the r largest singular values of each block: the best approximation.
    """

    def __init__(
        self, n: int, m: int, rank: int, zero_row: int | None = None, *, blocks: int = 4
    ) -> None:
        super().__init__(n, m, rank, zero_row, blocks=blocks)
        self.blocks = b = blocks
        self.L = nn.Parameter(torch.empty(b, b, ceil(n / b), rank))  # shape: (b, b, o, r)
        self.R = nn.Parameter(torch.empty(b, b, rank, ceil(m / b)))  # shape: (b, b, r, p)

    @classmethod
    def max_rank(cls, n: int, m: int, *, blocks: int = 4) -> int:
        require_between(1, min(n, m), n, m, blocks=blocks)
        return min(ceil(n / blocks), ceil(m / blocks))

    @classmethod
    def parameter_count(cls, n: int, m: int, rank: int, *, blocks: int = 4) -> int:
        return blocks * blocks * rank * (ceil(n / blocks) + ceil(m / blocks))

    def _factors(self) -> list[tuple[nn.Parameter, tuple[int, ...]]]:
        return [(self.L, (2,)), (self.R, (3,))]

    def _materialize(self, L: Tensor, R: Tensor) -> Tensor:
        return self._whole_of(L @ R).flatten(-2).flatten(-3, -2)  # shape: (*, b*o, b*p)

    def _rows(self, index: Tensor) -> Tensor:
        block, row = self._place_of(index)  # shapes: (T,), (T,)
        left = self.L.transpose(1, 2)[block, row]  # shape: (T, b, r)
        # Gathering R[block] would take r*m numbers a row. A sum over all blocks, with zeros for all
        # but the row's own, takes b*b*r and is one matrix product.
        own = F.one_hot(block, self.blocks).to(left)  # shape: (T, b)
        rows = torch.einsum("ti,tjr,ijrp->tjp", own, left, self.R * self.scale)
        return rows.flatten(1)[:, : self.m]

    def _project(self, weight: Tensor) -> None:
        b, rows, columns = self.blocks, self.L.shape[2], self.R.shape[3]
        whole = F.pad(weight, (0, b * columns - self.m, 0, b * rows - self.n))
        left, right = svd.of_rank(self._blocks_of(whole), self.rank)
        self.L.copy_(left)
        self.R.copy_(right)

    def _by_factors_cost(self, vectors: int) -> int:
        return vectors * (self.L.numel() + self.R.numel())

    def _by_factors(self, x: Tensor) -> Tensor:
        b, columns = self.blocks, self.R.shape[3]
        x = F.pad(x, (0, b * columns - self.m)).view(-1, b, columns).transpose(0, 1)  # (j, T, p)
        right = (self.R * self.scale).permute(1, 3, 0, 2).flatten(2)  # shape: (j, p, i*r)
        inner = torch.bmm(x, right).unflatten(2, (b, -1))  # shape: (j, T, i, r)
        inner = inner.permute(2, 1, 0, 3).flatten(2)  # shape: (i, T, j*r)
        left = self.L.transpose(2, 3).flatten(1, 2)  # shape: (i, j*r, o)
        y = torch.bmm(inner, left).transpose(0, 1)  # shape: (T, i, o)
        # Treat y as blocks of one column, to put the rows in W's order.
        return self._whole_of(y[:, :, None, :, None]).flatten(1)[:, : self.n]

    # --- where the rows of W lie in the blocks; Monarch overrides only this ---------------------

    def _whole_of(self, blocks: Tensor) -> Tensor:  # (*, i, j, o, p) -> rows by columns of W
        return blocks.transpose(-3, -2)  # shape: (*, i, o, j, p)

    def _blocks_of(self, whole: Tensor) -> Tensor:  # (b*o, b*p) -> (i, j, o, p)
        b = self.blocks
        return whole.view(b, self.L.shape[2], b, self.R.shape[3]).transpose(1, 2)

    def _place_of(self, row: Tensor) -> tuple[Tensor, Tensor]:  # row of W -> block row, row in it
        rows = self.L.shape[2]
        return row // rows, row % rows
