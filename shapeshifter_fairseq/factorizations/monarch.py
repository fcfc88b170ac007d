"""Monarch matrices: two block-diagonal matrices with permutations around them."""

from __future__ import annotations

from torch import Tensor

from .block_low_rank import BlockLowRank


class Monarch(BlockLowRank):
    """W = scale * P1 Ld P2' Rd, of b blocks and rank r, rectangular too (Dao et al., ICML 2022,
    "Monarch: expressive structured matrices"; Gupta et al., section 2.3).

    Rd has the diagonal blocks (b*r) x p, Ld the diagonal blocks o x (b*r), o = n/b and p = m/b. P2
    hands every block of Ld r of the b*r outputs of each block of Rd; P1 interleaves the outputs of
    Ld's blocks. Multiplied out, entry by entry::

        W[k*b + i, j*p + l] = scale * sum over a of  L[i, j, k, a] * R[i, j, a, l]

    That is a `BlockLowRank` whose block i has the rows i, i + b, i + 2b, ...; it stores as many
    numbers, b*r*(n + m). Rd's block j is R[:, j] with its first two dimensions flattened, Ld's
    block i is L[i] with o in front.

    A projection keeps the r largest singular values of each slice (i, j) of the matrix: the best
    approximation at every rank and size.
    """

    def _whole_of(self, blocks: Tensor) -> Tensor:
        return blocks.movedim(-2, -4)  # shape: (*, o, i, j, p)

    def _blocks_of(self, whole: Tensor) -> Tensor:
        b = self.blocks
        return whole.view(self.L.shape[2], b, b, self.R.shape[3]).permute(1, 2, 0, 3)

    def _place_of(self, row: Tensor) -> tuple[Tensor, Tensor]:
        return row % self.blocks, row // self.blocks
