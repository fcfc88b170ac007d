"""Parameterized hypercomplex multiplication: a sum of Kronecker products with one small side."""

from __future__ import annotations

from math import ceil

from .kronecker import Kronecker, KroneckerShape


class PHM(Kronecker):
    """W = scale * (A_1 kron B_1 + ... + A_r kron B_r) with A_k of r x r (dissertation, section 4.1;
    Zhang et al., ICLR 2021, "Beyond fully-connected layers with quaternions").

    B_k is n/r x m/r. Together they store r^3 + n*m/r numbers: about 1/r of the dense matrix while r
    is small. In the literature r has to divide n and m. Here other sizes are padded as in
    `Kronecker` (B_k is rounded up, rows and columns past n and m are cut off), so a vocabulary may
    have any size.
    """

    @classmethod
    def split(cls, n: int, m: int, rank: int) -> KroneckerShape:
        return KroneckerShape(n1=rank, n2=ceil(n / rank), m1=rank, m2=ceil(m / rank))

    @classmethod
    def max_rank(cls, n: int, m: int) -> int:
        return min(n, m)  # where B_k has a single row or column
