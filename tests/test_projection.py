"""How near a projection is: per matrix, and together."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from shapeshifter_fairseq import Plan, factorize
from shapeshifter_fairseq.matrices import matrices
from shapeshifter_fairseq.projection import how_near, relative_error


def test_it_is_told_of_what_was_replaced_the_largest_error_first():
    torch.manual_seed(0)
    model = nn.ModuleDict({"a": nn.Linear(8, 6), "b": nn.Linear(8, 6), "c": nn.Embedding(9, 8)})
    dense, before = copy.deepcopy(model), matrices(model)
    factorize(model, Plan.parse("*=low_rank:6,b=low_rank:1,c=dense"), init="project")
    found = how_near(before, model)
    assert [each.names for each in found] == [("b",), ("a",)]
    assert [each.before for each in found] == [48, 48]
    assert [each.after for each in found] == [14, 84]
    lost = {name: (model[name].weight - dense[name].weight).norm() for name in ("a", "b")}
    norms = {name: dense[name].weight.norm() for name in ("a", "b")}
    assert found[0].error == pytest.approx((lost["b"] / norms["b"]).item(), rel=1e-5)
    assert found[1].error < 1e-5
    both = (lost["b"] / torch.stack([*norms.values()]).norm()).item()
    assert relative_error(found) == pytest.approx(both, rel=1e-5)
