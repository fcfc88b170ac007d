"""What users write, for a type checker: tests/run.sh runs mypy on it, and nobody runs it."""

from __future__ import annotations

from typing import assert_type

import torch
from torch import Tensor, nn

from shapeshifter_fairseq import (
    FactorizedEmbedding,
    FactorizedLinear,
    Plan,
    ShapeshifterError,
    build_together,
    built_together,
    factorize,
    fold,
)


def use_layers() -> Tensor:
    layer = FactorizedLinear(512, 1024, rank=64, bias=False)
    table = FactorizedEmbedding(8848, 512, rank=256, padding_idx=1)
    assert_type(layer.weight, Tensor)
    assert_type(table.weight, Tensor)
    return layer(table(torch.tensor([[4, 2]])))  # type: ignore[no-any-return]  # torch's __call__


def use_models(model: nn.Module) -> nn.Module:
    try:
        plan = Plan.parse("*=64,*embed*=256")
    except ShapeshifterError as error:
        raise SystemExit(str(error)) from error
    assert_type(plan, Plan)
    assert_type(factorize(model, plan, init="project"), nn.Module)
    build_together(model)
    with built_together(model):
        model(torch.ones(2, 3))
    return fold(model)
