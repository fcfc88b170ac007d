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
        b = factors.blocks
        grid = [
            torch.cat([factors.L[i, j] @ factors.R[i, j] for j in range(b)], dim=1)
            for i in range(b)
        ]
        return factors.scale * torch.cat(grid)[: factors.n, : factors.m]

    def least_error(self, factors, weight):
        b = factors.blocks
        blocks = [block for rows in weight.chunk(b) for block in rows.chunk(b, dim=1)]
        return (math.hypot(*(discarded(block, factors.rank) for block in blocks)),) * 2


class TestThreeBlocks(TestBlockLowRank):
    options = {"blocks": 3}
    whole = (64, 40, 2)  # rows and columns of a block that are cut off take nothing


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


@pytest.mark.parametrize("blocks", [0, 17])
def test_impossible_block_counts_are_refused(blocks):
    with pytest.raises(ShapeshifterError, match=f"blocks={blocks} .* 16 x 32 .* 1 to 16"):
        BlockLowRank(16, 32, 1, blocks=blocks)
