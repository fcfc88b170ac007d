"""Build a dense model without filling the matrices that will become factors.

A factorized model is made from the ordinary one. Random factors need only the shape of each matrix
and the spread that it would be drawn with. To draw those numbers as well took longer than to load a
checkpoint (docs/performance.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

# The torch functions that draw in place. Each has a function that gives the standard deviation from
# the two arguments of the draw, or None if it depends on more.
_DRAWS: dict[str, Callable[[float, float], float] | None] = {
    "normal_": lambda mean, std: std,
    "uniform_": lambda low, high: (high - low) / math.sqrt(12),
    "kaiming_uniform_": None,
}
_DATA = Tensor.data.__get__
_ARGUMENTS = ("mean", "std", "a", "b")


class WithoutNumbers(TorchFunctionMode):
    """Inside, new parameters are shapes without numbers, as on `torch.device("meta")`.

    But what a model computes while it is built (positions) has numbers. On the meta device torch
    would use its compiler, and importing that took longer than counting the parameters.
    """

    def __torch_function__(self, function, types, args=(), kwargs=None) -> Any:
        kwargs = kwargs or {}
        if function is torch.empty and kwargs.get("device") is None:
            kwargs = kwargs | {"device": "meta"}
        if getattr(function, "__name__", None) in _DRAWS:
            return args[0] if args else kwargs["tensor"]
        return function(*args, **kwargs)


class Undrawn(TorchFunctionMode):
    """Inside, matrices that are parameters are not filled with random numbers::

    with Undrawn() as undrawn:
        model = build()
    factorize(model, plan, std_of=undrawn.std_of)
    undrawn.draw_rest_(model)   # what has not become factors
    """

    def __init__(self) -> None:
        super().__init__()
        self._draws: dict[int, partial[Tensor]] = {}  # by the matrix's id: the last one counts

    def __torch_function__(self, function, types, args=(), kwargs=None) -> Any:
        kwargs = kwargs or {}
        if getattr(function, "__name__", None) in _DRAWS:
            tensor = args[0] if args else kwargs["tensor"]
            if isinstance(tensor, nn.Parameter) and tensor.dim() == 2:
                self._draws[id(tensor)] = partial(function, *args, **kwargs)
                return tensor
        if function == _DATA:  # draw it now: changes through `.data` are not seen here
            self._draw(args[0])
        return function(*args, **kwargs)

    def std_of(self, weight: nn.Parameter) -> float | None:
        """The standard deviation that a matrix would have, or None if it holds numbers."""
        draw = self._draws.get(id(weight))
        if draw is None:
            return None
        spread = _DRAWS[draw.func.__name__]
        if spread is None:
            self._draw(weight)
            return None
        named = (draw.keywords[name] for name in _ARGUMENTS if name in draw.keywords)
        return spread(*(*draw.args[1:], *named)[:2])  # two arguments, by position or by name

    def draw_rest_(self, model: nn.Module) -> None:
        """Fill the matrices that a model still has, and zero the rows of padding tokens."""
        for weight in model.parameters():
            self._draw(weight)
        for module in model.modules():
            if isinstance(module, nn.Embedding) and module.padding_idx is not None:
                with torch.no_grad():
                    module.weight[module.padding_idx] = 0

    def _draw(self, weight: nn.Parameter) -> None:
        draw = self._draws.pop(id(weight), None)
        if draw is not None:
            with torch.no_grad():
                draw()
