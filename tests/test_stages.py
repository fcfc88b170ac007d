"""How a plan is split into stages, and what a stage leaves alone."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from shapeshifter_fairseq import Plan, ShapeshifterError, factorize
from shapeshifter_fairseq.stages import Stages, block_of

GAINS = {"layer_gain": 2.0, "embed_gain": 6.0}


def stack(blocks: int) -> nn.Module:
    side = nn.Module()
    side.embed_tokens = nn.Embedding(40, 16, padding_idx=1)
    block = nn.ModuleDict({"fc1": nn.Linear(16, 24), "fc2": nn.Linear(24, 16)})
    side.layers = nn.ModuleList(copy.deepcopy(block) for _ in range(blocks))
    return side


def model() -> nn.Module:
    """Two stacks of blocks, 11 of them on one side, one table for both."""
    torch.manual_seed(0)
    both = nn.Module()
    both.encoder, both.decoder = stack(2), stack(11)
    both.decoder.embed_tokens = both.encoder.embed_tokens
    for parameter in both.parameters():
        nn.init.normal_(parameter)
    return both


def stages(plan: str = "*=2", order: str | None = None, updates: int = 10) -> Stages:
    return Stages.of(model(), Plan.parse(plan), GAINS, updates, order)


def names(found: Stages) -> list[str]:
    return [stage.name for stage in found.stages]


TABLES = "embeddings and output"
FORWARD = [f"encoder.layers.{n}" for n in range(2)] + [f"decoder.layers.{n}" for n in range(11)]


def test_by_default_the_tables_come_first_and_then_the_last_block():
    assert names(stages()) == [TABLES, *FORWARD[::-1]]
    assert names(stages(order="last-first")) == names(stages())


def test_first_to_last_the_tables_come_first_too():
    assert names(stages(order="first-last")) == [TABLES, *FORWARD]


def test_a_stage_has_the_plans_rules_for_its_block_alone():
    found = stages("*=2,decoder.layers.10.fc2=monarch:1/blocks=2,decoder.embed_tokens=5")
    rules = {rule.pattern: rule.spec for rule in found.stages[1].plan.rules}
    assert set(rules) == {"decoder.layers.10.fc1", "decoder.layers.10.fc2"}
    assert rules["decoder.layers.10.fc2"].family.options == {"blocks": 2}
    (table,) = found.stages[0].plan.rules  # one matrix of two names
    assert table.spec.rank == 5


def test_dense_matrices_are_in_no_stage():
    found = stages("*=2,*embed_tokens=dense,decoder.layers.*=dense,decoder.layers.3.fc1=2")
    assert names(found) == ["decoder.layers.3", "encoder.layers.1", "encoder.layers.0"]
    assert [rule.pattern for rule in found.stages[0].plan.rules] == ["decoder.layers.3.fc1"]


def test_stages_are_due_after_every_k_updates_until_they_are_done():
    dense, found = model(), stages(updates=10)
    assert found.begin_of_last == 130

    def due(updates: int) -> list[str]:
        return [stage.name for stage in found.pending(dense, updates)]

    assert due(0) == due(9) == [TABLES]
    assert due(10) == due(19) == [TABLES, "decoder.layers.10"]
    factorize(dense, found.stages[0].remaining(dense), init="project", **GAINS)
    assert due(9) == [] and due(10) == ["decoder.layers.10"]
    assert len(found.pending(dense)) == 13
    for stage in found.pending(dense):
        factorize(dense, stage.remaining(dense), init="project", **GAINS)
    assert due(10**6) == [] == found.pending(dense)


def test_all_stages_give_what_one_factorization_gives():
    at_once, staged, found = model(), model(), stages("*=3,encoder.*.fc1=dense")
    factorize(at_once, Plan.parse("*=3,encoder.*.fc1=dense"), init="project", **GAINS)
    for stage in found.stages:
        factorize(staged, stage.remaining(staged), init="project", **GAINS)
    expected, given = at_once.state_dict(), staged.state_dict()
    assert expected.keys() == given.keys()
    for name, tensor in expected.items():
        assert torch.equal(given[name], tensor), name
    assert staged.decoder.embed_tokens is staged.encoder.embed_tokens


def test_a_stage_leaves_all_other_parameters_alone():
    dense, found = model(), stages()
    before = dict(dense.named_parameters())
    factorize(dense, found.stages[1].remaining(dense), init="project", **GAINS)
    after = dict(dense.named_parameters())
    gone = {"decoder.layers.10.fc1.weight", "decoder.layers.10.fc2.weight"}
    assert before.keys() - after.keys() == gone
    assert all(after[name] is before[name] for name in before.keys() - gone)


@pytest.mark.parametrize("done", [0, 1, 5, 14])
def test_a_model_takes_the_shape_of_a_state(done):
    half, fresh, found = model(), model(), stages()
    for stage in found.stages[:done]:
        factorize(half, stage.remaining(half), init="project", **GAINS)
    assert not found.loaded
    found.take_shape_of(half.state_dict(), fresh)
    assert found.loaded
    fresh.load_state_dict(half.state_dict())
    for name, tensor in half.state_dict().items():
        assert torch.equal(fresh.state_dict()[name], tensor), name
    found.take_shape_of(half.state_dict(), fresh)  # nothing is left to do
    assert fresh.state_dict().keys() == half.state_dict().keys()


@pytest.mark.parametrize(
    "name, block",
    [
        ("decoder.layers.11.self_attn.q_proj", "decoder.layers.11"),
        ("bert.encoder.layer.0.output.dense", "bert.encoder.layer.0"),
        ("encoder.block.3.layer.1.DenseReluDense.wi", "encoder.block.3"),  # T5: the outer list
        ("transformer.h.10.mlp.fc", "transformer.h.10"),
        ("layers.2.fc1", "layers.2"),
        ("albert_layers.0.ffn", None),
        ("classifier.0", None),
    ],
)
def test_a_block_is_one_of_the_outermost_list(name, block):
    assert block_of(name) == block


def test_a_model_takes_the_shape_of_a_state_that_comes_in_parts():
    half, fresh, found = model(), model(), stages()
    factorize(half, found.stages[0].remaining(half), init="project", **GAINS)
    for name, tensor in half.state_dict().items():  # each tensor a part
        found.take_shape_of([name], fresh)
        fresh.load_state_dict({name: tensor}, strict=False)
    for name, tensor in half.state_dict().items():
        assert torch.equal(fresh.state_dict()[name], tensor), name


@pytest.mark.parametrize(
    "given, words",
    [
        ({"updates": 0}, "--stage-updates 0: give 1 update or more"),
        ({"updates": -5}, "--stage-updates -5: "),
        ({"order": "middle"}, "--stage-order middle: choose last-first or first-last"),
        ({"plan": "*=dense"}, "leaves every matrix dense"),
        ({"plan": "*=2,decoder.layers.11.*=3"}, "'decoder.layers.11.*=3' matches no matrix"),
        ({"plan": "*=2,decoder.layers.0.fc1=low_rank:17"}, "rank 17 does not fit a 24 x 16"),
    ],
)
def test_mistakes_are_told_before_the_training(given, words):
    with pytest.raises(ShapeshifterError) as error:
        stages(**given)
    assert words in str(error.value)
