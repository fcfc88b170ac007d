"""On a GPU the layers compute what they compute on a CPU; skipped where there is none."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from shapeshifter_fairseq import (
    FactorizedEmbedding,
    FactorizedLinear,
    Plan,
    build_together,
    factorize,
)
from shapeshifter_fairseq.factorizations import FAMILIES, kronecker
from shapeshifter_fairseq.matrices import matrices
from shapeshifter_fairseq.projection import how_near, relative_error

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")

LINEAR = sorted(name for name, family in FAMILIES.items() if family.for_linear)
TOKENS = torch.arange(40) % 11


def rank_of(family: str) -> int:
    return min(3, FAMILIES[family].max_rank(48, 40))


def gradients(layer: nn.Module, x: Tensor) -> list[Tensor]:
    """What comes out, and the gradients of all that went in, on the CPU."""
    y = layer(x)
    y.square().sum().backward()
    found = [y.detach(), *(parameter.grad for parameter in layer.parameters())]
    return [tensor.cpu() for tensor in found]


def assert_same_on_both(layer: nn.Module, x: Tensor) -> None:
    other = copy.deepcopy(layer).cuda()
    for here, there in zip(gradients(layer, x), gradients(other, x.cuda())):
        torch.testing.assert_close(there, here, rtol=1e-4, atol=1e-5 * here.abs().max().item())


@pytest.mark.parametrize("family", LINEAR)
def test_a_linear_layer(family):
    torch.manual_seed(0)
    assert_same_on_both(
        FactorizedLinear(40, 48, rank=rank_of(family), family=family), torch.randn(7, 40)
    )


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_an_embedding(family):
    torch.manual_seed(0)
    layer = FactorizedEmbedding(48, 40, padding_idx=1, rank=rank_of(family), family=family)
    assert_same_on_both(layer, TOKENS)


def test_a_table_that_is_built_block_by_block(monkeypatch):
    monkeypatch.setattr(kronecker, "WORTH_BUILDING_AGAIN", 1)
    torch.manual_seed(0)
    assert_same_on_both(FactorizedLinear(40, 48, rank=2), torch.randn(700, 40))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("autocast", [True, False])
def test_half_precision_is_near_single(dtype, autocast):
    torch.manual_seed(0)
    layer, x = FactorizedLinear(256, 512, rank=8).cuda(), torch.randn(64, 256, device="cuda")
    expected = layer(x).detach()
    if not autocast:
        layer, x = layer.to(dtype), x.to(dtype)
    with torch.autocast("cuda", dtype, enabled=autocast):
        y = layer(x)
    y.float().square().mean().backward()
    assert y.dtype == dtype
    assert (y.float() - expected).norm() < 2e-2 * expected.norm()
    assert all(p.grad.isfinite().all() and p.grad.any() for p in layer.parameters())


def test_the_kept_w_goes_where_its_layer_goes():
    layer, x = FactorizedLinear(40, 48, rank=3).eval(), torch.randn(7, 40)
    with torch.no_grad():
        here = layer(x)
        layer.cuda()
        there = layer(x.cuda())
        back = layer.cpu()(x)
    torch.testing.assert_close(there.cpu(), here, rtol=1e-4, atol=1e-5)
    assert torch.equal(back, here)


@pytest.mark.parametrize("family", ["kronecker", "low_rank", "monarch", "tensor_train"])
def test_a_projection_is_as_near(family):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64))
    other = copy.deepcopy(model).cuda()
    errors = []
    for each in (model, other):
        before = matrices(each)
        factorize(each, Plan.parse(f"*={family}:4"), init="project")
        errors.append(relative_error(how_near(before, each)))
    here, there = errors
    assert there == pytest.approx(here, rel=1e-3)


def test_a_models_ties_stay():
    model = nn.ModuleDict({"embed": nn.Embedding(50, 16), "out": nn.Linear(16, 50, bias=False)})
    model["out"].weight = model["embed"].weight
    factorize(model.cuda(), Plan.parse("*=3"))
    assert model["out"].factors is model["embed"].factors
    assert model["out"](model["embed"](torch.tensor([3], device="cuda"))).shape == (1, 50)


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_a_step_never_waits_for_the_gpu(family, together):
    """Lookups, layers and a tied output, forward and backward: no result is asked for."""
    rank, layers = rank_of(family), [nn.Embedding(480, 40, padding_idx=1), nn.Linear(40, 480)]
    layers[1].weight = layers[0].weight
    model = factorize(nn.Sequential(*layers).cuda(), Plan.parse(f"*={family}:{rank}"))
    if together:
        build_together(model)
    tokens = TOKENS.cuda()
    model(tokens).square().sum().backward()  # the libraries' first calls may wait
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        model(tokens).square().sum().backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("family", LINEAR)
def test_built_together_under_autocast(family, dtype):
    torch.manual_seed(0)
    model = nn.Sequential(*(nn.Linear(64, 64) for _ in range(4)))
    model = factorize(model, Plan.parse(f"*={family}:4")).cuda()
    other = build_together(copy.deepcopy(model))
    x = torch.randn(32, 64, device="cuda")
    found = []
    for each in (model, other):
        with torch.autocast("cuda", dtype):
            y = each(x)
        y.float().square().mean().backward()
        found.append([y, *(parameter.grad for parameter in each.parameters())])
    for here, there in zip(*found):
        assert (here.float() - there.float()).norm() <= 2e-2 * here.float().norm() + 1e-9
