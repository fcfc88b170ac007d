"""A pass builds all W of one shape together; nothing that works one by one stops working."""

from __future__ import annotations

import copy
import pickle
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from shapeshifter_fairseq import FactorizedEmbedding, FactorizedLinear, Plan, factorize, fold
from shapeshifter_fairseq.factorizations import FAMILIES, Factorization, cost
from shapeshifter_fairseq.factorizations.computed import ComputedWeight
from shapeshifter_fairseq.together import build_together, built_together

LINEAR_FAMILIES = sorted(name for name, family in FAMILIES.items() if family.for_linear)


def as_it_is(layer):
    return layer


class Model(nn.Module):
    """Two kinds of layers, a tied table, and attention that reads `.weight` as torch's own does."""

    def __init__(self, layers: int = 3) -> None:
        super().__init__()
        self.embed = nn.Embedding(60, 32, padding_idx=1)
        self.query = nn.ModuleList(nn.Linear(32, 32) for _ in range(layers))
        self.up = nn.ModuleList(nn.Linear(32, 64) for _ in range(layers))
        self.down = nn.ModuleList(nn.Linear(64, 32) for _ in range(layers))
        self.output = nn.Linear(32, 60, bias=False)
        self.output.weight = self.embed.weight
        self.skipped: set[int] = set()
        self.wrap = as_it_is

    def layer(self, k: int, x: Tensor) -> Tensor:
        x = x + nn.functional.linear(x, self.query[k].weight, self.query[k].bias)
        return x + self.down[k](self.up[k](x).relu())

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens)
        for k in range(len(self.query)):
            if k not in self.skipped:
                x = self.wrap(partial(self.layer, k))(x)
        return self.output(x)


def make(family: str = "kronecker", together: bool = True, layers: int = 3) -> Model:
    torch.manual_seed(0)
    model = factorize(Model(layers), Plan.parse(f"*={family}:2")).double()
    return build_together(model) if together else model


TOKENS = torch.arange(24).view(3, 8) % 7


def loss_of(model: nn.Module) -> Tensor:
    return model(TOKENS).square().mean()


def gradients(model: nn.Module, loss: Tensor | None = None) -> dict[str, Tensor | None]:
    model.zero_grad()
    (loss_of(model) if loss is None else loss).backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def assert_same(found: dict[str, Tensor | None], expected: dict[str, Tensor | None]) -> None:
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        if gradient is None:
            assert found[name] is None, name
        else:
            torch.testing.assert_close(found[name], gradient, rtol=1e-9, atol=1e-12, msg=name)


@pytest.fixture
def builds(monkeypatch) -> list[int]:
    """How many matrices each product of factors made."""
    counted: list[int] = []
    build = Factorization.materialize_from

    def watched(self: Factorization, scale: Tensor, factors: list[Tensor]) -> Tensor:
        counted.append(scale.numel())
        return build(self, scale, factors)

    monkeypatch.setattr(Factorization, "materialize_from", watched)
    monkeypatch.setattr(Factorization, "is_cheaper_by_factors", lambda self, vectors: False)
    return counted


def assert_nothing_is_left_open(model: nn.Module) -> None:
    factors = [module for module in model.modules() if isinstance(module, Factorization)]
    assert factors and all(each._builder is None for each in factors)


def test_a_pass_builds_each_shape_once(builds):
    loss_of(make())
    assert sorted(builds) == [1, 3, 3, 3]  # the table, three query, up and down


@pytest.mark.parametrize("family", LINEAR_FAMILIES)
def test_gradients_are_those_of_one_by_one(family):
    assert_same(gradients(make(family)), gradients(make(family, together=False)))


def test_a_write_raises_except_in_a_pass_of_the_model():
    """There W is a plain tensor, because Python's share of a `ComputedWeight` would delay a GPU."""
    model, found = make(), []
    model.wrap = lambda layer: found.append(type(model.query[0].weight)) or layer
    loss_of(model)
    assert found == [Tensor] * 3
    assert type(model.query[0].weight) is ComputedWeight
    with built_together(model):
        assert type(model.query[0].weight) is ComputedWeight


def test_what_is_kept_serves_a_part_of_a_pass_without_gradients(builds):
    model = make().eval()

    def wrap(layer):
        def without(x: Tensor) -> Tensor:
            with torch.no_grad():
                return layer(x)

        return without

    model.wrap = wrap
    loss_of(model)
    builds.clear()
    loss_of(model)
    assert builds == [1]  # the table, for the output


def test_a_small_bound_makes_more_products_and_the_same_gradients(builds, monkeypatch):
    expected = gradients(make())
    builds.clear()
    monkeypatch.setattr(cost, "PART", 2 * 32 * 32)
    assert_same(gradients(make()), expected)
    assert sorted(builds) == [1, 1, 1, 1, 1, 1, 1, 1, 2]


def test_a_layer_that_is_skipped_gets_no_gradient():
    """LayerDrop: an optimizer then leaves it alone, weight decay and momentum included."""
    found, expected = make(), make(together=False)
    found.skipped = expected.skipped = {1}
    found, expected = gradients(found), gradients(expected)
    assert found["query.1.factors.A"] is None and found["query.0.factors.A"] is not None
    assert_same(found, expected)


@pytest.mark.parametrize("reentrant", [False, True])
def test_activation_checkpointing(reentrant):
    model, expected = make(), gradients(make(together=False))
    model.wrap = lambda layer: partial(checkpoint, layer, use_reentrant=reentrant)
    assert_same(gradients(model), expected)


def test_several_losses_and_passes_in_one_backward():
    found, expected = make(), make(together=False)
    assert_same(
        gradients(found, loss_of(found) + 2 * found(TOKENS + 1).mean()),
        gradients(expected, loss_of(expected) + 2 * expected(TOKENS + 1).mean()),
    )


def test_gradients_add_up_over_passes():
    found, expected = make(), make(together=False)
    for model in (found, expected):
        for _ in range(3):
            loss_of(model).backward()
    grads = [{n: p.grad for n, p in model.named_parameters()} for model in (found, expected)]
    assert_same(*grads)


def test_two_backward_passes_over_one_graph():
    found, expected = make(), make(together=False)
    for model in (found, expected):
        loss = loss_of(model)
        loss.backward(retain_graph=True)
        loss.backward()
    grads = [{n: p.grad for n, p in model.named_parameters()} for model in (found, expected)]
    assert_same(*grads)


def test_a_pass_that_raises_leaves_nothing_behind():
    model = make()
    with pytest.raises(IndexError):
        model(torch.tensor([[60]]))
    assert_nothing_is_left_open(model)
    assert_same(gradients(model), gradients(make(together=False)))


def test_an_interrupted_pass_leaves_nothing_behind():
    """Torch does not call a model's hooks when Ctrl-C ends its pass."""
    model = make()

    def interrupt(layer):
        raise KeyboardInterrupt

    model.wrap = interrupt
    with pytest.raises(KeyboardInterrupt):
        loss_of(model)
    model.wrap = lambda layer: layer
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)
    expected = make(together=False)
    expected.load_state_dict(model.state_dict())
    assert_same(gradients(model), gradients(expected))
    assert_nothing_is_left_open(model)


def test_a_step_between_passes_counts():
    model = make()
    adam = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for _ in range(5):
        adam.zero_grad()
        losses.append(loss_of(model))
        losses[-1].backward()
        adam.step()
    assert losses == sorted(losses, reverse=True) and losses[0] > losses[-1]


def test_frozen_factors_stay_frozen():
    found, expected = make(), make(together=False)
    for model in (found, expected):
        model.up[0].requires_grad_(False)
        model.query[1].factors.A.requires_grad_(False)
    assert_same(gradients(found), gradients(expected))


def test_inference_builds_nothing_together(builds):
    model = make().eval()
    with torch.no_grad():
        first = model(TOKENS)
        built = len(builds)
        assert torch.equal(model(TOKENS), first)
    assert set(builds) == {1} and len(builds) == built == 10


def test_evaluation_with_gradients(builds):
    found, expected = make().eval(), make(together=False).eval()
    assert_same(gradients(found), gradients(expected))
    assert builds.count(3) == 3


def test_functional_call_takes_the_parameters_it_is_given():
    model, expected = make(), make()
    other = {name: p.detach() * 1.1 for name, p in model.named_parameters()}
    expected.load_state_dict(other, strict=False)
    found = torch.func.functional_call(model, other, (TOKENS,))
    torch.testing.assert_close(found, expected(TOKENS))


def test_gradients_of_a_function_of_the_parameters():
    model = make()

    def loss(state: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(model, state, (TOKENS,)).square().mean()

    state = {name: p.detach() for name, p in model.named_parameters()}
    assert_same(torch.func.grad(loss)(state), gradients(make(together=False)))


def test_copies_and_pickles_build_their_own(builds):
    model = make()
    loss_of(model)
    for twin in (copy.deepcopy(model.eval()), pickle.loads(pickle.dumps(make()))):
        builds.clear()
        loss_of(twin.train())
        assert sorted(builds) == [1, 3, 3, 3]


def test_a_copy_within_a_pass_holds_nothing_of_it():
    model = make()
    with built_together(model):
        twin = copy.deepcopy(model)
    assert_nothing_is_left_open(twin)


def test_layers_that_come_and_go(builds):
    """Stages and fold change a model between passes."""
    model = build_together(Model().double())
    loss_of(model).backward()
    factorize(model, Plan.parse("up.*=2"))
    builds.clear()
    loss_of(model).backward()
    assert builds == [3]
    fold(model)
    builds.clear()
    loss_of(model).backward()
    assert builds == []


def test_asking_twice_is_asking_once():
    model = build_together(make())
    assert len(model._forward_pre_hooks) == len(model._forward_hooks) == 1


@pytest.mark.parametrize("inner_gradients", [True, False])
def test_a_model_that_calls_itself(inner_gradients, builds):
    model = make()

    def twice(layer):
        def call(x: Tensor) -> Tensor:
            model.wrap = as_it_is
            with torch.set_grad_enabled(inner_gradients):
                model(TOKENS)
            return layer(x)

        return call

    model.wrap = twice
    loss_of(model).backward()
    assert builds.count(3) == 3
    assert_nothing_is_left_open(model)


def test_a_model_within_a_model(builds):
    inner = make()
    outer = build_together(nn.Sequential(inner))
    assert_same(
        {f"0.{name}": g for name, g in gradients(make(together=False)).items()}, gradients(outer)
    )
    builds.clear()
    loss_of(outer)
    assert sorted(builds) == [1, 3, 3, 3]
    assert_nothing_is_left_open(outer)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_in_half_precision(dtype):
    model = make().to(dtype)
    expected = gradients(make(together=False))
    for name, gradient in gradients(model).items():
        assert gradient.dtype == dtype
        error = (gradient.double() - expected[name]).norm()
        assert error < 0.1 * expected[name].norm(), name


def test_autocast_within_a_pass():
    """Part of a pass in low precision: each part gets its W in its own."""
    model = make().float()

    def wrap(layer):
        def low(x: Tensor) -> Tensor:
            with torch.autocast("cpu", torch.bfloat16):
                return layer(x)

        return low

    model.wrap = wrap
    dtypes = []
    hook = model.up[0].register_forward_hook(lambda module, x, y: dtypes.append(y.dtype))
    assert model(TOKENS).dtype == torch.float32
    hook.remove()
    assert dtypes == [torch.bfloat16]


def test_a_lookup_is_as_precise_as_its_factors_under_autocast():
    model = make().float()
    with torch.autocast("cpu", torch.bfloat16), built_together(model):
        assert model.embed(TOKENS).dtype == torch.float32
        assert model.output.weight.dtype == torch.bfloat16


@pytest.mark.parametrize("family", FAMILIES)
def test_a_lookup_of_few_rows_is_as_precise_under_autocast(family):
    table = FactorizedEmbedding(1000, 16, rank=2, family=family)
    with torch.autocast("cpu", torch.bfloat16):
        assert table(torch.tensor([1, 2])).dtype == torch.float32


@pytest.mark.parametrize("family", LINEAR_FAMILIES)
def test_compiled_without_a_break(family):
    model = make(family, layers=2)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    loss_of(compiled).backward()
    found = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert_same(found, gradients(make(family, together=False, layers=2)))


@pytest.mark.parametrize("rows, tokens, whole", [(50, 25, True), (50, 24, False)])
def test_a_table_is_built_for_many_tokens_and_looked_up_for_few(rows, tokens, whole, builds):
    table = FactorizedEmbedding(rows, 16, rank=2)
    table(torch.zeros(tokens, dtype=torch.long)).sum().backward()
    assert bool(builds) == whole


def test_a_table_that_is_too_large_is_not_built(builds, monkeypatch):
    monkeypatch.setattr(cost, "TABLE", 50 * 16 - 1)
    tied = nn.Sequential(FactorizedEmbedding(50, 16, rank=2), FactorizedLinear(16, 50, rank=2))
    tied[1].factors = tied[0].factors
    build_together(tied)
    assert tied(torch.zeros(3, dtype=torch.long)).shape == (3, 50)
    assert tied[0].factors._builder is None


def test_a_replica_of_data_parallel():
    """Torch takes the parameters out of a replica, and leaves plain tensors in their place."""
    layers = [FactorizedLinear(16, 16, rank=2) for _ in range(2)]
    replicas = nn.ModuleList(layer.factors._replicate_for_data_parallel() for layer in layers)
    for layer, replica in zip(layers, replicas):
        for name, parameter in layer.factors.named_parameters():
            setattr(replica, name, parameter * 1)
    with built_together(replicas):
        for layer, replica in zip(layers, replicas):
            torch.testing.assert_close(replica.weight(), layer.weight)
    with torch.no_grad():
        first, second = (layers[0].eval().factors._replicate_for_data_parallel() for _ in range(2))
        first.A, second.A = layers[0].factors.A * 1, layers[0].factors.A * 2
        first.B = second.B = layers[0].factors.B * 1
        torch.testing.assert_close(2 * first.weight(), second.weight())
