"""Adapters of Hugging Face's peft (LoRA, LoKr, LoHa, IA3, ...) on a model in factors::

    from peft import LoraConfig, PeftModel, get_peft_model
    from shapeshifter_fairseq import fold
    from shapeshifter_fairseq.adapters import adaptable

    model = get_peft_model(adaptable(base), LoraConfig(target_modules="all-linear"))
    ...train...
    model.save_pretrained("adapter")
    model = PeftModel.from_pretrained(adaptable(base), "adapter")
    merged = fold(model).merge_and_unload()    # ordinary layers, with the adapters in them

peft asks of a layer whether it is an `nn.Linear` or an `nn.Embedding`, reads its weight and calls
it. So the layers get classes that are both. A door for layers of other packages it has for LoRA
alone.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from .layers import FactorizedEmbedding, FactorizedLinear


def adaptable(model: nn.Module) -> nn.Module:
    """Let peft take a model's factorized layers for the ordinary ones that they replace.

    The layers compute and are saved as before. Call it before an adapter is made or loaded. What
    writes into the weight of the base cannot work: a merge, before `fold(model)`, and the kinds of
    LoRA that begin so (`init_lora_weights="pissa"`).

    Returns:
        The same model.
    """
    kinds = {FactorizedLinear: _Linear, FactorizedEmbedding: _Embedding}
    for layer in model.modules():
        if type(layer) in kinds:
            layer.__class__ = kinds[type(layer)]
    return model


class _Adaptable:
    """Stands before a factorized layer among the base classes."""

    def __setattr__(self, name: str, value: Any) -> None:
        # peft sets the weight to what it is already, when it takes an adapter off.
        if name != "weight" or not torch.equal(value, self.weight):
            super().__setattr__(name, value)


class _Linear(_Adaptable, FactorizedLinear, nn.Linear):
    pass


class _Embedding(_Adaptable, FactorizedEmbedding, nn.Embedding):
    # What an `nn.Embedding` has beside its size; `factorize` leaves tables alone that have others.
    max_norm, norm_type, scale_grad_by_freq, sparse = None, 2.0, False, False
