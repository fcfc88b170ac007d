"""What a layer has beside its weight: hooks, buffers, a bias, and ways to compute the weight."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

from shapeshifter_fairseq import Plan, ShapeshifterError, factorize, fold

from .test_factorizing import Tagger


def a_layer() -> nn.Linear:
    return nn.Linear(8, 8)


def a_table() -> nn.Embedding:
    return nn.Embedding(8, 8)


def stretch(layer: nn.Module) -> None:
    with torch.no_grad():  # what was computed before is then stale
        for parameter in layer.parameters():
            parameter.mul_(2)


COMPUTED = {
    "weight_norm": weight_norm,
    "parametrizations.weight_norm": parametrizations.weight_norm,
    "spectral_norm": spectral_norm,
    "parametrizations.spectral_norm": parametrizations.spectral_norm,
    "parametrizations.orthogonal": parametrizations.orthogonal,
    "prune": lambda layer: prune.random_unstructured(layer, "weight", 0.5),
    "prune twice": lambda layer: prune.l1_unstructured(
        prune.random_unstructured(prune.identity(layer, "weight"), "weight", 0.5), "weight", 0.2
    ),
}


@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated")
@pytest.mark.parametrize("init", ["project", "random"])
@pytest.mark.parametrize("make", [a_layer, a_table])
@pytest.mark.parametrize("compute", COMPUTED.values(), ids=COMPUTED)
def test_a_weight_that_is_computed_counts_as_it_is_now(compute, make, init):
    def stale() -> nn.Module:
        torch.manual_seed(0)
        layer = make()
        compute(layer)
        stretch(layer)
        return nn.Sequential(layer)

    model, x = stale(), torch.arange(8) if make is a_table else torch.eye(8)
    expected = stale().eval()(x)
    with pytest.warns(UserWarning, match=r"^0: the factors start from the weight that "):
        factorize(model, Plan.parse("*=low_rank:8"), init=init)
    assert set(model.state_dict()) <= {"0.bias"} | {
        f"0.factors.{name}" for name in ("U", "V", "size", "scale")
    }
    assert all(parameter.requires_grad for parameter in model.parameters())
    if init == "project":
        torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-4)


def test_a_bias_that_is_computed_stays_a_parameter():
    model = nn.Sequential(nn.Linear(8, 8))
    prune.random_unstructured(model[0], "bias", 0.5)
    bias = model(torch.zeros(8))
    with pytest.warns(UserWarning, match="RandomUnstructured"):
        factorize(model, Plan.parse("*=2"))
    assert isinstance(model[0].bias, nn.Parameter) and torch.equal(model[0].bias, bias)


def test_hooks_and_what_else_a_layer_holds_move_over_and_back():
    model, seen = nn.Sequential(nn.Linear(8, 8), nn.Embedding(8, 8)), []
    x = [torch.randn(8, requires_grad=True), torch.arange(3)]
    handles = []
    for layer in model:
        layer.register_buffer("twice", torch.tensor(2.0))
        layer.register_buffer("not_saved", torch.ones(1), persistent=False)
        layer.extra, layer.name = nn.Parameter(torch.ones(3)), "a name"
        handles += [
            layer.register_forward_hook(lambda layer, x, y: y * layer.twice),
            layer.register_forward_pre_hook(
                lambda layer, x, more: seen.append("in"), with_kwargs=True
            ),
            layer.register_full_backward_hook(lambda layer, dx, dy: seen.append("back")),
        ]
    plan, before = Plan.parse("*=low_rank:8"), [layer(value) for layer, value in zip(model, x)]
    for change in (lambda: factorize(model, plan, init="project"), lambda: fold(model)):
        change()
        for layer, value, expected in zip(model, x, before):
            seen.clear()
            found = layer(value)
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
            found.sum().backward()
            assert seen == ["in", "back"]
            assert layer.name == "a name" and {"twice", "extra"} <= layer.state_dict().keys()
            assert layer.not_saved.item() == 1 and "not_saved" not in layer.state_dict()
    for handle in handles:
        handle.remove()
    torch.testing.assert_close(2 * model[0](x[0]), before[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "change, what",
    [
        (lambda m: setattr(m, "embed", nn.Embedding(60, 32, sparse=True)), "sparse"),
        (lambda m: setattr(m.embed, "scale_grad_by_freq", True), "scale_grad_by_freq=True"),
        (lambda m: setattr(m.embed, "forward", lambda tokens: None), "a forward of its own"),
        (lambda m: m.embed.weight.register_hook(lambda g: g * 0), "hooks of its weight"),
        (lambda m: m.embed.register_state_dict_post_hook(lambda *_: None), "hooks of its state"),
    ],
)
def test_what_factors_cannot_have_is_refused_by_name(change, what):
    model = Tagger()
    change(model)
    with pytest.raises(ShapeshifterError, match=f"^embed: .* cannot have {what}.* embed=dense$"):
        factorize(model, Plan.parse("*=4"))
    assert type(model.embed) is nn.Embedding and type(model.layers[0]) is nn.Linear
    factorize(model, Plan.parse("*=4,embed=dense,output=dense"))
