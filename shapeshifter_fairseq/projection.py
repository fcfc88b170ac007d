"""Trained matrices to their nearest factors, and how near those are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import hypot

from torch import nn

from .factorize import Matrix, factorize, is_factorized, matrices
from .layers import EMBED_GAIN, LAYER_GAIN
from .plan import Plan


@dataclass(frozen=True)
class Projected:
    """One matrix of a model, before and after."""

    names: tuple[str, ...]  # of the modules that use it
    before: int  # numbers it had
    after: int  # numbers its factors have
    norm: float  # Frobenius
    error: float  # relative, Frobenius


def project(
    model: nn.Module,
    plan: Plan,
    *,
    layer_gain: float = LAYER_GAIN,
    embed_gain: float = EMBED_GAIN,
    progress: Callable[[list[Matrix]], Iterable[Matrix]] = iter,
) -> list[Projected]:
    """`factorize` with init="project", which says how near every matrix is.

    Arguments and errors are those of `factorize`.

    Returns:
        The matrices that were replaced, largest error first.
    """
    found = matrices(model)  # holds the dense weights
    gains = {"layer_gain": layer_gain, "embed_gain": embed_gain}
    factorize(model, plan, init="project", progress=progress, **gains)
    replaced = (each for each in found if is_factorized(model, next(iter(each.modules))))
    done = [_projected(matrix, model) for matrix in replaced]
    return sorted(done, key=lambda matrix: matrix.error, reverse=True)


def relative_error(projected: Sequence[Projected]) -> float:
    """Relative Frobenius error of several matrices together."""
    error = hypot(*(matrix.error * matrix.norm for matrix in projected))
    return error / hypot(*(matrix.norm for matrix in projected))


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
