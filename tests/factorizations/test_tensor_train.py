"""The tensor-train family against tensorly-torch."""

import math
import warnings
from math import prod

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shapeshifter_fairseq import ShapeshifterError
from shapeshifter_fairseq.factorizations import TensorTrain
from shapeshifter_fairseq.factorizations.tensor_train import balanced_sizes, core_shapes
from shapeshifter_fairseq.testing import ProjectionConformance, discarded

with warnings.catch_warnings():  # tensorly speaks of the features of NumPy that it uses
    warnings.simplefilter("ignore")
    from tltorch import BlockTT


class TestTensorTrain(ProjectionConformance):
    family = TensorTrain
    smallest = 5
    shapes = [(512, 512, 4), (256, 128, 1), (1009, 64, 8), (64, 1009, 8), (7, 5, 3)]

    def reference(self, factors):
        cores = [core.detach() for core in factors.parameters()]
        shape = tuple(zip(*(core.shape[1:3] for core in cores)))
        ranks = tuple([1, *(core.shape[3] for core in cores)])
        whole = BlockTT(cores, tensorized_shape=shape, rank=ranks).to_matrix()
        return factors.scale ** len(cores) * whole[: factors.n, : factors.m]

    def least_error(self, factors, weight):
        """Each unfolding bounds the error from below, and TT-SVD adds up no more than all."""
        shapes = [core.shape for core in factors.parameters()]
        rows, columns = [shape[1] for shape in shapes], [shape[2] for shape in shapes]
        digits = weight.view(*rows, *columns)
        errors = []
        for k in range(1, len(shapes)):
            first = [*range(k), *range(len(shapes), len(shapes) + k)]
            last = [axis for axis in range(2 * len(shapes)) if axis not in first]
            unfolding = digits.permute(*first, *last).reshape(prod(rows[:k] + columns[:k]), -1)
            errors.append(discarded(unfolding, shapes[k][0]))
        return max(errors), math.hypot(*errors)


class TestTwoCores(TestTensorTrain):
    options = {"cores": 2}


class TestFourCores(TestTensorTrain):
    options = {"cores": 4}
    smallest = 9
    tiny = (9, 9, 2)
    shapes = [(512, 512, 4), (256, 128, 1), (1009, 64, 8), (64, 1009, 8), (17, 13, 3)]


@given(st.integers(1, 60000), st.integers(2, 6))
def test_sizes_are_balanced_and_waste_little(size, parts):
    sizes = balanced_sizes(size, parts)
    product = 1
    for part in sizes:
        product *= part
    assert len(sizes) == parts and product >= size
    assert product <= size * (1 + 2 / min(sizes)) + 1


def test_a_rank_is_no_larger_than_it_need_be():
    assert core_shapes(64, 64, 1000, 3) == [(1, 4, 4, 16), (16, 4, 4, 16), (16, 4, 4, 1)]


def test_impossible_counts_of_cores_are_refused():
    with pytest.raises(ShapeshifterError, match="cores=1 .* 64 x 64 .* 2 to 6"):
        TensorTrain(64, 64, 2, cores=1)


def test_of_any_rank_it_may_be_dense():
    """At the largest rank, a matrix is a train of its rows, columns and one core of all."""
    rank = TensorTrain.max_rank(8, 8, cores=3)
    factors = TensorTrain(8, 8, rank, cores=3).double()
    wanted = torch.randn(8, 8, dtype=torch.double)
    digits = wanted.view(2, 2, 2, 2, 2, 2).permute(0, 3, 1, 4, 2, 5)  # i1 j1 i2 j2 i3 j3
    with torch.no_grad():
        factors.G1.copy_(torch.eye(4).view(1, 2, 2, 4))
        factors.G2.copy_(digits.reshape(4, 2, 2, 4))
        factors.G3.copy_(torch.eye(4).view(4, 2, 2, 1))
    torch.testing.assert_close(factors.weight(), wanted)
