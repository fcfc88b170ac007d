"""Adapters of peft's on factorized models: they learn, come back from a folder, and are merged."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from peft import IA3Config, LoHaConfig, LoKrConfig, LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import BertConfig, BertForSequenceClassification

from shapeshifter_fairseq import FactorizedLinear, Plan, ShapeshifterError, factorize, fold, hf
from shapeshifter_fairseq.adapters import adaptable

from .test_hf import SIZES, TOKENS

KINDS = {
    "lora": LoraConfig(target_modules=["query", "value"]),
    "all-linear": LoraConfig(target_modules="all-linear"),
    "embedding": LoraConfig(target_modules=["word_embeddings"]),
    "dora": LoraConfig(target_modules=["value"], use_dora=True),
    "lokr": LoKrConfig(r=4, target_modules=["query", "dense"]),
    "loha": LoHaConfig(r=4, target_modules=["value"]),
    "ia3": IA3Config(
        target_modules=["query", "output.dense"], feedforward_modules=["output.dense"]
    ),
}


def bert() -> BertForSequenceClassification:
    torch.manual_seed(0)
    dense = BertForSequenceClassification(BertConfig(**SIZES))
    return adaptable(hf.factorize(dense, "*=4,*token_type*=dense,classifier=dense").eval())


def logits(model: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=TOKENS).logits


def adapted(config) -> PeftModel:
    """The model with an adapter that has learned."""
    model = get_peft_model(bert(), copy.deepcopy(config)).train()
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 0.01)
    for _ in range(4):
        optimizer.zero_grad()
        model(input_ids=TOKENS, labels=torch.tensor([0, 1])).loss.backward()
        optimizer.step()
    with torch.no_grad():  # as after a longer training
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return model


@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_learns_comes_back_and_is_merged(kind, tmp_path):
    before = logits(bert())
    model = adapted(KINDS[kind])
    learned = logits(model)
    assert (learned - before).abs().max() > 1e-5
    with model.disable_adapter():
        assert torch.equal(logits(model), before)  # the base is as it was
    model.save_pretrained(tmp_path)
    model = PeftModel.from_pretrained(bert(), tmp_path)
    torch.testing.assert_close(logits(model), learned)
    if kind == "all-linear":
        layers = [m for m in model.modules() if isinstance(m, FactorizedLinear)]
        names = model.peft_config["default"].target_modules
        assert len(names) == len(layers) + 1  # and the classifier, which is dense

    torch.testing.assert_close(logits(copy.deepcopy(model).unload()), before)
    with pytest.raises(ShapeshifterError, match=r"^[^\n]*fold\(model\)[^\n]*$"):
        copy.deepcopy(model).merge_and_unload()
    merged = fold(model).merge_and_unload()
    torch.testing.assert_close(logits(merged), learned)
    assert not any(isinstance(m, FactorizedLinear) for m in merged.modules())


def test_a_merged_model_of_hugging_faces_is_saved_as_an_ordinary_one(tmp_path):
    model = adapted(KINDS["lora"])
    learned = logits(model)
    model.get_base_model().dequantize()
    model.merge_and_unload().save_pretrained(tmp_path)
    torch.testing.assert_close(
        logits(BertForSequenceClassification.from_pretrained(tmp_path)), learned
    )


def test_a_model_of_torch_alone(tmp_path: Path):
    def base() -> nn.Module:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
        return adaptable(factorize(model, Plan.parse("*=2")))

    x = torch.randn(5, 8)
    model = get_peft_model(base(), LoraConfig(target_modules=["0"], init_lora_weights=False))
    expected = model(x)
    assert (expected - base()(x)).abs().max() > 1e-3
    expected.sum().backward()
    learning = {name for name, p in model.named_parameters() if p.grad is not None}
    assert len(learning) == 2 and all("lora_" in name for name in learning)
    model.save_pretrained(tmp_path)
    model = PeftModel.from_pretrained(base(), tmp_path)
    torch.testing.assert_close(model(x), expected)
    torch.testing.assert_close(fold(model).merge_and_unload()(x), expected)


def test_the_layers_stay_what_they_were():
    model = factorize(nn.Sequential(nn.Embedding(9, 8), nn.Linear(8, 8)), Plan.parse("*=2"))
    names, (table, linear) = list(model.state_dict()), adaptable(model)
    assert isinstance(linear, nn.Linear) and isinstance(table, nn.Embedding)
    assert list(model.state_dict()) == names and "weight" not in dict(linear.named_parameters())
    with pytest.raises(ShapeshifterError, match="cannot be set"):
        linear.weight = torch.zeros(8, 8)
    assert type(fold(model)[1]) is nn.Linear
