"""Carry an optimizer's state over to an optimizer that shares some of its parameters."""

from __future__ import annotations

import torch
from fairseq.optim import FairseqOptimizer, FP16Optimizer
from torch import Tensor, nn


def carry_over(old: FairseqOptimizer, new: FairseqOptimizer) -> None:
    """Give `new` all that `old` knows about the parameters that both have.

    That is the state of torch's optimizer (Adam: both averages and the count of steps), the
    settings of its parameter groups, the loss scale and, with --fp16, the parameters in single
    precision. A new parameter has no state, as at the first update. But where fairseq keeps all
    parameters as one flat vector (--fp16 on a GPU), they share one count of steps.
    """
    for was, now in zip(old.param_groups, new.param_groups):
        now.update({name: value for name, value in was.items() if name != "params"})
    if getattr(old, "scaler", None) is not None:
        vars(new.scaler).update(vars(old.scaler))
    if isinstance(old, FP16Optimizer) and old.has_flat_params:
        _carry_flat(old, new)
        return
    before, state = _stepped(old), old.optimizer.state
    for parameter, now in _stepped(new).items():
        if (was := before.get(parameter)) is not None:
            now.data.copy_(was.data)  # itself, or its copy in single precision
            if was in state:
                new.optimizer.state[now] = state[was]


def _stepped(optimizer: FairseqOptimizer) -> dict[nn.Parameter, nn.Parameter]:
    """The parameters that torch's optimizer updates, by the model's parameters."""
    if isinstance(optimizer, FP16Optimizer):
        return dict(zip(optimizer.fp16_params, optimizer.fp32_params))
    return {parameter: parameter for parameter in optimizer.params}


def _carry_flat(old: FP16Optimizer, new: FP16Optimizer) -> None:
    (was,), (now,) = old.fp32_params.values(), new.fp32_params.values()  # of one device
    before, after = _places(old), _places(new)
    common = [parameter for parameter in after if parameter in before]

    def carried(values: Tensor, into: Tensor) -> Tensor:
        for parameter in common:
            into[after[parameter]] = values[before[parameter]]
        return into

    carried(was.data, now.data)
    new.optimizer.state[now] = {
        name: carried(value, value.new_zeros(now.shape))
        if torch.is_tensor(value) and value.shape == was.shape
        else value
        for name, value in old.optimizer.state[was].items()
    }


def _places(optimizer: FP16Optimizer) -> dict[nn.Parameter, slice]:
    """Where in the flat vector each of the model's parameters is."""
    places, begin = {}, 0
    for parameter in optimizer.fp16_params:
        places[parameter] = slice(begin, begin + parameter.numel())
        begin += parameter.numel()
    return places
