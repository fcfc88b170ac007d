"""The word2ketXS family against chains of `torch.kron`."""

from functools import reduce

import pytest
import torch

from shapeshifter_fairseq import ShapeshifterError
from shapeshifter_fairseq.factorizations import Word2KetXS

from .conformance import FactorizationConformance


class TestWord2KetXS(FactorizationConformance):
    family = Word2KetXS
    shapes = [(512, 512, 4), (256, 128, 1), (1009, 64, 8), (64, 1009, 8), (7, 5, 3), (1, 1, 1)]

    def reference(self, factors):
        terms = [
            reduce(torch.kron, [factors.F[j, k] for j in range(factors.order)])
            for k in range(factors.rank)
        ]
        return factors.scale**factors.order * sum(terms)[: factors.n, : factors.m]


class TestOrderThree(TestWord2KetXS):
    options = {"order": 3}
    smallest = 5
    shapes = TestWord2KetXS.shapes[:-1]


class TestOrderFour(TestWord2KetXS):
    options = {"order": 4}
    smallest = 9
    tiny = (9, 9, 2)
    shapes = [(512, 512, 4), (256, 128, 1), (1009, 64, 8), (64, 1009, 8), (17, 13, 3)]


def test_numbers_of_the_dissertation():
    """Figure 5: order 4, rank 1, 118,655 types x 300 dimensions: four matrices of 19 x 5."""
    assert Word2KetXS.parameter_count(118_655, 300, 1, order=4) == 380
    assert Word2KetXS(118_655, 300, 1, order=4).F.shape == (4, 1, 19, 5)


@pytest.mark.parametrize("order", [0, 1, 7])
def test_impossible_orders_are_refused(order):
    with pytest.raises(ShapeshifterError, match=f"order={order} .* 64 x 30 .* 2 to 6"):
        Word2KetXS(64, 30, 1, order=order)
