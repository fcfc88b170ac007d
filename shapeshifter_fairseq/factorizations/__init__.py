"""The families of factorizations, by the name that a plan and the command line give them."""

from __future__ import annotations

from .base import Factorization
from .kronecker import Kronecker

FAMILIES: dict[str, type[Factorization]] = {
    "kronecker": Kronecker,
}

__all__ = ["FAMILIES", "Factorization", "Kronecker"]
