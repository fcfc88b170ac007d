"""Products of W with vectors: with W, or factor by factor, whichever is estimated to be faster."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional as F

from .computed import is_exported
from .cost import CALL, GPU_SLOWNESS, INNER, MANY, is_gpu


class Multiplied:
    """The part of a `Factorization` that multiplies vectors."""

    by_factors_calls = 8  # calls of torch in `_by_factors`

    n: int
    m: int
    rank: int
    zero_row: int | None
    scale: Tensor

    def _by_factors(self, x: Tensor) -> Tensor:
        """x W^T factor by factor."""  # (T, m) -> (T, n)
        raise NotImplementedError

    def _by_factors_cost(self, vectors: int) -> float:
        """How many multiplications `_by_factors` takes; by default W is always built."""
        return math.inf

    def _by_factors_inner(self, vectors: int) -> int:
        """How many intermediate numbers `_by_factors` makes in all."""
        return 0

    def is_cheaper_by_factors(self, vectors: int) -> bool:
        """Whether a product with this many vectors is faster without W."""
        cost = self._by_factors_cost(vectors)
        if is_gpu(self.scale.device):
            cost *= GPU_SLOWNESS
        else:
            cost += INNER * self._by_factors_inner(vectors) + CALL * self.by_factors_calls
        building = 0 if self._keeps_w else self.rank  # multiplications for an entry of W, about
        return cost < self.n * self.m * (vectors + building)

    def linear(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """x W^T + bias, with W or factor by factor, whichever is estimated to be faster.

        Args:
            x: vectors.  # shape: (*, m)
            bias: shape: (n,)

        Returns:
            Tensor, shape: (*, n)
        """
        if x.is_nested:  # `nn.TransformerEncoder` makes such batches of padded ones
            return F.linear(x, self._weight(), bias)
        # An exported graph serves batches of any size: it computes as for a large one.
        by_factors = self.is_cheaper_by_factors(MANY if is_exported() else x.numel() // self.m)
        if self._builder is not None and not by_factors:
            return F.linear(x, self._weight(), bias)
        # Flatten x to one matrix. With a weight that needs no gradient (the kept W), torch
        # multiplies a batch of matrices one by one, several times slower (seen in beam search).
        flat = x.reshape(-1, self.m)
        if by_factors:
            y = self._by_factors(flat)
            if self.zero_row is not None:
                y[:, self.zero_row] = 0
            if bias is not None:
                y = y + bias.to(y)  # under autocast y is of lower precision
        elif self._has_w:
            y = F.linear(flat, self._weight(), bias)
        else:
            y = self._linear_with_w(flat, bias)
        return y.view(*x.shape[:-1], self.n)

    def _linear_with_w(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """x W^T + bias with a W built for this product alone; a family may have a better way."""
        return F.linear(x, self.materialize(), bias)
