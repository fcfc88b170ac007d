"""A model's matrices are replaced by a plan, in place, and folded back."""

import copy
import warnings
from functools import partial

import pytest
import torch
from torch import nn

from shapeshifter_fairseq import (
    FactorizedEmbedding,
    FactorizedLinear,
    Plan,
    ShapeshifterError,
    factorize,
    fold,
)
from shapeshifter_fairseq.plan import Family, Rule, Spec


class Tagger(nn.Module):
    """Two embeddings that are one module, an output tied to it, layers of several kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(60, 32, padding_idx=1)
        self.embed_again = self.embed
        self.layers = nn.ModuleList([nn.Linear(32, 32), nn.Linear(32, 32, bias=False)])
        self.norm = nn.LayerNorm(32)
        self.output = nn.Linear(32, 60, bias=False)
        self.output.weight = self.embed.weight

    def forward(self, tokens):
        x = self.embed(tokens) + self.embed_again(tokens)
        for layer in self.layers:
            x = torch.relu(layer(x))
        return self.output(self.norm(x))


TOKENS = torch.tensor([[5, 1, 7], [59, 0, 5]])


def factorized(plan: str = "*=4") -> Tagger:
    torch.manual_seed(0)
    return factorize(Tagger(), Plan.parse(plan))


EVERY_FAMILY = [
    "*=kronecker:4",
    "*=low_rank:4",
    "*=block_low_rank:2/blocks=4",
    "*=monarch:2/blocks=4",
    "*=phm:4",
    "*=tensor_train:4/cores=3",
    "*=word2ketxs:4/order=3",
    "*=4,embed=word2ket:2/order=3",
    "*=4,embed=word2ket:2/order=4/norm=1",
]


@pytest.mark.parametrize("plan", EVERY_FAMILY)
def test_every_family_learns_and_folds(plan):
    model = factorized(plan)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(80):
        loss = nn.functional.cross_entropy(model(TOKENS).flatten(0, 1), TOKENS.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]
    with torch.no_grad():
        expected = model.eval()(TOKENS)
    torch.testing.assert_close(fold(model)(TOKENS), expected, rtol=1e-4, atol=1e-5)


def test_every_matrix_is_replaced_and_ties_are_kept():
    model = factorized()
    assert isinstance(model.embed, FactorizedEmbedding)
    assert model.embed_again is model.embed
    assert isinstance(model.output, FactorizedLinear)
    assert model.output.factors is model.embed.factors
    assert all(isinstance(layer, FactorizedLinear) for layer in model.layers)
    assert isinstance(model.norm, nn.LayerNorm)
    assert model.layers[1].bias is None
    assert model.embed.padding_idx == 1
    assert model(TOKENS).shape == (2, 3, 60)


def test_biases_are_the_ones_that_were_there():
    model = Tagger()
    bias = model.layers[0].bias
    assert factorize(model, Plan.parse("*=4")).layers[0].bias is bias


def test_spread_is_the_dense_weights():
    torch.manual_seed(0)
    dense = nn.Sequential(nn.Linear(512, 256), nn.Embedding(2000, 128, padding_idx=3))
    nn.init.normal_(dense[0].weight, std=0.123)
    with torch.no_grad():
        dense[1].weight[3] = 1000.0  # the padding row does not count
    model = factorize(copy.deepcopy(dense), Plan.parse("*=8"))
    assert model[0].weight.std().item() == pytest.approx(0.123, rel=0.05)
    assert model[1].weight.std().item() == pytest.approx(1.0, rel=0.05)
    assert model[1].weight[3].abs().max() == 0


def test_projection_keeps_ties_biases_modes_and_types():
    torch.manual_seed(0)
    dense = Tagger().bfloat16().eval()
    model = factorize(copy.deepcopy(dense), Plan.parse("*=low_rank:32"), init="project")
    assert model.output.factors is model.embed.factors
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert not any(module.training for module in model.modules())
    found, expected = model(TOKENS), dense(TOKENS)
    assert (found - expected).norm() < 0.05 * expected.norm()


@pytest.mark.parametrize("plan", EVERY_FAMILY)
def test_every_family_projects_nearer_than_chance(plan):
    """And the same way each time."""
    torch.manual_seed(0)
    dense, seen = Tagger(), []
    models = [
        factorize(
            copy.deepcopy(dense),
            Plan.parse(plan),
            init="project",
            progress=lambda found: (seen.append(matrix) or matrix for matrix in found),
        )
        for _ in range(2)
    ]
    assert len(seen) == 2 * 3
    for layer, again, before in zip(*(m.layers for m in (*models, dense))):
        assert layer.factors.relative_error(before.weight) < 0.99
        assert torch.equal(layer.weight, again.weight)


def test_projection_gives_the_wanted_step():
    torch.manual_seed(0)
    dense = nn.Sequential(nn.Linear(64, 64), nn.Embedding(64, 64))
    gains = {"layer_gain": 1.0, "embed_gain": 5.0}
    model = factorize(dense, Plan.parse("*=4"), init="project", **gains)
    before = [layer.weight.detach() for layer in model]
    with torch.no_grad():
        for layer in model:
            for factor in layer.factors.parameters():
                factor.add_(1e-4 * torch.randn_like(factor).sign())
    moved = [(layer.weight - old).square().mean().sqrt() for layer, old in zip(model, before)]
    assert [move.item() / 1e-4 for move in moved] == pytest.approx([1.0, 5.0], rel=0.15)


def test_a_weight_that_cannot_be_projected_is_named():
    model = Tagger()
    with torch.no_grad():
        model.layers[1].weight[3, 3] = float("inf")
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ShapeshifterError, match=r"^layers\.1: .*NaN or infinity"):
        factorize(model, Plan.parse("*=4"), init="project")
    assert model.state_dict().keys() == before.keys()
    with pytest.raises(ShapeshifterError, match="init='svd'"):
        factorize(model, Plan.parse("*=4"), init="svd")


def test_a_rule_leaves_a_matrix_dense():
    model = factorized("*=4,layers.0=dense")
    assert type(model.layers[0]) is nn.Linear
    assert isinstance(model.layers[1], FactorizedLinear)
    assert type(factorized("layers.1=4").embed) is nn.Embedding  # no rule, no change


def test_a_rule_on_one_name_of_a_tied_matrix_reaches_the_whole():
    model = factorized("*=4,output=dense")
    assert type(model.embed) is nn.Embedding
    assert model.output.weight is model.embed.weight


def test_a_tie_to_a_module_that_is_left_out_stays():
    model = Tagger()
    model.embed = model.embed_again = nn.Embedding(60, 32, max_norm=1.0)
    model.output.weight = model.embed.weight
    factorize(model, Plan.parse("*=4"))
    assert type(model.embed) is nn.Embedding and type(model.output) is nn.Linear
    assert model.output.weight is model.embed.weight
    assert isinstance(model.layers[0], FactorizedLinear)


@pytest.mark.parametrize("init", ["random", "project"])
def test_what_is_frozen_stays_frozen(init):
    model = Tagger()
    model.layers[0].weight.requires_grad_(False)
    factorize(model, Plan.parse("*=4"), init=init)
    frozen, other = model.layers
    assert not any(factor.requires_grad for factor in frozen.factors.parameters())
    assert frozen.bias.requires_grad
    assert all(factor.requires_grad for factor in other.factors.parameters())
    assert [layer.weight.requires_grad for layer in fold(model).layers] == [False, True]


def test_a_weight_without_spread_is_named():
    model = Tagger()
    nn.init.zeros_(model.layers[1].weight)
    with pytest.raises(ShapeshifterError, match=r"^layers\.1: .* 0\.0; .* rule layers\.1=dense$"):
        factorize(model, Plan.parse("*=4"))
    with pytest.raises(ShapeshifterError, match=r"^layers\.1: .*zeros.* rule layers\.1=dense$"):
        factorize(model, Plan.parse("*=4"), init="project")
    assert type(model.layers[0]) is nn.Linear
    factorize(model, Plan.parse("*=4,layers.1=dense"))


def test_a_trained_row_that_becomes_zero_is_named():
    """An output layer trains the row of the padding token in the table that it is tied to."""
    model = Tagger()
    padding = model.embed.padding_idx
    assert padding is not None and not model.embed.weight[padding].any()
    with warnings.catch_warnings(action="error"):
        factorize(copy.deepcopy(model), Plan.parse("*=4"), init="project")
    nn.init.normal_(model.embed.weight)
    lost = rf"^embed: row {padding}, .* becomes zero"
    with pytest.warns(UserWarning, match=rf"{lost}, also for output; .* padding_idx = None"):
        factorize(model, Plan.parse("*=4"), init="project")
    alone = nn.ModuleDict({"embed": nn.Embedding(9, 4, padding_idx=padding)})
    nn.init.normal_(alone["embed"].weight)
    with pytest.warns(UserWarning, match=rf"{lost}; "):
        factorize(alone, Plan.parse("*=4"), init="project")


def test_a_model_may_be_projected_and_folded_under_autocast():
    model = Tagger()
    expected = factorize(copy.deepcopy(model), Plan.parse("*=4"), init="project")
    with torch.autocast("cpu", torch.bfloat16):
        factorize(model, Plan.parse("*=4"), init="project")
        with torch.no_grad():
            model.eval()(TOKENS)  # which keeps the W of bf16 products
            folded = fold(model)
    assert {parameter.dtype for parameter in folded.parameters()} == {torch.float32}
    torch.testing.assert_close(folded(TOKENS), expected(TOKENS), rtol=1e-4, atol=1e-5)


def test_fold_has_what_the_factors_hold_now():
    model = nn.Sequential(FactorizedLinear(8, 8, rank=2)).eval()
    with torch.no_grad():
        model(torch.ones(1, 8))
        for factor in model.parameters():
            factor.data.mul_(2)  # which torch does not count as a change
        expected = model[0].factors.materialize()
        assert torch.equal(fold(model)[0].weight, expected)


@pytest.mark.parametrize("plan", ["layers.0.*=8", "layers.1.*=8", "*=8"])
def test_an_encoder_of_torch_drops_its_padding(plan):
    """It then gives its layers nested tensors."""
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 2).eval()
    x, padding = torch.randn(2, 5, 16), torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    factorize(model, Plan.parse(plan), init="project")
    with torch.no_grad():
        found = model(x, src_key_padding_mask=padding)
        expected = fold(model)(x, src_key_padding_mask=padding)
    torch.testing.assert_close(found[~padding], expected[~padding], rtol=1e-4, atol=1e-5)


def test_lookups_in_nested_tensors():
    index = torch.nested.nested_tensor(
        [torch.tensor([1, 2]), torch.tensor([3])], layout=torch.jagged
    )
    table = FactorizedEmbedding(50, 8, rank=2)
    found = table(index)
    torch.testing.assert_close(found.values(), table(index.values()))


@pytest.mark.parametrize(
    "plan, message",
    [
        ("*=4,layer.0=2", "'layer.0=2' matches no matrix.*embed"),
        ("*=4,layers.0=1000", r"layers.0=1000' \(layers.0\): rank 1000 .* 32 x 32 .* 1 to"),
        ("*=0", "rank 0"),
        ("layers.1=monarch:2/blocks=40", r"\(layers.1\): blocks=40 .* 32 x 32 .*: choose 0 to 32"),
        ("layers.1=word2ket:1", r"\(layers.1\): word2ket is for embeddings .*, word2ketxs$"),
    ],
)
def test_an_error_names_the_rule_and_leaves_the_model_alone(plan, message):
    model = Tagger()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ShapeshifterError, match=message):
        factorize(model, Plan.parse(plan))
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(model.state_dict()[name], before[name]) for name in before)


@pytest.mark.parametrize(
    "make, message",
    [
        (partial(nn.Linear, 0, 5), r"\(0\): a 5 x 0 matrix holds no numbers"),
        (partial(nn.Linear, 4, 4, dtype=torch.complex64), "^0: factors are real .* rule 0=dense$"),
    ],
)
def test_a_matrix_that_cannot_be_factors_is_named(make, message):
    with warnings.catch_warnings(action="ignore"):  # torch's, about layers without numbers
        model = nn.Sequential(make())
    with pytest.raises(ShapeshifterError, match=message):
        factorize(model, Plan.parse("*=1"))


def test_dtype_and_mode_are_kept():
    model = factorize(Tagger().bfloat16().eval(), Plan.parse("*=4"))
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert not any(module.training for module in model.modules())


def test_fold_computes_the_same_with_ordinary_layers():
    model = factorized().eval()
    with torch.no_grad():
        expected = model(TOKENS)
    folded = fold(model)
    assert folded is model
    assert type(model.embed) is nn.Embedding and type(model.output) is nn.Linear
    assert model.output.weight is model.embed.weight
    assert model.embed_again is model.embed
    torch.testing.assert_close(model(TOKENS), expected)
    assert model.embed.weight[1].abs().max() == 0
    assert set(model.state_dict()) == set(Tagger().state_dict())


def test_a_model_that_is_one_layer():
    layer = factorize(nn.Linear(16, 16), Plan.parse("*=2"))
    assert isinstance(layer, FactorizedLinear)
    assert type(fold(layer)) is nn.Linear


def test_it_learns():
    torch.manual_seed(0)
    model = factorized("*=8")
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(60):
        loss = nn.functional.cross_entropy(model(TOKENS).flatten(0, 1), TOKENS.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]


def test_a_rank_at_most_is_the_largest_that_fits():
    model = nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 9))
    spec = Spec(5, Family("low_rank"), at_most=True)
    factorize(model, Plan((Rule("*", spec, "a rule"), Rule("1", Spec(3, spec.family), "another"))))
    assert [layer.factors.rank for layer in model] == [4, 3]
    wrong = Spec(5, Family("monarch", {"blocks": 7}), at_most=True)
    with pytest.raises(ShapeshifterError, match=r"^a rule \(0\): blocks=7 does not fit"):
        factorize(nn.Sequential(nn.Linear(6, 4)), Plan((Rule("*", wrong, "a rule"),)))
