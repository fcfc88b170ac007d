"""A family under test: its shapes and options, and W by independent code."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..factorizations import Factorization


class FamilyCase(ABC):
    """What a test class says of its family; the tests are in the classes that inherit this one.

    A test that takes `nmr` runs once for each of the `shapes`.
    """

    family: type[Factorization]
    shapes: list[tuple[int, int, int]]  # n, m, rank
    options: dict[str, int] = {}  # of the family, if it has any; a class for each choice
    smallest = 1  # rows and columns that the options ask for
    tiny = (7, 5, 2)  # n, m, rank of a matrix whose gradients are checked number by number

    @abstractmethod
    def reference(self, factors: Factorization) -> Tensor:
        """W (n, m) from the stored factors, by code that shares nothing with the family's."""

    def make(
        self, nmr: tuple[int, int, int], std: float = 0.05, zero_row: int | None = None
    ) -> Factorization:
        torch.manual_seed(0)
        factors = self.family(*nmr, zero_row=zero_row, **self.options).double()
        factors.initialize_(std, gain=2.0)
        return factors

    @staticmethod
    def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
        if "nmr" in metafunc.fixturenames:
            shapes = metafunc.cls.shapes
            names = ["x".join(map(str, shape)) for shape in shapes]
            metafunc.parametrize("nmr", shapes, ids=names)


class Calls(torch.nn.Module):
    """Lets `functional_call` reach a method other than `forward`."""

    def __init__(self, factors: Factorization, method: str) -> None:
        super().__init__()
        self.factors, self.method = factors, method

    def forward(self, *args):
        return getattr(self.factors, self.method)(*args)


def prefixed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names of a family's factors as they are in `Calls`."""
    return {f"factors.{name}": value for name, value in state.items()}


class Made(TorchDispatchMode):
    """Within it, every call of torch that makes new numbers: its name, and how many it made."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, int]] = []

    def __iter__(self) -> Iterator[tuple[str, int]]:
        return iter(self.calls)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        results = function(*args, **(kwargs or {}))
        made = [one for one in tree_leaves(results) if isinstance(one, Tensor)]
        if not function.is_view:
            self.calls.append((function.name().split(".")[0], sum(one.numel() for one in made)))
        return results
