"""The layers compute what the layers they replace compute, from factors."""

import copy
import io
import math
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from shapeshifter_fairseq import (
    FactorizedEmbedding,
    FactorizedLinear,
    ShapeshifterError,
    built_together,
)
from shapeshifter_fairseq.factorizations import FAMILIES

ALL_FAMILIES = sorted(FAMILIES)
LINEAR_FAMILIES = sorted(name for name, family in FAMILIES.items() if family.for_linear)


def family_layer(family: str, rank: int) -> FactorizedLinear:
    """A layer whose rank is as high as it can be, but not above `rank`."""
    rank = min(rank, FAMILIES[family].max_rank(64, 64))
    return FactorizedLinear(64, 64, rank=rank, family=family)


def test_linear_is_a_linear_layer_with_its_weight():
    layer = FactorizedLinear(48, 80, rank=4)
    x = torch.randn(2, 3, 48)
    expected = F.linear(x, layer.weight, layer.bias)
    assert layer.weight.shape == (80, 48)
    torch.testing.assert_close(layer(x), expected)
    assert FactorizedLinear(48, 80, bias=False, rank=4).bias is None


def test_linear_starts_with_the_spread_of_nn_linear():
    torch.manual_seed(0)
    ours, dense = FactorizedLinear(256, 512, rank=8), nn.Linear(256, 512)
    assert ours.weight.std().item() == pytest.approx(dense.weight.std().item(), rel=0.05)
    assert ours.bias.std().item() == pytest.approx(dense.bias.std().item(), rel=0.1)


def test_embedding_looks_up_rows_of_its_weight():
    layer = FactorizedEmbedding(50, 24, padding_idx=1, rank=3)
    tokens = torch.tensor([[4, 1, 1], [49, 0, 4]])
    torch.testing.assert_close(layer(tokens), F.embedding(tokens, layer.weight))
    assert layer(tokens)[0, 1:].abs().max() == 0
    assert layer.weight.std().item() == pytest.approx(math.sqrt(49 / 50), rel=0.06)


def test_a_padding_token_counted_from_the_end_is_the_one_of_nn_embedding():
    ours, dense = FactorizedEmbedding(10, 4, -1, rank=1), nn.Embedding(10, 4, -1)
    assert ours.padding_idx == dense.padding_idx == 9
    assert ours(torch.tensor([9])).abs().max() == 0  # in training
    assert ours(torch.tensor([8])).abs().max() > 0


@pytest.mark.parametrize("padding_idx", [10, -11])
def test_a_padding_token_outside_of_the_vocabulary_is_refused(padding_idx):
    with pytest.raises(ShapeshifterError, match=f"padding_idx={padding_idx} .* -10 to 9$"):
        FactorizedEmbedding(10, 4, padding_idx, rank=1)


def test_tied_layers_share_one_set_of_factors():
    embedding = FactorizedEmbedding(50, 24, rank=3)
    output = FactorizedLinear(24, 50, bias=False, rank=1)
    output.factors = embedding.factors
    both = nn.ModuleDict({"embedding": embedding, "output": output})
    assert sum(p.numel() for p in both.parameters()) == sum(
        p.numel() for p in embedding.parameters()
    )
    both.eval()
    with torch.no_grad():
        assert embedding.weight is output.weight


@pytest.mark.parametrize("family", FAMILIES)
def test_a_layer_without_numbers(family):
    """As `nn.Embedding` does it on the meta device, until `load_state_dict(assign=True)`."""
    there = FactorizedEmbedding(50, 24, rank=2, family=family)
    with torch.device("meta"):
        layer = FactorizedEmbedding(50, 24, rank=2, family=family)
        layer.reset_parameters()
    layer.load_state_dict(there.state_dict(), assign=True)
    assert torch.equal(layer.weight, there.weight)


def test_to_freeze_the_weight_is_to_freeze_its_factors():
    layer = FactorizedLinear(24, 50, rank=3)
    layer.weight.requires_grad_(True)  # as it is
    with pytest.raises(ShapeshifterError, match=r"layer\.factors\.requires_grad_\(False\)"):
        layer.weight.requires_grad = False
    layer.factors.requires_grad_(False)
    with pytest.raises(ShapeshifterError, match=r"layer\.factors\.requires_grad_"):
        layer.weight.requires_grad_()
    assert not layer.weight.requires_grad


@pytest.mark.parametrize("rank", [0, 10**6])
def test_impossible_ranks_are_refused(rank):
    with pytest.raises(ShapeshifterError, match=f"rank {rank}"):
        FactorizedLinear(48, 80, rank=rank)


@pytest.mark.parametrize("rank, vectors", [(2, 3), (40, 2)])
@pytest.mark.parametrize("family", LINEAR_FAMILIES)
def test_linear_of_every_family(family, rank, vectors):
    layer = family_layer(family, rank)
    x = torch.randn(2, vectors, 64)
    expected = F.linear(x, layer.weight, layer.bias)
    torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(layer.eval()(x), expected, rtol=1e-4, atol=1e-5)


def test_low_rank_layers_do_not_build_w(monkeypatch):
    layer = FactorizedLinear(256, 256, rank=4, family="low_rank")
    monkeypatch.setattr(layer.factors, "_materialize", None)
    layer(torch.randn(100, 256)).sum().backward()
    with torch.no_grad():
        layer.eval()(torch.randn(100, 256))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"family": "kroneker"}, "no family 'kroneker'"),
        ({"family": "monarch", "block": 3}, "no option 'block'; known: blocks"),
        ({"biass": False}, "kronecker has no option 'biass'"),
        ({"family": "word2ket"}, "word2ket is for embeddings"),
    ],
)
def test_families_and_options_are_checked(options, message):
    with pytest.raises(ShapeshifterError, match=message):
        FactorizedLinear(48, 80, rank=2, **options)


def test_embedding_of_word2ket():
    layer = FactorizedEmbedding(50, 24, padding_idx=1, rank=3, family="word2ket", order=3)
    tokens = torch.tensor([[4, 1, 1], [49, 0, 4]])
    torch.testing.assert_close(layer(tokens), F.embedding(tokens, layer.weight))


@pytest.mark.parametrize("family", LINEAR_FAMILIES)
def test_layers_run_under_autocast(family):
    layer = family_layer(family, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer(torch.randn(5, 64))
    assert y.dtype == torch.bfloat16
    y.float().sum().backward()
    assert all(factor.grad.dtype == torch.float32 for factor in layer.factors.parameters())


@pytest.mark.parametrize("family", LINEAR_FAMILIES)
def test_a_weight_that_autocast_made_is_not_used_outside(family):
    layer, x = family_layer(family, 4).eval(), torch.randn(5, 64)
    with torch.no_grad():
        expected = copy.deepcopy(layer)(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert layer(x).dtype == torch.bfloat16
        torch.testing.assert_close(layer(x), expected, rtol=0, atol=0)


@pytest.mark.parametrize("family", LINEAR_FAMILIES)
def test_a_device_without_autocast_gives_shapes(family):
    layer = family_layer(family, 4).eval().to("meta")
    with torch.no_grad():
        assert layer(torch.empty(5, 64, device="meta")).shape == (5, layer.out_features)


@pytest.mark.parametrize("wrapped", ["compiled", "checkpointed"])
@pytest.mark.parametrize("family", LINEAR_FAMILIES)
def test_layers_can_be_wrapped(family, wrapped):
    layer = family_layer(family, 2)
    wrap = {
        "compiled": partial(torch.compile, backend="eager"),
        "checkpointed": lambda layer: partial(checkpoint, layer, use_reentrant=False),
    }[wrapped]
    x = torch.randn(200, 64, requires_grad=True)
    plain = torch.autograd.grad(layer(x).square().sum(), [x, *layer.parameters()])
    found = torch.autograd.grad(wrap(layer)(x).square().sum(), [x, *layer.parameters()])
    torch.testing.assert_close(found, plain)


# --- the weight is to read -------------------------------------------------------------------

WRITES = {
    "zeros_": lambda w: nn.init.zeros_(w),
    "zeros_ of data": lambda w: nn.init.zeros_(w.data),
    "normal_": lambda w: nn.init.normal_(w, std=0.1),
    "by name": lambda w: nn.init.uniform_(tensor=w),
    "xavier_uniform_": lambda w: nn.init.xavier_uniform_(w.data),
    "kaiming_normal_": lambda w: nn.init.kaiming_normal_(w),
    "trunc_normal_": lambda w: nn.init.trunc_normal_(w),
    "orthogonal_": lambda w: nn.init.orthogonal_(w),
    "data.copy_": lambda w: w.data.copy_(torch.ones(w.shape)),
    "data =": lambda w: setattr(w, "data", torch.ones(w.shape)),
    "row =": lambda w: w.data.__setitem__(1, 0),
    "row.zero_": lambda w: w.detach()[1].zero_(),
    "+=": lambda w: w.data.__iadd__(1),
    "a view": lambda w: w.data.T[3:].fill_(0),
    "unbind": lambda w: w.data.unbind()[0].fill_(0),
    "out=": lambda w: torch.mul(w.detach().clone(), 2, out=w.data),
    "many at once": lambda w: torch._foreach_zero_([w.data]),
    "inplace=": lambda w: F.relu(w.data, inplace=True),
    "max_norm=": lambda w: F.embedding(torch.tensor([0]), w.data, max_norm=0.1),
}


def some_layers(family: str = "kronecker") -> list[nn.Module]:
    layers = [FactorizedEmbedding(40, 16, rank=2, family=family)]
    if FAMILIES[family].for_linear:
        layers.append(FactorizedLinear(16, 40, rank=2, family=family))
    return layers


def assert_a_write_raises(layer: nn.Module, write) -> None:
    before = {name: tensor.clone() for name, tensor in layer.state_dict().items()}
    weight = layer.weight.clone()
    with pytest.raises(ShapeshifterError, match="cannot be written to: .*project_"):
        write(layer.weight)
    assert torch.equal(layer.weight, weight)
    assert all(torch.equal(layer.state_dict()[name], before[name]) for name in before)


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_write_into_the_weight_raises(write):
    for layer in some_layers():
        for training in (True, False):
            for gradients in (True, False):
                with torch.set_grad_enabled(gradients):
                    assert_a_write_raises(layer.train(training), write)
                    assert_a_write_raises(copy.deepcopy(layer), write)


@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_a_write_into_the_weight_of_every_family_raises(family):
    for layer in some_layers(family):
        assert_a_write_raises(layer, WRITES["zeros_ of data"])
        with torch.no_grad():
            assert_a_write_raises(layer.eval(), WRITES["zeros_ of data"])


def test_a_write_raises_while_matrices_are_built_together():
    layers = nn.ModuleList(some_layers()[1] for _ in range(2))
    with built_together(layers):
        for layer in layers:
            assert_a_write_raises(layer, WRITES["zeros_"])


def test_an_initialiser_that_walks_a_model_raises():
    def init(module: nn.Module) -> None:
        if "Linear" in type(module).__name__:
            nn.init.xavier_uniform_(module.weight)

    model = nn.Sequential(nn.Linear(16, 16), FactorizedLinear(16, 40, rank=2))
    with pytest.raises(ShapeshifterError, match="before it is factorized"):
        model.apply(init)


@pytest.mark.parametrize("value", [nn.Parameter(torch.ones(40, 16)), torch.ones(40, 16)])
def test_the_weight_cannot_be_set(value):
    for layer in some_layers():
        with pytest.raises(ShapeshifterError, match="cannot be set: to tie .* other.factors"):
            layer.weight = value


def test_who_reads_the_weight_gets_ordinary_tensors():
    layer, dense, x = some_layers()[1], nn.Linear(16, 40), torch.randn(3, 16)
    for weight in (layer.weight, layer.eval().weight):
        with torch.no_grad():
            dense.weight.data.copy_(weight)
            dense.weight[1] = weight[1]
        file = io.BytesIO()
        torch.save(weight, file)
        read = torch.load(io.BytesIO(file.getvalue()), weights_only=True)
        for found in (read, weight.clone(), copy.deepcopy(weight), dense.weight.data):
            assert type(found) is torch.Tensor and torch.equal(found, weight)
            found.zero_()
        expected = F.linear(x, weight.clone())
        assert torch.equal(F.linear(x, weight), expected)
        assert type(F.linear(x, weight)) is torch.Tensor
    F.linear(x, layer.weight).sum().backward()
    assert all(factor.grad.abs().sum() > 0 for factor in layer.factors.parameters())
