"""How near factors are to the trained matrices that they were projected from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import hypot

from torch import nn

from .factorizing import is_factorized
from .matrices import Matrix


@dataclass(frozen=True)
class Projected:
    """One matrix of a model, before and after."""

    names: tuple[str, ...]  # of the modules that use it
    before: int  # numbers it had
    after: int  # numbers its factors have
    norm: float  # Frobenius
    error: float  # relative, Frobenius


def how_near(before: Iterable[Matrix], model: nn.Module) -> list[Projected]:
    """Compare a model's factors with the matrices it had before they were projected::

        before = matrices(model)
        factorize(model, plan, init="project")
        how_near(before, model)

    Returns:
        The matrices that were replaced, largest error first.
    """
    replaced = (each for each in before if is_factorized(model, next(iter(each.modules))))
    done = [_projected(matrix, model) for matrix in replaced]
    return sorted(done, key=lambda matrix: matrix.error, reverse=True)


def relative_error(projected: Sequence[Projected]) -> float:
    """Relative Frobenius error of several matrices together; 0 if all are zero (and frozen)."""
    error = hypot(*(matrix.error * matrix.norm for matrix in projected))
    norm = hypot(*(matrix.norm for matrix in projected))
    return error / norm if norm else 0.0


def _projected(matrix: Matrix, model: nn.Module) -> Projected:
    factors = model.get_submodule(next(iter(matrix.modules))).factors
    weight = matrix.weight.detach()
    return Projected(
        names=tuple(matrix.modules),
        before=weight.numel(),
        after=sum(factor.numel() for factor in factors.parameters()),
        norm=weight.double().norm().item(),
        error=factors.relative_error(weight),
    )
