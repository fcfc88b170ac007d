"""What a family that can project a matrix must do; its test class inherits it.

class TestMonarch(ProjectionConformance):
    ...                                          # as in conformance.py
    def least_error(self, factors, weight): ...  # if a bound is known
"""

from __future__ import annotations

import copy
import math

import numpy
import pytest
import torch
from torch import Tensor

from ..errors import ShapeshifterError
from ..factorizations import Factorization
from .conformance import FactorizationConformance


class ProjectionConformance(FactorizationConformance):
    whole = (64, 64, 4)  # n, m, rank with no rows or columns cut off
    comes_back_within = 1e-10  # relative error of a matrix that has exactly the structure

    def least_error(self, factors: Factorization, weight: Tensor) -> tuple[float, float]:
        """Two bounds on |W - weight| after a projection, by code that shares nothing with it."""
        return 0.0, math.inf

    def test_a_matrix_of_the_structure_comes_back(self):
        drawn = self.make(self.whole)
        weight = drawn.weight().detach()
        factors = self.family(*self.whole, **self.options).double()
        factors.project_(weight, gain=2.0)
        assert factors.relative_error(weight) < self.comes_back_within

    def test_projection_is_the_nearest(self):
        torch.manual_seed(0)
        n, m, rank = self.whole
        factors = self.family(n, m, rank, **self.options).double()
        weight = torch.randn(n, m).double() @ torch.rand(m).double().diag()
        factors.project_(weight, gain=2.0)
        error = factors.relative_error(weight) * weight.norm().item()
        low, high = self.least_error(factors, weight)
        assert low * (1 - 1e-9) <= error <= min(high * (1 + 1e-9), weight.norm().item())

    def test_projection_at_any_size_leaves_the_zero_row_alone(self, nmr):
        n, m, rank = min(nmr[0], 41), min(nmr[1], 41), min(nmr[2], 2)
        torch.manual_seed(0)
        weight, row = torch.randn(n, m).double() + 0.3, n // 2
        found = []
        for value in (0.0, 1000.0):  # what the padding token's row holds makes no difference
            factors = self.family(n, m, rank, zero_row=row, **self.options).double()
            weight[row] = value
            factors.project_(weight, gain=2.0)
            found.append(factors.weight().detach())
        assert found[0][row].abs().max() == 0
        torch.testing.assert_close(*found)
        weight[row] = 0
        if n * m > 1:
            assert factors.relative_error(weight) < 1

    def test_projection_gives_the_gain(self):
        torch.manual_seed(0)
        weight = 0.05 * torch.randn(128, 64).double() @ torch.rand(64).double().diag()
        factors = self.family(128, 64, 4, **self.options).double()
        factors.project_(weight, gain=3.0)
        before, moved = factors.weight().detach(), []
        start = [factor.detach().clone() for factor in factors.parameters()]
        for _ in range(20):  # Adam's first steps, with gradients of random sign
            with torch.no_grad():
                for factor, value in zip(factors.parameters(), start):
                    factor.copy_(value + 1e-6 * torch.randn_like(value).sign())
            moved.append((factors.weight().detach() - before).square().mean())
        assert torch.stack(moved).mean().sqrt().item() == pytest.approx(3e-6, rel=0.1)

    def test_factors_of_a_projection_are_balanced(self):
        factors = self.family(*self.whole, **self.options).double()
        factors.project_(torch.randn(*self.whole[:2]).double(), gain=2.0)
        sizes = [factor.square().mean(entries) for factor, entries in factors._factors()]
        if len(sizes) != 2 or factors.scale_each:
            pytest.skip("not two factors a term")
        torch.testing.assert_close(*sizes)

    def test_what_cannot_be_projected_is_refused(self):
        n, m, rank = self.whole
        factors = self.family(n, m, rank, **self.options)
        with pytest.raises(ShapeshifterError, match="NaN or infinity"):
            factors.project_(torch.full((n, m), math.nan), gain=2.0)
        with pytest.raises(ShapeshifterError, match=rf"\({n}, {m - 1}\) does not fit"):
            factors.project_(torch.ones(n, m - 1), gain=2.0)
        for gain in (0.0, -1.0, math.nan, math.inf):
            with pytest.raises(ShapeshifterError, match=f"a gain of {gain} is impossible"):
                factors.project_(torch.ones(n, m), gain=gain)
            with pytest.raises(ShapeshifterError, match=f"a gain of {gain} is impossible"):
                factors.initialize_(1.0, gain=gain)

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_projection_in_lower_precision_is_the_rounded_one(self, dtype):
        factors = self.family(*self.whole, **self.options)
        weight = torch.randn(*self.whole[:2])
        torch.manual_seed(0)  # some families draw where they begin
        exact = copy.deepcopy(factors)
        exact.project_(weight, gain=2.0)
        torch.manual_seed(0)
        low = copy.deepcopy(factors).to(dtype)
        low.project_(weight, gain=2.0)
        assert all(factor.dtype == dtype for factor in low.parameters())
        assert low.scale.item() == exact.scale.item()
        assert low.relative_error(weight) < 1.1 * exact.relative_error(weight) + 0.02

    def test_projecting_zeros_gives_zeros(self):
        factors = self.family(*self.whole, **self.options)
        factors.project_(torch.zeros(*self.whole[:2]), gain=2.0)
        assert factors.weight().abs().max() == 0


def discarded(matrix: Tensor, rank: int) -> float:
    """The norm of all singular values but the largest `rank`: the least error at that rank."""
    return numpy.linalg.norm(numpy.linalg.svd(matrix.numpy(), compute_uv=False)[..., rank:])
