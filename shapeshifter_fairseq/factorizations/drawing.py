"""How factors are drawn, and how far a step of the optimizer then moves W: the gain."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ..errors import ShapeshifterError


def need_gain(gain: float) -> None:
    """Raise a `ShapeshifterError` if no factors can have a gain."""
    if not 0 < gain < math.inf:
        raise ShapeshifterError(f"a gain of {gain} is impossible; choose a number above 0")


class Drawn:
    """The part of a `Factorization` that draws factors and chooses its `scale`.

    An entry of W is a sum of `terms` products, each of `degree` numbers, one of each factor. These
    two counts decide the spread of W and its gain.
    """

    # Whether `scale` multiplies every factor, or only the first. For a product of many factors, one
    # number for all would be out of range in fp16.
    scale_each = False

    rank: int
    scale: Tensor  # shape: ()

    def _factors(self) -> Iterable[tuple[nn.Parameter, tuple[int, ...]]]:
        raise NotImplementedError

    def _rows(self, index: Tensor) -> Tensor:
        raise NotImplementedError

    @property
    def degree(self) -> int:
        """How many numbers, one of each factor, are multiplied in a term of an entry of W."""
        return 2

    @property
    def terms(self) -> int:
        """How many such products an entry of W is the sum of."""
        return self.rank

    @property
    def _scale_power(self) -> int:
        """How many of the factors of a term the scale multiplies."""
        return self.degree if self.scale_each else 1

    @torch.no_grad()
    def initialize_(self, std: float, gain: float) -> None:
        """Draw new factors so that the entries of W have the given standard deviation.

        Args:
            std: wanted standard deviation of the entries of W; their mean is zero.
            gain: how far Adam's first step moves an entry of W, in units of the learning rate. A
                dense matrix has gain 1. With the same gradient, a step of SGD moves it gain^2
                times as far as an entry of a dense matrix.

        Raises:
            ShapeshifterError: if the gain is not a number above 0.
        """
        need_gain(gain)
        # An entry of W is a sum of P terms, each the product of d numbers of independent factors
        # of mean zero and standard deviation s, times scale^p (p of the factors are scaled):
        #     std = scale^p * sqrt(P) * s^d.
        # With steps of +-lr on all numbers, Adam's first step moves it by a sum of d*P terms of
        # size scale^p * lr * s^(d-1) (root mean square)
        #     gain * lr = lr * scale^p * sqrt(d*P) * s^(d-1).
        # The quotient of the two gives s = sqrt(d) * std / gain; then the first gives the scale.
        d, p = self.degree, self._scale_power
        factor_std = math.sqrt(d) * std / gain
        self._set_scale((std / (math.sqrt(self.terms) * factor_std**d)) ** (1 / p))
        factor_std = (std / (math.sqrt(self.terms) * self.scale.item() ** p)) ** (1 / d)
        for factor, entries in self._factors():
            factor.normal_()
            # Rescale each term to exactly this size. At a low rank, chance alone would make W too
            # large or too small.
            factor.mul_(factor_std / factor.square().mean(entries, keepdim=True).sqrt())

    def _set_scale(self, scale: float) -> None:
        # Rounded to 8 bits, so that it is the same number in fp32, fp16 and bf16.
        self.scale.fill_(torch.tensor(scale).bfloat16().item())

    @torch.no_grad()
    def _match_spread_(self, std: float) -> None:
        """Multiply the factors so that W has the given spread, as measured on some of its rows.

        This is for products of many factors. Each factor has few entries, and rows and columns of
        the product are cut off, so the spread of W would be left to chance.
        """
        some = torch.arange(self.n) if self.n <= 4096 else torch.randint(self.n, (4096,))
        rows = self._rows(some.to(self.scale.device))
        for factor, _ in self._factors():
            factor.mul_((std / rows.square().mean().sqrt()) ** (1 / self.degree))

    def _gain(self) -> float:
        """How far steps of +-1 on all numbers move an entry of W, root mean square."""
        # For two factors: a step on one is multiplied by the other. Other families override this.
        squares = [factor.square().mean().item() for factor, _ in self._factors()]
        return self.scale.item() * math.sqrt(self.terms * sum(squares))

    def _set_gain_(self, gain: float) -> None:
        """Choose `scale` for the wanted gain; the factors change with it and W stays."""
        # W stays if all factors are multiplied by t and scale^p is divided by t^d. A step of +-lr
        # on a factor then moves W t times less.
        d, p, now, scale = self.degree, self._scale_power, self._gain(), self.scale.item()
        if now == 0:  # W is zero, and so are its factors
            return
        self._set_scale(scale * (gain / now) ** (d / p))
        for factor, _ in self._factors():
            factor.mul_((scale / self.scale.item()) ** (p / d))
