"""Tensor products of several vectors, in the balanced tree of word2ket and word2ketXS."""

from __future__ import annotations

import string
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from . import svd

# Added to the diagonal of least-squares systems, as a fraction of its mean, to solve them.
RIDGE = 1e-10


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


def nearer_sum(whole: Tensor, leaves: Sequence[Tensor]) -> list[Tensor]:
    """Change vectors so that the sum of their r tensor products comes nearer to a tensor.

    A product of two vectors is a matrix of rank 1, so the singular values give the nearest sum. For
    more vectors there is no closed form: each one in turn is fitted while the others stay (a sweep
    of alternating least squares; Carroll and Chang, 1970). Repeated sweeps never raise the error,
    but may end in a local minimum.

    Args:
        whole: a batch of tensors.  # shape: (B, q_1, ..., q_o)
        leaves: the vectors to begin with.  # shapes: (B, r, q_1), ..., (B, r, q_o)

    Returns:
        Vectors of the same shapes; those of a product have equal mean squares.
    """
    if len(leaves) == 2:
        left, right = svd.of_rank(whole, leaves[0].shape[1])
        return [left.mT, right]
    whole, fitted = whole.double(), [leaf.double() for leaf in leaves]
    for place in range(len(fitted)):
        fitted[place] = _least_squares(whole, fitted, place)
    sizes = [leaf.square().mean(2, keepdim=True).sqrt() for leaf in fitted]
    mean = torch.stack(sizes).log().mean(0).exp()
    return [leaf * torch.where(size > 0, mean / size, 0) for leaf, size in zip(fitted, sizes)]


def _least_squares(whole: Tensor, leaves: Sequence[Tensor], place: int) -> Tensor:
    """The best vectors for one place of the products; the others stay.  # shape: (B, r, q)"""
    others = [leaf for k, leaf in enumerate(leaves) if k != place]
    squares = torch.stack([leaf @ leaf.mT for leaf in others]).prod(0)  # shape: (B, r, r)
    ridge = RIDGE * squares.diagonal(dim1=1, dim2=2).mean(1).clamp_min(1e-30)
    squares = squares + torch.diag_embed(ridge.unsqueeze(1).expand(-1, squares.shape[1]))
    # Contract the tensor with one vector after another, the last one first: b runs over the batch,
    # r over the products, capital letters over the entries of vectors.
    axes = string.ascii_uppercase[: len(leaves)]
    contracted, axes_now = whole, "b" + axes
    for k in reversed(range(len(leaves))):
        if k != place:
            left = "br" + "".join(axis for axis in axes_now if axis not in "br" + axes[k])
            contracted = torch.einsum(f"{axes_now},br{axes[k]}->{left}", contracted, leaves[k])
            axes_now = left
    return torch.linalg.solve(squares, contracted)


def gain_of(squares: Tensor) -> float:
    """How far steps of +-1 on all numbers of a tensor product move its entries, root mean square.

    Args:
        squares: mean squares of the o vectors of each product.  # shape: (*, o)
    """
    order = squares.shape[-1]
    others = [squares[..., [k for k in range(order) if k != step]] for step in range(order)]
    return sum(other.prod(-1).mean().item() for other in others) ** 0.5


def halves(leaves: Sequence[Tensor]) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    middle = (len(leaves) + 1) // 2
    return leaves[:middle], leaves[middle:]
