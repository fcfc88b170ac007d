"""The W that users get is read-only: what they write into it would be lost, so a write raises."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import ShapeshifterError

# Torch functions that write into their first argument: these, and names that end with "_".
_WRITERS = {"__set__", "__setitem__"} | {
    f"__i{name}__"
    for name in "add sub mul truediv floordiv mod pow and or xor lshift rshift".split()
}


class ComputedWeight(Tensor):
    """A W that was multiplied out from factors, or a view of it.

    Results computed from it are ordinary tensors.

    Raises:
        ShapeshifterError: on any write, also through `.data` or a view: an initialiser of
            `nn.init`, `copy_`, an assignment to a row. (Writes outside of torch, such as through
            `.numpy()`, are not noticed.)
    """

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None) -> Any:
        kwargs = kwargs or {}
        if any(_is_computed(tensor) for tensor in _written(function, args, kwargs)):
            raise ShapeshifterError(NO_WRITING)
        with torch._C.DisableTorchFunctionSubclass():
            result = function(*args, **kwargs)
        computed = [one for one in (*args, *kwargs.values()) if isinstance(one, cls)]
        return _with_views_computed(result, computed)

    def __deepcopy__(self, memo: dict) -> Tensor:  # a copy may be written into
        return self.detach().clone()

    def __reduce_ex__(self, protocol: int) -> Any:
        return self.detach().clone().__reduce_ex__(protocol)


NO_WRITING = (
    "the weight of a factorized layer is computed from its factors and cannot be written to: "
    "initialise the model before it is factorized, draw the layer with layer.reset_parameters(), "
    "give it a matrix with layer.factors.project_(matrix, gain), freeze it with "
    "layer.factors.requires_grad_(False), make ordinary layers with fold(model), or write into "
    "layer.weight.clone()"
)


def computed(weight: Tensor) -> Tensor:
    """Make a plain tensor a `ComputedWeight`; other kinds of tensor are returned unchanged."""
    return weight.as_subclass(ComputedWeight) if type(weight) is Tensor else weight


def is_followed() -> bool:
    """Whether torch is tracing what is computed, which a `ComputedWeight` would break: for a
    compiler, an export, a trace or a transform of `torch.func`."""
    followed = torch.compiler.is_compiling() or is_exported()
    return followed or torch._C._functorch.peek_interpreter_stack() is not None


def is_exported() -> bool:
    """Whether `torch.export`, `torch.onnx.export` or `torch.jit.trace` is recording a graph. It
    must serve inputs of any size; only the sizes of the factors are fixed."""
    return torch.compiler.is_exporting() or torch.jit.is_tracing()


def _is_computed(value: Any) -> bool:
    return isinstance(value, ComputedWeight) or (
        isinstance(value, (list, tuple)) and any(map(_is_computed, value))
    )


def _written(function: Callable, args: Sequence[Any], kwargs: dict[str, Any]) -> list[Any]:
    """The arguments that a torch function writes into."""
    name = function.__name__
    is_flag = getattr(function, "__self__", None) is Tensor.requires_grad
    if name == "requires_grad_" or (name == "__set__" and is_flag):
        wanted = [*args[1:], *kwargs.values(), True][0]
        return args[:1] if wanted != args[0].requires_grad else []
    written = [kwargs.get("out")]
    if name in _WRITERS or (name.endswith("_") and not name.endswith("__")):
        written += args[:1] or list(kwargs.values())[:1]
    if kwargs.get("inplace"):
        written += args[:1]
    if kwargs.get("max_norm") is not None:  # a lookup with it rescales the rows that it finds
        written += args
    return written


def _with_views_computed(result: Any, of: list[Tensor]) -> Any:
    if isinstance(result, Tensor):
        if not isinstance(result, ComputedWeight) and any(_share(result, one) for one in of):
            return result.as_subclass(ComputedWeight)
    elif type(result) in (list, tuple):  # of `split`, `unbind`
        return type(result)(_with_views_computed(one, of) for one in result)
    return result


def _share(one: Tensor, other: Tensor) -> bool:
    return one.untyped_storage()._cdata == other.untyped_storage()._cdata
