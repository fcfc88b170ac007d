"""The Monarch family against its two block-diagonal matrices and its permutations."""

import math

import torch

from shapeshifter_fairseq.factorizations import Monarch
from shapeshifter_fairseq.testing import ProjectionConformance, discarded


class TestMonarch(ProjectionConformance):
    family = Monarch
    smallest = 4
    shapes = [(512, 512, 4), (256, 128, 1), (1009, 64, 8), (64, 1009, 8), (7, 5, 2), (4, 4, 1)]

    def reference(self, factors):
        b, c, o, r = factors.L.shape
        # P2': output (i, a) of Rd's block j goes to input (j, a) of Ld's block i.
        inner = torch.zeros(b * c * r, b * c * r, dtype=factors.L.dtype)
        for i in range(b):
            for j in range(c):
                for a in range(r):
                    inner[(i * c + j) * r + a, (j * b + i) * r + a] = 1
        # P1: output k of Ld's block i becomes row k*b + i.
        outer = torch.zeros(b * o, b * o, dtype=factors.L.dtype)
        for i in range(b):
            for k in range(o):
                outer[k * b + i, i * o + k] = 1
        left = torch.block_diag(*(torch.cat(list(factors.L[i]), dim=1) for i in range(b)))
        right = torch.block_diag(*(torch.cat(list(factors.R[:, j])) for j in range(c)))
        return factors.scale * (outer @ left @ inner @ right)[: factors.n, : factors.m]

    def least_error(self, factors, weight):
        b, c = factors.grid
        slices = [piece for i in range(b) for piece in weight[i::b].chunk(c, dim=1)]
        return (math.hypot(*(discarded(piece, factors.rank) for piece in slices)),) * 2


class TestThreeBlocks(TestMonarch):
    options = {"blocks": 3}
    whole = (64, 40, 2)


class TestThreeByTwoBlocks(TestThreeBlocks):
    options = {"blocks": 3, "column_blocks": 2}


class TestBalancedGrid(TestMonarch):
    options = {"blocks": 0}
    smallest = 1
    shapes = [(256, 128, 1), (64, 1009, 8), (7, 5, 2), (1, 1, 1)]


def test_rank_of_w_is_not_limited_to_r():
    torch.manual_seed(0)
    factors = Monarch(64, 64, 1, blocks=8).double()
    factors.initialize_(0.05, gain=1.0)
    assert Monarch.parameter_count(64, 64, 1, blocks=8) == 2 * 64 * 8
    assert torch.linalg.matrix_rank(factors.weight().detach()) == 64
