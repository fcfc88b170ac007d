"""W that are built together must equal W that are built alone, and so must their gradients."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from ..factorizations import cost
from ..layers import FactorizedLinear
from ..together import Group, built_together
from .case import FamilyCase


class BatchConformance(FamilyCase):
    @pytest.mark.parametrize("autocast", [False, True])
    def test_built_together_they_are_what_they_are_alone(self, nmr, autocast, monkeypatch):
        monkeypatch.setattr(cost, "PART", 3 * nmr[0] * nmr[1])
        dtype = torch.float32 if autocast else torch.float64
        members = nn.ModuleList(self.make(nmr, std, zero_row=nmr[0] // 2) for std in (0.02, 0.3, 1))
        members.to(dtype)
        gradients = [torch.randn(nmr[:2]).double() for _ in members]
        alone, others = copy.deepcopy(members), copy.deepcopy(members)

        def weights(of: nn.ModuleList) -> list[Tensor]:
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                return [factors.weight() for factors in of]

        with built_together(others):
            found = weights(others)
        for pair in zip(found, weights(alone)):
            torch.testing.assert_close(*pair, rtol=1e-12, atol=1e-14)
        for each in (found, weights(alone)):
            sum((w * g).sum() for w, g in zip(each, gradients)).backward()
        tolerance = 2e-2 if autocast else 1e-10  # in bf16 sums are rounded in another order
        for one, other in zip(others.parameters(), alone.parameters()):
            error = (one.grad - other.grad).norm()
            assert error <= tolerance * other.grad.norm() + 1e-12

    def test_who_is_not_used_gets_no_gradient(self, nmr, monkeypatch):
        monkeypatch.setattr(cost, "PART", 2 * nmr[0] * nmr[1])
        used, unused = self.make(nmr), self.make(nmr)
        with built_together(nn.ModuleList([used, unused])):
            used.weight().sum().backward()
        assert all(factor.grad is not None for factor in used.parameters())
        assert all(factor.grad is None for factor in unused.parameters())

    def test_a_pass_builds_them_once_for_all_their_uses(self, nmr, monkeypatch):
        n, m, _ = nmr
        if not self.family.for_linear:
            pytest.skip("for embeddings")
        monkeypatch.setattr(cost, "PART", 2 * n * m)
        layers = nn.ModuleList(FactorizedLinear.holding(self.make(nmr), None) for _ in range(2))
        builds = []
        monkeypatch.setattr(self.family, "is_cheaper_by_factors", lambda self, vectors: False)
        build = self.family.materialize_from
        monkeypatch.setattr(
            self.family,
            "materialize_from",
            lambda self, *args: builds.append(self) or build(self, *args),
        )
        x = torch.randn(3, m).double()
        with built_together(layers):
            for layer in layers:
                assert isinstance(layer.factors._builder, Group)
                assert layer.weight.data_ptr() == layer.weight.data_ptr()
                layer(x)
                layer.factors.rows(torch.tensor([0, n - 1]))
        assert len(builds) == 1
        assert all(layer.factors._builder is None for layer in layers)
