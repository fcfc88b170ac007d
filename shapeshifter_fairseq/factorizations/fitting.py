"""Factors of a given matrix: the nearest ones, as far as a family knows them."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..errors import ShapeshifterError

# Rounds of `_fit_padded`, and the fall of the error, as a factor, that another round has to bring:
# where there is no closed form, and where only what is cut off is filled in.
ROUNDS, WORTH = 200, 0.9999
FILLING_ROUNDS, FILLING_WORTH = 50, 0.999
# How much a round has to fill in anew, as a part of the error, to be worth it: in a large table few
# places are cut off.
FILLED_IN = 0.03


class Fitted:
    """The part of a `Factorization` that takes a given matrix."""

    def _project(self, weight: Tensor) -> None:  # shape: (n, m)
        """Set the factors so that W, with a `scale` of 1, is near `weight`, all terms balanced."""
        raise ShapeshifterError(
            f"{type(self).__name__} cannot approximate a given matrix; train it from the start, or "
            "take another family"
        )

    @torch.no_grad()
    def project_(self, weight: Tensor, gain: float) -> None:
        """Set the factors so that W is the best approximation of a matrix, as near as is known.

        The family's docstring says how, and whether nothing could be nearer. The factors of a term
        get equal mean squares, and `scale` is chosen so that W then moves as after `initialize_`.

        Args:
            weight: the matrix; what its `zero_row` holds does not count.  # shape: (n, m)
            gain: how far Adam's first step moves an entry of W, in the mean square, in units of
                the learning rate.

        Raises:
            ShapeshifterError: if the matrix has another shape, or holds a NaN or an infinity, or
                the family knows no way.
        """
        if weight.shape != (self.n, self.m):
            raise ShapeshifterError(
                f"a matrix of shape {tuple(weight.shape)} does not fit factors of one of "
                f"{(self.n, self.m)}"
            )
        if not weight.isfinite().all():
            raise ShapeshifterError("the matrix holds NaN or infinity; take another checkpoint")
        self._kept.forget()
        self.scale.fill_(1)
        weight = weight.to(self.scale, copy=True)
        if self.zero_row is not None:
            weight[self.zero_row] = 0
        self._project(weight)
        self._set_gain_(gain)

    def _fit_padded(
        self, weight: Tensor, fit: Callable[[Tensor], None], closed_form: bool = True
    ) -> None:
        """`_project` by rounds, for a family whose products have more rows and columns than W.

        `fit` sets the factors to the best for a whole matrix if there is a `closed_form`, else to
        better ones than they are. What is cut off, and the row that is always zero, may be
        anything: `fit` gets zeros there first, and then what the factors before made of them, so
        that on the entries that count the error does not grow. The least has no closed form
        (hard-impute: Mazumder, Hastie and Tibshirani, 2010).
        """
        whole = torch.zeros_like(self._padded())
        counts = torch.zeros_like(whole, dtype=torch.bool)
        counts[: self.n, : self.m] = True
        if self.zero_row is not None:
            counts[self.zero_row] = False
        whole[: self.n, : self.m] = weight
        rounds, worth = (FILLING_ROUNDS, FILLING_WORTH) if closed_form else (ROUNDS, WORTH)
        error = math.inf
        for _ in range(1 if closed_form and counts.all() else rounds):
            fit(whole)
            before, made = error, self._padded()
            error = torch.where(counts, made - whole, 0).norm().item()
            filled_in = torch.where(counts, 0, made - whole).norm().item()
            if error >= before * worth or (closed_form and filled_in < error * FILLED_IN):
                break
            whole = torch.where(counts, whole, made)

    def relative_error(self, weight: Tensor) -> float:
        """|W - weight| / |weight| in the Frobenius norm, or |W| for a matrix of zeros."""
        with torch.no_grad():
            # In double precision: the squares of a large table add up to more than float32 holds.
            weight = weight.double()
            error, norm = (self.materialize().double() - weight).norm(), weight.norm()
            return (error / norm).item() if norm > 0 else error.item()
