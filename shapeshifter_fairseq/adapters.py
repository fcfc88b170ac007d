"""Adapters of Hugging Face's peft (LoRA, LoKr, LoHa, IA3, ...) on a model in factors::

    from peft import LoraConfig, PeftModel, get_peft_model
    from shapeshifter_fairseq import fold
    from shapeshifter_fairseq.adapters import adaptable

    model = get_peft_model(adaptable(base), LoraConfig(target_modules="all-linear"))
    ...train...
    model.save_pretrained("adapter")
    model = PeftModel.from_pretrained(adaptable(base), "adapter")
    merged = fold(model).merge_and_unload()    # ordinary layers, with the adapters in them

peft checks whether a layer is an `nn.Linear` or an `nn.Embedding`, reads its weight and calls it.
So the factorized layers get classes that are ordinary layers too. (peft has an interface for layers
of other packages, but for LoRA alone.)
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from .layers import FactorizedEmbedding, FactorizedLinear


def adaptable(model: nn.Module) -> nn.Module:
    """Let peft take a model's factorized layers for the ordinary ones that they replace.

    The layers compute and are saved as before. Call it before an adapter is made or loaded. Nothing
    may write into a base layer's weight, which is computed from the factors. So call `fold(model)`
    before a merge; kinds of LoRA that begin by changing the weight (`init_lora_weights="pissa"`) do
    not work.

    Returns:
        The same model.
    """
    kinds = {FactorizedLinear: _Linear, FactorizedEmbedding: _Embedding}
    for layer in model.modules():
        if type(layer) in kinds:
            layer.__class__ = kinds[type(layer)]
    return model


class _Adaptable:
    """A mixin; it comes before a factorized layer among the base classes."""

    def __setattr__(self, name: str, value: Any) -> None:
        # When peft takes an adapter off, it sets the weight to the value that it has.
        if name != "weight" or not torch.equal(value, self.weight):
            super().__setattr__(name, value)


class _Linear(_Adaptable, FactorizedLinear, nn.Linear):
    pass


class _Embedding(_Adaptable, FactorizedEmbedding, nn.Embedding):
    # The other options of an `nn.Embedding`; `factorize` takes only tables with these values.
    max_norm, norm_type, scale_grad_by_freq, sparse = None, 2.0, False, False
