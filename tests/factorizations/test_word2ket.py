"""The word2ket family against chains of `torch.kron`, and inner products without embeddings."""

from functools import reduce

import pytest
import torch
from torch import nn

from shapeshifter_fairseq import ShapeshifterError
from shapeshifter_fairseq.factorizations import Word2Ket
from shapeshifter_fairseq.testing import ProjectionConformance, discarded


class TestWord2Ket(ProjectionConformance):
    family = Word2Ket
    shapes = [(512, 512, 4), (256, 128, 1), (1009, 64, 8), (64, 1009, 8), (7, 5, 2), (1, 1, 1)]

    def reference(self, factors):
        rows = [
            sum(reduce(torch.kron, vectors) for vectors in row) for row in factors.v.unbind(0)
        ]  # shapes: (q^o,)
        return factors.scale**factors.order * torch.stack(rows)[:, : factors.m]

    def least_error(self, factors, weight):
        return (discarded(weight.view(-1, factors.q, factors.q), factors.rank),) * 2


class TestOrderThree(TestWord2Ket):
    options = {"order": 3}
    smallest = 5
    whole = (64, 64, 1)
    comes_back_within = 1e-8  # alternating least squares
    least_error = ProjectionConformance.least_error
    shapes = TestWord2Ket.shapes[:-1]


class TestOrderFour(TestWord2Ket):
    options = {"order": 4}
    smallest = 9
    whole = (64, 81, 1)
    comes_back_within = 1e-8
    least_error = ProjectionConformance.least_error
    tiny = (7, 9, 2)
    shapes = [(512, 512, 4), (256, 128, 1), (1009, 64, 8), (64, 1009, 8), (17, 13, 3)]


class TestLayerNorm(ProjectionConformance):
    family = Word2Ket
    options = {"order": 4, "norm": 1}
    smallest = 9
    whole = (32, 81, 1)
    comes_back_within = 0.2  # Adam
    tiny = (7, 9, 2)
    shapes = TestOrderFour.shapes

    def reference(self, factors):
        q = factors.q
        node, top = nn.LayerNorm(q * q).double(), nn.LayerNorm(q**4).double()
        rows = []
        for row in (factors.scale * factors.v).unbind(0):
            terms = [
                top(torch.kron(node(torch.kron(a, b)), node(torch.kron(c, d))))
                for a, b, c, d in row
            ]
            rows.append(factors.spread * sum(terms))
        return torch.stack(rows)[:, : factors.m].detach()


@pytest.mark.parametrize("m, order", [(256, 4), (300, 4), (65, 3), (64, 2), (17, 2), (1, 2)])
@pytest.mark.parametrize("rank", [1, 3])
def test_inner_products_are_those_of_the_rows(m, order, rank, monkeypatch):
    torch.manual_seed(0)
    rank = min(rank, Word2Ket.max_rank(20, m, order=order))
    factors = Word2Ket(20, m, rank, zero_row=3, order=order).double()
    factors.initialize_(0.1, gain=1.0)
    left, right = torch.randint(20, (2, 50))
    left[:2], right[1:3] = 3, 3
    rows = factors.weight()
    expected = (rows[left] * rows[right]).sum(1)
    monkeypatch.setattr(factors, "_products_of", None)
    found = factors.inner_products(left, right)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-14)
    assert found[0] == 0 and found[2] == 0


def test_inner_products_through_layer_norm_are_refused():
    with pytest.raises(ShapeshifterError, match="norm=0"):
        Word2Ket(5, 16, 1, norm=1).inner_products(torch.tensor([0]), torch.tensor([1]))


def test_numbers_of_the_dissertation():
    """Figure 3: 256 dimensions of order 4 and rank 5 are twenty vectors of 4 numbers."""
    assert Word2Ket.parameter_count(1, 256, 5, order=4) == 20 * 4


@pytest.mark.parametrize("options, words", [({"order": 1}, "order=1"), ({"norm": 2}, "norm=2")])
def test_impossible_options_are_refused(options, words):
    with pytest.raises(ShapeshifterError, match=words):
        Word2Ket(64, 32, 1, **options)
