"""The low-rank family against sums of outer products, and the limit that Kronecker lacks."""

import torch

from shapeshifter_fairseq.factorizations import LowRank
from shapeshifter_fairseq.testing import ProjectionConformance, discarded


class TestLowRank(ProjectionConformance):
    family = LowRank
    shapes = [(512, 512, 4), (256, 128, 1), (1009, 64, 8), (64, 1009, 8), (7, 5, 3), (1, 1, 1)]

    def reference(self, factors):
        terms = [torch.outer(factors.U[:, k], factors.V[k]) for k in range(factors.rank)]
        return factors.scale * sum(terms)

    def least_error(self, factors, weight):
        return (discarded(weight, factors.rank),) * 2


def test_rank_of_w_is_r():
    torch.manual_seed(0)
    factors = LowRank(64, 64, 4).double()
    factors.initialize_(0.05, gain=1.0)
    assert torch.linalg.matrix_rank(factors.weight().detach()) == 4
