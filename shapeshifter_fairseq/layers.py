"""Drop-in layers: `nn.Linear` and `nn.Embedding` whose matrix is a `Factorization`.

The only change in a model is the constructor's name and a rank::

    nn.Linear(512, 1024)      ->  FactorizedLinear(512, 1024, rank=64)
    nn.Embedding(8848, 512)   ->  FactorizedEmbedding(8848, 512, rank=256)

Other families than Kronecker products are chosen by name, with options of their own::

    FactorizedLinear(512, 1024, rank=16, family="monarch", blocks=8)

To tie an output projection to an embedding, let both hold one `Factorization`::

    output.factors = embedding.factors
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from .errors import ShapeshifterError
from .factorizations import Factorization, family_named

# How far Adam's first step moves an entry of W, in learning rates; a dense matrix has 1.
# docs/how-it-works.md says how the two were chosen.
LAYER_GAIN = 2.0
EMBED_GAIN = 6.0
# For optimizers whose step is the gradient times the rate, such as SGD; docs/gains.md says why.
SGD_GAIN = 1.0


class FactorizedLayer(nn.Module):
    """What both layers have: a weight W that is computed from `factors`."""

    factors: Factorization

    @property
    def weight(self) -> Tensor:
        """W, to read; a write into it raises a `ShapeshifterError`, see `Factorization.weight`.

        Shape: (out_features, in_features) or (num_embeddings, embedding_dim)
        """
        return self.factors.weight()

    def _draw(self, std: float, gain: float) -> None:
        if not self.factors.scale.is_meta:  # such factors hold no numbers
            self.factors.initialize_(std, gain)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "weight":
            raise ShapeshifterError(
                "the weight of a factorized layer is computed from its factors and cannot be set: "
                "to tie two layers, set layer.factors = other.factors; to approximate a matrix, "
                "call layer.factors.project_(matrix, gain)"
            )
        super().__setattr__(name, value)

    def __prepare_scriptable__(self) -> nn.Module:
        raise ShapeshifterError(
            "torch.jit.script cannot compile factorized layers; turn them into ordinary ones with "
            "fold(model) first"
        )


class FactorizedLinear(FactorizedLayer):
    """y = x W^T + b as `nn.Linear` computes it, with W (out_features, in_features) in factors.

    Args:
        in_features: size of the last dimension of the input, m.
        out_features: size of the last dimension of the output, n.
        bias: whether a bias is added (it stays an ordinary vector).
        rank: how many terms W is the sum of.
        family: name of the factorization, a key of `factorizations.FAMILIES`.
        gain: how far a step of Adam moves W, see `Factorization.initialize_`; with SGD take 1.
        options: options of the family, for example ``blocks=4``.

    Raises:
        ShapeshifterError: if there is no such family or option, or the shape does not allow it.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        rank: int,
        family: str = "kronecker",
        gain: float = LAYER_GAIN,
        **options: int,
    ) -> None:
        super().__init__()
        make = family_named(family, options, for_linear=True)
        self._hold(
            make(out_features, in_features, rank, **options),
            nn.Parameter(torch.empty(out_features)) if bias else None,
        )
        self.reset_parameters(gain)

    @classmethod
    def holding(cls, factors: Factorization, bias: nn.Parameter | None) -> FactorizedLinear:
        """A layer around factors and a bias that exist already."""
        layer = cls.__new__(cls)
        nn.Module.__init__(layer)
        layer._hold(factors, bias)
        return layer

    def _hold(self, factors: Factorization, bias: nn.Parameter | None) -> None:
        self.in_features, self.out_features = factors.m, factors.n
        self.factors, self.bias = factors, bias

    def reset_parameters(self, gain: float = LAYER_GAIN) -> None:
        """Draw W and the bias with the spread that `nn.Linear` gives them."""
        bound = 1 / math.sqrt(self.in_features)
        self._draw(bound / math.sqrt(3), gain)
        if self.bias is not None:
            nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:  # shape: (*, in_features) -> (*, out_features)
        return self.factors.linear(x, self.bias)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}"


class FactorizedEmbedding(FactorizedLayer):
    """A lookup table as `nn.Embedding` has it, with W (num_embeddings, embedding_dim) in factors.

    Args:
        num_embeddings: size of the vocabulary, n.
        embedding_dim: width of an embedding, m.
        padding_idx: token whose embedding is zero and stays zero; as in torch, -1 is the last.
        rank: how many terms W is the sum of.
        family: name of the factorization, a key of `factorizations.FAMILIES`.
        gain: how far a step of Adam moves W, see `Factorization.initialize_`; with SGD take 1.
        options: options of the family, for example ``blocks=4``.

    Raises:
        ShapeshifterError: if there is no such family or option, or the shape does not allow it, or
            the padding token is not in the vocabulary.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        *,
        rank: int,
        family: str = "kronecker",
        gain: float = EMBED_GAIN,
        **options: int,
    ) -> None:
        super().__init__()
        if padding_idx is not None:
            if not -num_embeddings <= padding_idx < num_embeddings:
                raise ShapeshifterError(
                    f"padding_idx={padding_idx} is not a row of a table of {num_embeddings}: "
                    f"choose {-num_embeddings} to {num_embeddings - 1}"
                )
            padding_idx %= num_embeddings
        make = family_named(family, options)
        self._hold(make(num_embeddings, embedding_dim, rank, zero_row=padding_idx, **options))
        self.reset_parameters(gain)

    @classmethod
    def holding(cls, factors: Factorization) -> FactorizedEmbedding:
        """A table around factors that exist already."""
        layer = cls.__new__(cls)
        nn.Module.__init__(layer)
        layer._hold(factors)
        return layer

    def _hold(self, factors: Factorization) -> None:
        self.num_embeddings, self.embedding_dim = factors.n, factors.m
        self.padding_idx, self.factors = factors.zero_row, factors

    def reset_parameters(self, gain: float = EMBED_GAIN) -> None:
        """Draw W with the spread that `nn.Embedding` gives it."""
        self._draw(1.0, gain)

    def forward(self, index: Tensor) -> Tensor:  # shape: (*) -> (*, embedding_dim)
        return self.factors.rows(index)

    def extra_repr(self) -> str:
        return f"{self.num_embeddings}, {self.embedding_dim}, padding_idx={self.padding_idx}"
