"""Tensor products of several vectors, in the balanced tree of word2ket and word2ketXS."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F


def tensor_product(leaves: Sequence[Tensor], norm: bool = False) -> Tensor:
    """v_1 (x) v_2 (x) ... (x) v_o, multiplied as a balanced tree (dissertation, section 3.3.3).

    Args:
        leaves: the vectors.  # shapes: (*, q_1), (*, q_2), ..., (*, q_o)
        norm: whether a LayerNorm, without weights of its own, follows every product.

    Returns:
        Tensor, shape: (*, q_1 * q_2 * ... * q_o)
    """
    if len(leaves) == 1:
        return leaves[0]
    left, right = (tensor_product(half, norm) for half in halves(leaves))
    product = (left.unsqueeze(-1) * right.unsqueeze(-2)).flatten(-2)
    return F.layer_norm(product, product.shape[-1:]) if norm else product


def sum_of_tensor_products(leaves: Sequence[Tensor]) -> Tensor:
    """The sum of r tensor products; the topmost product and the sum are one matrix product.

    Args:
        leaves: the vectors of the r products.  # shapes: (*, r, q_1), ..., (*, r, q_o)

    Returns:
        Tensor, shape: (*, q_1 * q_2 * ... * q_o)
    """
    left, right = (tensor_product(half) for half in halves(leaves))
    return (left.transpose(-1, -2) @ right).flatten(-2)


def halves(leaves: Sequence[Tensor]) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    middle = (len(leaves) + 1) // 2
    return leaves[:middle], leaves[middle:]
