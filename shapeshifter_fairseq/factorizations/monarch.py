"""Monarch matrices: two block-diagonal matrices with permutations around them."""

from __future__ import annotations

from torch import Tensor

from .block_low_rank import BlockLowRank


class Monarch(BlockLowRank):
    """W = scale * P1 Ld P2' Rd, of rank r, rectangular too (Dao et al., ICML 2022, "Monarch:
    expressive structured matrices"; Gupta et al., section 2.3; both with b = c).

    Rd has c diagonal blocks (b*r) x p, Ld has b diagonal blocks o x (c*r), o = n/b and p = m/c. P2'
    passes r of the b*r outputs of each block of Rd to each block of Ld. P1 interleaves the outputs
    of the b blocks of Ld. Multiplied out, entry by entry::

        W[k*b + i, j*p + l] = scale * sum over a of  L[i, j, k, a] * R[i, j, a, l]

    That is a `BlockLowRank` with the same options, whose row block i has the rows i, i + b, i + 2b,
    ...; it stores as many numbers, r*(c*n + b*m). Rd's block j is R[:, j] with its first two
    dimensions flattened, Ld's block i is L[i] with o in front.

    A projection keeps the r largest singular values of each slice (i, j) of the matrix: the best
    approximation at every rank and size.
    """

    def _whole_of(self, blocks: Tensor) -> Tensor:
        return blocks.movedim(-2, -4)  # shape: (*, o, i, j, p)

    def _blocks_of(self, whole: Tensor) -> Tensor:
        (b, c), rows, columns = self.grid, self.L.shape[2], self.R.shape[3]
        return whole.view(rows, b, c, columns).permute(1, 2, 0, 3)

    def _place_of(self, row: Tensor) -> tuple[Tensor, Tensor]:
        return row % self.grid[0], row // self.grid[0]
