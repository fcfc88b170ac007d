"""Fit factors to a given matrix, as closely as a family knows how."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..errors import ShapeshifterError
from .autocast import without_autocast
from .drawing import need_gain

# `_fit_padded` makes at most ROUNDS rounds, and stops when a round leaves more than WORTH of the
# error. The FILLING_ values are for a closed form, where rounds only fill in cut-off entries.
ROUNDS, WORTH = 200, 0.9999
FILLING_ROUNDS, FILLING_WORTH = 50, 0.999
# With a closed form it also stops when a round changes the filled-in entries by less than this
# fraction of the error: more rounds would then change little.
FILLED_IN = 0.03


class Fitted:
    """The part of a `Factorization` that fits the factors to a given matrix."""

    def _project(self, weight: Tensor) -> None:  # shape: (n, m)
        """Set the factors so that W, with a `scale` of 1, is near `weight`, all terms balanced."""
        raise ShapeshifterError(
            f"{type(self).__name__} cannot approximate a given matrix; train it from the start, or "
            "take another family"
        )

    @torch.no_grad()
    def project_(self, weight: Tensor, gain: float) -> None:
        """Set the factors so that W approximates a matrix as closely as the family knows how.

        The family's docstring says how, and whether the result is the best possible. The factors of
        a term get equal mean squares. `scale` is set so that Adam then moves W as after
        `initialize_`.

        Args:
            weight: the matrix; its row `zero_row` is ignored.  # shape: (n, m)
            gain: how far Adam's first step moves an entry of W (root mean square), in units of
                the learning rate.

        Raises:
            ShapeshifterError: if the matrix has another shape, or holds a NaN or an infinity, or
                the gain is not a number above 0, or the family cannot approximate a matrix.
        """
        if weight.shape != (self.n, self.m):
            raise ShapeshifterError(
                f"a matrix of shape {tuple(weight.shape)} does not fit factors of a matrix of "
                f"shape {(self.n, self.m)}"
            )
        if not weight.isfinite().all():
            raise ShapeshifterError("the matrix holds NaN or infinity; take another checkpoint")
        need_gain(gain)
        self._kept.forget()
        if torch.finfo(self.scale.dtype).bits < 32:  # torch has no singular values in such types
            wide = copy.deepcopy(self).float()
            wide.project_(weight, gain)
            self.load_state_dict(wide.state_dict())
            return
        self.scale.fill_(1)
        weight = weight.to(self.scale, copy=True)
        if self.zero_row is not None:
            weight[self.zero_row] = 0
        with without_autocast(weight.device.type):
            self._project(weight)
            self._set_gain_(gain)

    def _fit_padded(
        self, weight: Tensor, fit: Callable[[Tensor], None], closed_form: bool = True
    ) -> None:
        """`_project` in rounds, for a family whose products have more rows and columns than W.

        `fit` sets the factors: to the best ones for a whole matrix if there is a `closed_form`,
        else to better ones than before. Entries that are cut off, and the row that is always zero,
        may take any value. In the first round `fit` gets zeros there, and then what the last
        factors gave. So the error on the other entries never grows. Its minimum has no closed form
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
            # In double precision: float32 loses digits when it adds up a large table's squares.
            weight = weight.double()
            error, norm = (self.materialize().double() - weight).norm(), weight.norm()
            return (error / norm).item() if norm > 0 else error.item()
