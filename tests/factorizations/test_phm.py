"""The PHM family against `torch.kron`."""

import pytest
import torch

from shapeshifter_fairseq.factorizations import PHM
from shapeshifter_fairseq.testing import ProjectionConformance, discarded

from .test_kronecker import rearranged


class TestPHM(ProjectionConformance):
    family = PHM
    shapes = [(512, 512, 16), (256, 128, 1), (1009, 64, 8), (64, 1009, 8), (7, 5, 3), (1, 1, 1)]

    def reference(self, factors):
        terms = [torch.kron(factors.A[:, :, k], factors.B[k]) for k in range(factors.rank)]
        return factors.scale * sum(terms)[: factors.n, : factors.m]

    def least_error(self, factors, weight):
        return (discarded(rearranged(weight, factors.shape), factors.rank),) * 2


@pytest.mark.parametrize("n, m, rank", [(512, 512, 16), (2048, 512, 16), (128, 256, 4)])
def test_numbers_of_the_paper(n, m, rank):
    factors = PHM(n, m, rank)
    assert factors.A.shape == (rank, rank, rank)
    assert PHM.parameter_count(n, m, rank) == rank**3 + n * m // rank


def test_numbers_that_the_dissertation_names():
    assert PHM.parameter_count(512, 2048, 16) == 69_632  # section 4.1
