"""What somebody would use instead of a `FactorizedLinear`, of the same shape and rank."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from shapeshifter_fairseq.factorizations.kronecker import balanced_shape

Peer = Callable[[int, int, int], nn.Module]  # n, m, rank -> a layer


class KroneckerSum(nn.Module):
    """The factors of a list of Kronecker products; subclasses multiply them."""

    def __init__(self, n: int, m: int, rank: int) -> None:
        super().__init__()
        n1, n2, m1, m2 = balanced_shape(n, m)
        self.A = nn.Parameter(torch.randn(rank, n1, m1) / m1**0.5)  # shape: (r, n1, m1)
        self.B = nn.Parameter(torch.randn(rank, n2, m2) / m2**0.5)  # shape: (r, n2, m2)
        self.bias = nn.Parameter(torch.zeros(n))


class TorchKron(KroneckerSum):
    """A sum of `torch.kron`."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, sum(torch.kron(a, b) for a, b in zip(self.A, self.B)), self.bias)


class LinearOperator(KroneckerSum):
    """`linear_operator`'s Kronecker products, which word2ket's own code uses, and their sum."""

    def forward(self, x: Tensor) -> Tensor:
        from linear_operator.operators import KroneckerProductLinearOperator, SumLinearOperator

        terms = [KroneckerProductLinearOperator(a, b) for a, b in zip(self.A, self.B)]
        whole = SumLinearOperator(*terms) if len(terms) > 1 else terms[0]
        return whole.matmul(x.T).T + self.bias


def tensorly(factorization: str, implementation: str) -> Peer:
    """tensorly-torch's FactorizedLinear: "cp" or "blocktt", "factorized" or "reconstructed"."""

    def make(n: int, m: int, rank: int) -> nn.Module:
        from tltorch import FactorizedLinear

        n1, n2, m1, m2 = balanced_shape(n, m)
        ranks = rank if factorization == "cp" else (1, rank, 1)
        return FactorizedLinear(
            (m1, m2), (n1, n2), True, factorization, ranks, implementation=implementation
        )

    return make


def peers() -> Iterator[tuple[str, str, Peer]]:
    """Name, package to install (or ""), and constructor of each."""
    yield "nn.Linear", "", lambda n, m, rank: nn.Linear(m, n)
    yield "sum of torch.kron", "", TorchKron
    yield "linear_operator", "linear_operator", LinearOperator
    for factorization in ("cp", "blocktt"):
        for implementation in ("reconstructed", "factorized"):
            name = f"tensorly-torch {factorization} {implementation}"
            yield name, "tltorch", tensorly(factorization, implementation)


def missing(package: str) -> str | None:
    """Why a peer cannot be measured, in one line."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if package:
                __import__(package)
    except ImportError as error:
        return f'{error}; run: pip install ".[benchmarks]"'
    return None
