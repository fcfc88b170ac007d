"""Hand over what a layer has besides its weight to the layer that replaces it.

Hooks, and whatever else was put on the layer, move over. A weight that is computed (`weight_norm`,
`spectral_norm`, pruning, any parametrization) is taken as it is in eval mode. What computes it is
dropped with the layer, and a warning says so. What cannot move over is refused.
"""

from __future__ import annotations

import warnings

import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import (
    SpectralNorm,
    SpectralNormLoadStateDictPreHook,
    SpectralNormStateDictHook,
)
from torch.nn.utils.weight_norm import WeightNorm

from .errors import ShapeshifterError

# Torch's older hooks: those that compute a weight before each call, those that save and load it.
_COMPUTERS = (WeightNorm, SpectralNorm, BasePruningMethod)
_SAVERS = (SpectralNormStateDictHook, SpectralNormLoadStateDictPreHook)
_HOOKS = (
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_is_full_backward_hook",
)
_STATE_HOOKS = (
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)
_HELD = ("_parameters", "_buffers", "_modules")
_OF_THE_MATRIX = ("weight", "bias", "factors", "parametrizations")


def parameter_of(layer: nn.Module, name: str) -> nn.Parameter | None:
    """A layer's weight or bias; a computed one is taken as it is in eval mode."""
    if name in layer._parameters:
        return layer._parameters[name]
    modes = {module: module.training for module in layer.modules()}
    layer.eval()
    try:
        with torch.no_grad():
            for hook in _computers(layer):
                hook(layer, None)
            value = getattr(layer, name).detach().clone()
    finally:
        for module, mode in modes.items():
            module.training = mode
    sources = (f"{name}_", f"parametrizations.{name}.")
    trains = any(p.requires_grad for key, p in layer.named_parameters() if key.startswith(sources))
    return nn.Parameter(value, requires_grad=trains)


def refuse_what_would_be_lost(name: str, layer: nn.Module) -> None:
    """Raise a `ShapeshifterError` if the layer has something that a factorized one cannot have."""
    options = ("sparse", "scale_grad_by_freq")
    lost = [f"{option}=True" for option in options if getattr(layer, option, False)]
    own = {"forward": "a forward of its own", "_compiled_call_impl": "a compiled call"}
    lost += [text for what, text in own.items() if vars(layer).get(what)]
    hooks = [hook for key in _STATE_HOOKS for hook in vars(layer)[key].values()]
    if not all(_saves_a_computer(getattr(hook, "hook", hook)) for hook in hooks):
        lost.append("hooks of its state dict")
    weight = layer._parameters.get("weight")
    if weight is None and not (_computers(layer) or parametrize.is_parametrized(layer, "weight")):
        lost.append("a weight that is not a parameter")
    elif weight is not None and (weight._backward_hooks or weight._post_accumulate_grad_hooks):
        lost.append("hooks of its weight")
    if lost:
        raise ShapeshifterError(
            f"{name}: a factorized layer cannot have {', '.join(lost)}; remove that, or leave the "
            f"layer dense with the rule {name}=dense"
        )


def warn_of_what_ends(name: str, layer: nn.Module) -> None:
    """Warn that what computes a layer's weight will be dropped with the layer."""
    ending = {type(hook).__name__ for hook in _computers(layer)}
    for parametrizations in getattr(layer, "parametrizations", {}).values():
        ending |= {type(each).__name__ for each in parametrizations}
    if ending:
        warnings.warn(
            f"{name}: the factors start from the weight that {', '.join(sorted(ending))} gives "
            "now; it is removed, and training goes on without it",
            stacklevel=3,
        )


def hand_over(old: nn.Module, new: nn.Module) -> None:
    """Give a layer all that another has beside matrix and bias; handles of hooks stay valid."""
    computers = _computers(old)
    sources = ("weight_", "bias_") if computers else ()
    for held in _HELD:
        for key, value in vars(old)[held].items():
            if key not in _OF_THE_MATRIX and not key.startswith(sources):
                vars(new)[held][key] = value
    new._non_persistent_buffers_set |= old._non_persistent_buffers_set
    for key in _HOOKS:
        vars(new)[key] = vars(old)[key]
    for key in [key for key, hook in new._forward_pre_hooks.items() if hook in computers]:
        del new._forward_pre_hooks[key]
    for key, value in vars(old).items():
        if key not in vars(new) and key not in _OF_THE_MATRIX:
            vars(new)[key] = value


def _computers(layer: nn.Module) -> list[object]:
    return [hook for hook in layer._forward_pre_hooks.values() if isinstance(hook, _COMPUTERS)]


def _saves_a_computer(hook: object) -> bool:
    newer_weight_norm = getattr(hook, "__name__", None) == "_weight_norm_compat_hook"
    return newer_weight_norm or isinstance(hook, _SAVERS)
