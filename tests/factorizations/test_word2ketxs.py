"""The word2ketXS family against chains of `torch.kron`."""

import warnings
from functools import reduce

import numpy as np
import pytest
import torch

from shapeshifter_fairseq import ShapeshifterError
from shapeshifter_fairseq.factorizations import Word2KetXS
from shapeshifter_fairseq.factorizations.tensor_products import nearer_sum, tensor_product
from shapeshifter_fairseq.testing import ProjectionConformance, discarded

from .test_kronecker import rearranged

with warnings.catch_warnings():  # tensorly speaks of the features of NumPy that it uses
    warnings.simplefilter("ignore")
    import tensorly
    from tensorly.decomposition import parafac


class TestWord2KetXS(ProjectionConformance):
    family = Word2KetXS
    shapes = [(512, 512, 4), (256, 128, 1), (1009, 64, 8), (64, 1009, 8), (7, 5, 3), (1, 1, 1)]

    def reference(self, factors):
        terms = [
            reduce(torch.kron, [factors.F[j, k] for j in range(factors.order)])
            for k in range(factors.rank)
        ]
        return factors.scale**factors.order * sum(terms)[: factors.n, : factors.m]

    def least_error(self, factors, weight):
        shape = (factors.t, factors.t, factors.q, factors.q)
        return (discarded(rearranged(weight, shape), factors.rank),) * 2


class TestOrderThree(TestWord2KetXS):
    options = {"order": 3}
    smallest = 5
    comes_back_within = 1e-8  # alternating least squares

    def least_error(self, factors, weight):
        """What tensorly finds, from the same kind of start; both may miss the least a little."""
        axes = [place + side for place in range(3) for side in (0, 3)]
        tensor = weight.view(4, 4, 4, 4, 4, 4).permute(axes).reshape(16, 16, 16).numpy()
        with tensorly.backend_context("numpy"):
            found = parafac(tensor, factors.rank, init="random", random_state=0, n_iter_max=200)
            return 0.0, 1.02 * np.linalg.norm(tensorly.cp_to_tensor(found) - tensor)

    shapes = TestWord2KetXS.shapes[:-1]


class TestOrderFour(TestWord2KetXS):
    options = {"order": 4}
    smallest = 9
    whole = (16, 16, 2)
    comes_back_within = 1e-8
    least_error = ProjectionConformance.least_error
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


def test_sixteen_vectors_are_fitted():
    """Tables of 32,769 rows and more have 16 binary digits; an einsum names as many dimensions."""
    leaves = [torch.rand(1, 1, 2).double() + 0.5 for _ in range(16)]  # shape: (B, r, q)
    whole = tensor_product(leaves)
    start = [leaf + 0.1 for leaf in leaves]
    found = nearer_sum(whole.view(1, *[2] * 16), start)
    torch.testing.assert_close(tensor_product(found), whole)
