"""Which weights of a checkpoint are taken: the trained ones, or the EMA beside them.

The EMA is the moving average of the weights that `fairseq-train --store-ema` keeps. It belongs to
one moment of one training, so a checkpoint that is made of others holds none.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import ShapeshifterError
from .checkpoints import read_checkpoint

logger = logging.getLogger(__name__)

# Where fairseq keeps it, in "extra_state". The first is there under --ema-fp32 and more precise.
_EMA = ("ema_fp32_params", "ema")


def read_weights(path: Path, ema: bool = False) -> dict[str, Any]:
    """Read a checkpoint: its ["model"] has the wanted weights, and no EMA is left beside them.

    If an EMA is left out, a line on stderr says so.

    Args:
        ema: take the EMA instead of the weights.

    Raises:
        ShapeshifterError: as `read_checkpoint` and `weights_of` do.
    """
    state = read_checkpoint(path)
    state["model"] = weights_of(path, state, ema)
    extra = state.get("extra_state") or {}
    found = [extra.pop(name) for name in _EMA if name in extra]
    if found and not ema:
        logger.warning(
            f"{path}: its weights are taken, not its EMA; for the EMA, use --ema, or make a "
            f"checkpoint of it: shapeshifter average OUT {path} --ema"
        )
    return state


def weights_of(path: Path, state: dict[str, Any], ema: bool) -> dict[str, Tensor]:
    """The model's state dict in a checkpoint, or its EMA.

    Raises:
        ShapeshifterError: if the EMA is wanted and there is none, or it is of another model.
    """
    model: dict[str, Tensor] = state["model"]
    if not ema:
        return model
    extra = state.get("extra_state") or {}
    average = next((extra[name] for name in _EMA if extra.get(name)), None)
    if average is None:
        raise ShapeshifterError(
            f"{path} holds no EMA: it was trained without --store-ema; leave --ema out"
        )
    if missing := model.keys() - average.keys():
        raise ShapeshifterError(
            f"{path}: its EMA is of another model, it lacks {min(missing)}; leave --ema out"
        )
    # Other tensors come from the model: fairseq averages them too, and rounding changes them.
    return {
        name: average[first] if is_weight(name, model[name]) else model[name]
        for name, first in first_names(model).items()
    }


def is_weight(name: str, tensor: Tensor) -> bool:
    """Whether a tensor is averaged: it is neither an integer nor a setting of a factorization."""
    return tensor.is_floating_point() and not (".factors." in name and tensor.dim() == 0)


def first_names(model: Mapping[str, Tensor]) -> dict[str, str]:
    """The first name of each tensor: a tied one has several names and one storage."""
    first: dict[tuple[int, torch.Size], str] = {}
    return {
        name: first.setdefault((tensor.data_ptr() or id(tensor), tensor.shape), name)
        for name, tensor in model.items()
    }
