"""The best approximation of a matrix by one of low rank, by its singular values."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

# With more rows and columns than this, a whole decomposition takes minutes.
LARGE = 2048
# Extra columns of the approximate decomposition, and its rounds of power iteration. On 6656 x 3424
# random numbers, the hardest case, its error at rank 256 is then 0.3% above the minimum.
OVERSAMPLING, ROUNDS = 64, 8


def singular_values(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor, Tensor]:
    """The largest singular values and their vectors, so that U diag(S) V is nearest to the matrix.

    They are exact, unless only a few are wanted of a large matrix. `torch.svd_lowrank` then finds
    them (Halko, Martinsson and Tropp, 2011), with the same random numbers every time.

    Args:
        matrix: shape: (*, n, m)
        rank: how many, r; if the matrix has fewer, the rest are zero.

    Returns:
        U, S and V, S in descending order.  # shapes: (*, n, r), (*, r), (*, r, m)
    """
    small = min(matrix.shape[-2:])
    if small <= LARGE or 4 * rank > small:
        u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    else:
        on_gpu, generator = [], torch.default_generator
        if matrix.is_cuda:
            on_gpu, generator = [matrix.device], torch.cuda.default_generators[matrix.device.index]
        with torch.random.fork_rng(on_gpu):
            generator.manual_seed(0)  # (`torch.manual_seed` would reset all devices)
            u, s, v = torch.svd_lowrank(matrix, rank + OVERSAMPLING, niter=ROUNDS)
        v = v.mT
    lacking = max(0, rank - s.shape[-1])
    u, s, v = u[..., :rank], s[..., :rank], v[..., :rank, :]
    return F.pad(u, (0, lacking)), F.pad(s, (0, lacking)), F.pad(v, (0, 0, 0, lacking))


def of_rank(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Two factors whose product is the nearest matrix of that rank.

    A column of the left factor and its row of the right one have equal mean squares.

    Args:
        matrix: shape: (*, n, m)

    Returns:
        Two tensors, shapes: (*, n, r), (*, r, m)
    """
    u, s, v = singular_values(matrix, rank)
    n, m = matrix.shape[-2:]
    root, balance = s.sqrt(), (n / m) ** 0.25  # which makes the mean squares of both sides equal
    return u * root.unsqueeze(-2) * balance, root.unsqueeze(-1) * v / balance
