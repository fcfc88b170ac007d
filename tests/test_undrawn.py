"""A dense model that is built without its numbers has the spread of one that is drawn."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import shapeshifter_fairseq.models  # noqa: F401  (registers the architectures)
from shapeshifter_fairseq.fairseq_side.counting import build_model, task_with
from shapeshifter_fairseq.matrices import matrices
from shapeshifter_fairseq.plan import Plan
from shapeshifter_fairseq.undrawn import Undrawn

INITIALISATIONS = [
    lambda weight: nn.init.normal_(weight, mean=0, std=0.3),
    lambda weight: nn.init.normal_(weight, 0, 0.3),
    lambda weight: nn.init.normal_(weight),
    lambda weight: nn.init.uniform_(weight, -0.1, 0.1),
    lambda weight: nn.init.uniform_(weight, a=-0.1, b=0.3),
    lambda weight: nn.init.xavier_uniform_(weight, gain=0.7),
    lambda weight: nn.init.xavier_normal_(weight),
    lambda weight: nn.init.kaiming_uniform_(weight, a=5**0.5),
    lambda weight: weight.data.normal_(0, 0.2),  # not through the parameter: drawn at once
]


@pytest.mark.parametrize("initialise", INITIALISATIONS)
def test_the_spread_is_that_of_the_drawn_matrix(initialise):
    torch.manual_seed(0)
    with Undrawn() as undrawn:
        layer = nn.Linear(300, 500)
        initialise(layer.weight)
    drawn = nn.Linear(300, 500)
    initialise(drawn.weight)
    expected = drawn.weight.std().item()
    std = undrawn.std_of(layer.weight)
    assert (layer.weight.std().item() if std is None else std) == pytest.approx(expected, rel=0.02)
    undrawn.draw_rest_(layer)
    assert layer.weight.std().item() == pytest.approx(expected, rel=0.02)


def test_what_is_no_matrix_is_drawn_at_once():
    torch.manual_seed(0)
    with Undrawn() as undrawn:
        layer = nn.Linear(300, 500)
    assert undrawn.std_of(layer.bias) is None and 0 < layer.bias.std() < 1


def stock(options: list[str]) -> nn.Module:
    return build_model("transformer", options, task_with(300, 300, True))


SMALL = "--encoder-layers 1 --decoder-layers 1 --encoder-embed-dim 64 --encoder-ffn-embed-dim 96"


def spreads(model: nn.Module) -> dict[str, float]:
    return {name: p.std().item() for name, p in model.named_parameters() if p.dim() == 2}


@pytest.mark.parametrize("ties", ["", "--share-all-embeddings"])
def test_factors_start_with_the_spread_of_fairseqs_own_matrices(ties):
    options = [*SMALL.split(), *ties.split()]
    ours = build_model(
        "shapeshifter_transformer",
        [*options, "--layer-rank", "4", "--embed-rank", "16", "--decoder-learned-pos"],
        task_with(300, 300, True),
    )
    dense = stock([*options, "--decoder-learned-pos"])
    for matrix in matrices(dense):
        name = next(iter(matrix.modules))
        found = ours.get_submodule(name).weight.std().item()
        assert found == pytest.approx(matrix.weight.std().item(), rel=0.1), name
    positions = ours.decoder.embed_positions
    assert positions.weight.std().item() == pytest.approx(64**-0.5, rel=0.1)
    assert positions.weight[positions.padding_idx].abs().max() == 0


def test_what_the_plan_leaves_dense_is_drawn_as_fairseq_does():
    options = [*SMALL.split(), "--layer-rank", "4", "--embed-rank", "dense"]
    ours = build_model("shapeshifter_transformer", options, task_with(300, 300, True))
    dense = spreads(stock(SMALL.split()))
    found = spreads(ours)
    tables = {name for name in dense if "embed_tokens" in name or "output" in name}
    assert tables <= found.keys()
    for name in tables:
        assert found[name] == pytest.approx(dense[name], rel=0.1), name
    for table in (ours.encoder.embed_tokens, ours.decoder.embed_tokens):
        assert table.weight[table.padding_idx].abs().max() == 0


def test_a_dense_plan_has_the_very_numbers_of_fairseqs_own_model():
    def state(arch: str, *options: str) -> dict[str, Tensor]:
        torch.manual_seed(7)
        task = task_with(300, 300, True)
        return build_model(arch, [*SMALL.split(), *options], task).state_dict()

    expected = state("transformer")
    for plan in (["--factor-plan", "*=dense"], ["--layer-rank", "dense", "--embed-rank", "dense"]):
        found = state("shapeshifter_transformer", *plan)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    "text, dense",
    [
        ("*=dense", True),
        ("*=4,*=dense", True),
        ("*=4,*=dense,a.*=dense", True),
        ("*=4,a.*=dense", False),
        ("*=dense,a.*=4", False),
        ("a=dense", True),
    ],
)
def test_whether_a_plan_is_dense_is_seen_from_its_rules(text, dense):
    assert Plan.parse(text).is_dense == dense
