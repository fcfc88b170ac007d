"""The block low-rank family against loops over its blocks."""

import math

import pytest
import torch

from shapeshifter_fairseq import ShapeshifterError
from shapeshifter_fairseq.factorizations import BlockLowRank, LowRank
from shapeshifter_fairseq.testing import ProjectionConformance, discarded


class TestBlockLowRank(ProjectionConformance):
    family = BlockLowRank
    smallest = 4
    shapes = [(512, 512, 4), (256, 128, 1), (1009, 64, 8), (64, 1009, 8), (7, 5, 2), (4, 4, 1)]

    def reference(self, factors):
        b, c = factors.grid
        grid = [
            torch.cat([factors.L[i, j] @ factors.R[i, j] for j in range(c)], dim=1)
            for i in range(b)
        ]
        return factors.scale * torch.cat(grid)[: factors.n, : factors.m]

    def least_error(self, factors, weight):
        b, c = factors.grid
        blocks = [block for rows in weight.chunk(b) for block in rows.chunk(c, dim=1)]
        return (math.hypot(*(discarded(block, factors.rank) for block in blocks)),) * 2


class TestThreeBlocks(TestBlockLowRank):
    options = {"blocks": 3}
    whole = (64, 40, 2)  # rows and columns of a block that are cut off take nothing


class TestThreeByTwoBlocks(TestThreeBlocks):
    options = {"blocks": 3, "column_blocks": 2}


class TestTwoByFiveBlocks(TestBlockLowRank):
    options = {"blocks": 2, "column_blocks": 5}
    smallest = 5
    shapes = [(256, 128, 1), (64, 1009, 8), (7, 5, 1)]
    tiny = (7, 5, 1)


class TestBalancedGrid(TestBlockLowRank):
    options = {"blocks": 0}
    smallest = 1
    shapes = [(512, 512, 4), (1009, 64, 8), (7, 5, 2), (1, 1, 1)]


def test_one_block_is_low_rank():
    count = BlockLowRank.parameter_count(64, 48, 5, blocks=1)
    assert count == LowRank.parameter_count(64, 48, 5)
    factors = BlockLowRank(64, 48, 5, blocks=1).double()
    factors.initialize_(0.05, gain=1.0)
    torch.testing.assert_close(
        factors.weight(), factors.scale * factors.L[0, 0] @ factors.R[0, 0], rtol=1e-10, atol=1e-12
    )


def test_each_block_has_rank_r():
    factors = BlockLowRank(32, 64, 3, blocks=4).double()
    factors.initialize_(0.05, gain=1.0)
    blocks = factors.weight().detach().view(4, 8, 4, 16).transpose(1, 2)
    assert (torch.linalg.matrix_rank(blocks) == 3).all()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"blocks": 17}, "^blocks=17 does not fit a 16 x 32 matrix: choose 0 to 16$"),
        ({"column_blocks": 33}, "^column_blocks=33 does not fit a 16 x 32 matrix: choose 0 to 32$"),
        ({"blocks": 17, "column_blocks": 2}, "^blocks=17 .*: choose 0 to 16$"),
        ({"blocks": -1}, "^blocks=-1 .*: choose 0 to 16$"),
    ],
)
def test_impossible_block_counts_are_refused(options, message):
    with pytest.raises(ShapeshifterError, match=message):
        BlockLowRank(16, 32, 1, **options)


@pytest.mark.parametrize(
    "options, grid",
    [
        ({}, (4, 4)),
        ({"blocks": 8}, (8, 8)),
        ({"column_blocks": 16}, (4, 16)),
        ({"blocks": 100, "column_blocks": 2}, (100, 2)),  # more row blocks than W has columns
        ({"blocks": 0}, (32, 8)),
        ({"blocks": 0, "column_blocks": 3}, (32, 3)),
    ],
)
def test_a_grid_is_what_the_options_say(options, grid):
    b, c = grid
    assert BlockLowRank(1024, 64, 1, **options).grid == grid
    assert BlockLowRank.max_rank(1024, 64, **options) == min(-(-1024 // b), -(-64 // c))


def test_balanced_blocks_of_a_square_matrix_are_block_tensor_train():
    """Qiu et al.: y[i1, i2] = sum over j1, j2, a of L[i1, j1, i2, a] R[i1, j1, a, j2] x[j1, j2]."""
    factors = BlockLowRank(64, 64, 2, blocks=0).double()
    factors.initialize_(0.05, gain=1.0)
    x = torch.randn(3, 64).double()
    y = torch.einsum("xyka,xyal,tyl->txk", factors.L, factors.R, x.view(3, 8, 8))
    torch.testing.assert_close(factors.linear(x), factors.scale * y.reshape(3, 64))
