"""Build the matrices of a forward pass together: all W of one shape in a few products.

Built one by one, each W costs a dozen kernels, and a GPU waits for their launches. Here the factors
of all matrices of one family, shape and rank are stacked and multiplied out at once, when the first
of them is asked for::

    build_together(model)      # once; from then on in every forward pass with gradients
    loss = model(x).sum()

Every use in the pass takes that W: layers, lookups, a tied output, and attention that reads
`q_proj.weight` and never calls the layer. The gradients are those of matrices built one by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from .factorizations import Factorization
from .factorizations.autocast import autocast_dtype
from .factorizations.computed import is_exported, is_followed
from .factorizations.cost import part_size, table_size


def build_together(model: nn.Module) -> nn.Module:
    """Let each forward pass of a model with gradients build its matrices together.

    Matrices may become factors before or after this call. When a model is folded and no factors
    are left, this is taken back (else `torch.jit.script` could not compile it). Call it again if
    the model is factorized again.

    Returns:
        The same model.
    """
    if _open not in model._forward_pre_hooks.values():
        model.register_forward_pre_hook(_open)
        model.register_forward_hook(_close, always_call=True)
    return model


def build_apart(model: nn.Module) -> None:
    """Take back what `build_together` did to a model, or to parts of it."""
    for module in model.modules():
        for hooks in (module._forward_pre_hooks, module._forward_hooks):
            for key in [key for key, hook in hooks.items() if hook in (_open, _close)]:
                del hooks[key]
                module._forward_hooks_always_called.pop(key, None)
        vars(module).pop("_built_together", None)


@contextmanager
def built_together(model: nn.Module) -> Iterator[None]:
    """Inside, one forward pass builds the matrices of a model together.

    This does what `build_together` does, for a pass that is not a call of the model itself.
    """
    factors = _begin(model, read_only=True)
    try:
        yield
    finally:
        _end(factors)


def _open(model: nn.Module, inputs: Any) -> None:
    # An exported graph builds its matrices one by one: export cannot follow this.
    building = torch.is_grad_enabled() and not is_exported()
    if building:
        # What Ctrl-C left behind: torch calls hooks after errors, but not after an interrupt.
        for left in getattr(model, "_built_together", ()):
            _end(left)
    opened = _begin(model, read_only=False) if building else []
    # A stack: if a model calls itself, this pass is part of another one.
    model._built_together = [*getattr(model, "_built_together", ()), opened]


def _close(model: nn.Module, inputs: Any, output: Any) -> None:
    *model._built_together, opened = model._built_together
    _end(opened)


# A GPU waits for all that runs from here on, in every pass: it is written to take little time.


def _begin(model: nn.Module, read_only: bool) -> list[Factorization]:
    alike: dict[Any, list[Factorization]] = {}
    for factors in _factorizations(model):
        if factors._builder is None:  # else an outer pass builds it
            alike.setdefault(_key(factors), []).append(factors)
    opened = []
    for group in alike.values():
        for part in _parts(group):
            builder = Group(part, read_only)
            for factors in part:
                factors.build_with(builder)
            opened += part
    return opened


def _end(built: Iterable[Factorization]) -> None:
    for factors in built:
        factors.build_with(None)


def _factorizations(model: nn.Module) -> dict[Factorization, None]:
    """Each one once, in order. (`model.modules()` takes 1.5 times as long.)"""
    found: dict[Factorization, None] = {}
    modules, seen = [model], {model}
    for module in modules:
        if isinstance(module, Factorization):
            found[module] = None
        else:
            children = [c for c in module._modules.values() if c is not None and c not in seen]
            modules += children
            seen.update(children)
    return found


def _key(factors: Factorization) -> tuple:
    parameters = factors._parameters.values()
    return factors.alike(), *[(p.dtype, p.device, p.requires_grad) for p in parameters]


def _parts(group: list[Factorization]) -> Iterator[list[Factorization]]:
    """Split a group into parts whose W have at most `PART` numbers in all, or a single W; nothing
    if W is too large a table.

    In the backward pass the gradients of all W of a part are in memory together, before those of
    its factors. So smaller parts need less memory and more kernels.
    """
    first = group[0]
    numbers, device = first.n * first.m, first.scale.device
    if numbers <= table_size(device):
        size = max(1, part_size(device) // numbers)
        for begin in range(0, len(group), size):
            yield group[begin : begin + size]


class Group:
    """Factorizations that are alike, whose W are built together in one forward pass.

    Args:
        read_only: whether `Factorization.weight` gives a `ComputedWeight`. In the forward pass of a
            model it gives a plain tensor, which takes less time to use.
    """

    def __init__(self, members: list[Factorization], read_only: bool) -> None:
        self.place = {factors: place for place, factors in enumerate(members)}
        self.read_only, self.device = read_only, members[0].scale.device.type
        self.hooks = _saved_tensor_hooks()
        # For each precision of autocast (it may change within a pass): all W, and the places of
        # those that were used.
        self.built: dict[torch.dtype | None, tuple[tuple[Tensor, ...], set[int]]] = {}

    def weight_of(self, factors: Factorization) -> Tensor:
        """The W of a member; the first call builds those of all members."""
        if not torch.is_grad_enabled() or _saved_tensor_hooks() != self.hooks:
            # Activation checkpointing runs this part of the pass again in the backward pass. It
            # builds its own W both times.
            return factors.materialize()
        precision = autocast_dtype(self.device)
        if precision not in self.built:
            used: set[int] = set()
            self.built[precision] = _build(list(self.place), used), used
        (weights, used), place = self.built[precision], self.place[factors]
        used.add(place)
        return weights[place]


def _build(members: list[Factorization], used: set[int]) -> tuple[Tensor, ...]:
    first = members[0]
    if len(members) == 1:
        return (first.materialize(),)
    factors = zip(*map(_parameters, members))
    if is_followed():  # a compiler cannot follow `used`: unused members get zeros
        stacked = [torch.stack(same) for same in factors]
    else:
        stacked = [_Stack.apply(used, *same) for same in factors]
    scale = torch.stack([member._buffers["scale"] for member in members])
    return first.materialize_from(scale, stacked).unbind()


def _parameters(member: Factorization) -> Iterable[Tensor]:
    # `nn.DataParallel` has taken the parameters out of its replicas.
    return member._parameters.values() or [factor for factor, _ in member._factors()]


class _Stack(torch.autograd.Function):
    """`torch.stack`, but members whose W was not used get no gradient instead of zeros.

    So an optimizer leaves a layer alone if LayerDrop skipped it, as it does with a dense one.
    """

    @staticmethod
    def forward(ctx, used: set[int], *tensors: Tensor) -> Tensor:
        ctx.used = used
        return torch.stack(tensors)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        return None, *[g if k in ctx.used else None for k, g in enumerate(gradient.unbind())]


def _saved_tensor_hooks() -> Any:
    """Autograd's hooks for the tensors that it saves, or None; checkpointing changes them."""
    if torch.compiler.is_compiling():
        return None
    return torch._C._autograd._top_saved_tensors_default_hooks(True)
