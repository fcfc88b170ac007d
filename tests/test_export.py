"""A factorized model leaves Python as a dense one does: exported, traced, folded and scripted."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from torch import Tensor, nn

from shapeshifter_fairseq import Plan, ShapeshifterError, build_together, factorize, fold
from shapeshifter_fairseq.factorizations import FAMILIES, Factorization


class Tagger(nn.Module):
    """A tied table with a padding token, two layers, and one that only its weight is read of."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(60, 32, padding_idx=1)
        self.up, self.down = nn.Linear(32, 64), nn.Linear(64, 32)
        self.read = nn.Linear(32, 32)
        self.output = nn.Linear(32, 60, bias=False)
        self.output.weight = self.embed.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.down(self.up(self.embed(tokens)).relu())
        x = x + nn.functional.linear(x, self.read.weight)
        return self.output(x)


FEW, MANY = torch.arange(6).view(2, 3), torch.arange(60).repeat(20).view(400, 3)


def tagger(family: str) -> nn.Module:
    torch.manual_seed(0)
    rule = f"*={family}:2" if FAMILIES[family].for_linear else f"*=2,embed={family}:2"
    return build_together(factorize(Tagger(), Plan.parse(rule))).eval()


def assert_computes_the_same(graph, model: nn.Module) -> None:
    for tokens in (FEW, MANY):  # in some families the way depends on how many there are
        torch.testing.assert_close(graph(tokens), model(tokens), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("gradients", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_trace_serves_batches_of_any_size(family, gradients):
    model = tagger(family)
    with torch.set_grad_enabled(gradients):
        traced = torch.jit.trace(model, (FEW,))
        assert_computes_the_same(traced, model)
    state = traced.state_dict()
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("family", ["kronecker", "monarch"])  # by W, and factor by factor
def test_an_export_serves_batches_of_any_size(family, kept, training):
    model = tagger(family).train(training)
    if kept:
        with torch.no_grad():
            model(FEW)
    any_number = {0: torch.export.Dim("sentences", min=1, max=4096)}
    with torch.set_grad_enabled(not kept):
        program = torch.export.export(model, (FEW,), dynamic_shapes=(any_number,))
    assert_computes_the_same(program.module(), model)
    assert set(program.state_dict) == set(model.state_dict())
    with torch.no_grad():
        assert_computes_the_same(model, copy.deepcopy(model))  # the model is as it was


def test_onnx(tmp_path):
    onnx = pytest.importorskip("onnx")
    file = io.BytesIO()
    with torch.enable_grad():
        torch.onnx.export(tagger("kronecker"), (FEW,), file, dynamo=False)
    onnx.checker.check_model(onnx.load_from_string(file.getvalue()))


def test_scripting_wants_a_folded_model_and_says_so():
    model = tagger("kronecker")
    with pytest.raises(ShapeshifterError, match=r"^torch\.jit\.script .* fold\(model\) first$"):
        torch.jit.script(model)
    assert any(isinstance(module, Factorization) for module in model.modules())
    expected = model(MANY)
    torch.testing.assert_close(torch.jit.script(fold(model))(MANY), expected)
