"""The families of factorizations, by the name that a plan and the command line give them."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import ShapeshifterError
from .block_low_rank import BlockLowRank
from .factorization import Factorization
from .kronecker import Kronecker
from .low_rank import LowRank
from .monarch import Monarch
from .phm import PHM
from .tensor_train import TensorTrain
from .word2ket import Word2Ket
from .word2ketxs import Word2KetXS

FAMILIES: dict[str, type[Factorization]] = {
    "block_low_rank": BlockLowRank,
    "kronecker": Kronecker,
    "low_rank": LowRank,
    "monarch": Monarch,
    "phm": PHM,
    "tensor_train": TensorTrain,
    "word2ket": Word2Ket,
    "word2ketxs": Word2KetXS,
}


def family_named(
    name: str, options: Mapping[str, int] | None = None, for_linear: bool = False
) -> type[Factorization]:
    """Look a family up, and make sure that it has these options.

    Raises:
        ShapeshifterError: if there is no such family, or it has no such option, or a linear
            layer asks for a family that is for embeddings only.
    """
    if name not in FAMILIES:
        known = ", ".join(sorted(FAMILIES))
        raise ShapeshifterError(f"there is no family {name!r}; known: {known}")
    defaults = FAMILIES[name].options()
    for option in options or ():
        if option not in defaults:
            known = ", ".join(f"{key} (default {value})" for key, value in defaults.items())
            raise ShapeshifterError(f"{name} has no option {option!r}; known: {known or 'none'}")
    if for_linear and not FAMILIES[name].for_linear:
        others = ", ".join(sorted(key for key, family in FAMILIES.items() if family.for_linear))
        raise ShapeshifterError(
            f"{name} is for embeddings and layers tied to them; for a linear layer choose one of "
            f"{others}"
        )
    return FAMILIES[name]


__all__ = [
    "FAMILIES",
    "BlockLowRank",
    "Factorization",
    "Kronecker",
    "LowRank",
    "Monarch",
    "PHM",
    "TensorTrain",
    "Word2Ket",
    "Word2KetXS",
    "family_named",
]
