"""The fairseq model: the architectures' parameter counts, and what they are made of."""

from argparse import Namespace

import pytest
import torch
from fairseq import options
from fairseq.models import ARCH_MODEL_REGISTRY
from fairseq.modules import MultiheadAttention
from torch import nn

from shapeshifter_fairseq import (
    FactorizedEmbedding,
    FactorizedLinear,
    ShapeshifterError,
    ShapeshifterTransformerModel,
)
from shapeshifter_fairseq.factorizations import FAMILIES, cost, kronecker, multiplying
from shapeshifter_fairseq.fairseq_side.counting import build_models, count, task_with
from shapeshifter_fairseq.fairseq_side.factorized_model import FactorizedModel

# Millions in the dissertation's tables 5b, 6 and 7: total, encoder/decoder, embedding; dense total.
TABLES = [
    ("shapeshifter_transformer_iwslt", 8848, 6632, False, 9.3, 7.2, 2.1, 39.5),
    ("shapeshifter_transformer_wmt16", 34976, 34976, True, 5.4, 3.1, 2.2, 62.0),
    ("shapeshifter_transformer_wmt14", 44512, 44512, True, 10.7, 8.2, 2.5, None),
]


@pytest.mark.parametrize("arch, source, target, joined, total, blocks, embedding, dense", TABLES)
def test_counts_of_the_paper(arch, source, target, joined, total, blocks, embedding, dense):
    counts = count(arch, source, target, joined, [])
    assert counts["total"] / 1e6 == pytest.approx(total, rel=0.04)
    assert counts["encoder_decoder"] / 1e6 == pytest.approx(blocks, rel=0.04)
    assert counts["embedding"] / 1e6 == pytest.approx(embedding, rel=0.04)
    if dense is not None:
        assert counts["dense_total"] / 1e6 == pytest.approx(dense, rel=0.01)
    assert counts["percent"] == pytest.approx(
        100 * counts["total"] / counts["dense_total"], abs=0.01
    )
    assert counts["fold"] == pytest.approx(counts["dense_total"] / counts["total"], abs=0.01)


@pytest.mark.parametrize("types", [1000, 2000, 4000, 8000])
def test_tiny_has_at_most_a_fifth_of_the_dense_model(types):
    assert count("shapeshifter_transformer_tiny", types, types, True, [])["percent"] <= 20


def test_dense_plan_is_fairseqs_own_transformer():
    size = "--encoder-layers 4 --decoder-layers 4 --encoder-embed-dim 128 "
    size += "--encoder-ffn-embed-dim 256 --share-all-embeddings"
    stock = count("transformer", 4000, 4000, True, size.split())
    assert (
        count("shapeshifter_transformer_tiny", 4000, 4000, True, [])["dense_total"]
        == stock["total"]
    )


@pytest.mark.parametrize(
    "ties", ["", "--share-decoder-input-output-embed", "--share-all-embeddings"]
)
def test_every_matrix_is_factorized(ties):
    _, model, _ = build_models("shapeshifter_transformer", 1000, 1000, True, ties.split())
    for name, module in model.named_modules():
        assert type(module) not in (nn.Linear, nn.Embedding), name
    factorized = (FactorizedLinear, FactorizedEmbedding)
    layers = [module for module in model.modules() if isinstance(module, factorized)]
    tables = 2 if ties == "--share-all-embeddings" else 3  # embedding modules, and the output
    assert len(layers) == 6 * 6 + 6 * 10 + tables
    assert {layer.factors.rank for layer in layers} == {64, 256}


# A sum over the layers by hand: 6 blocks of encoder and of decoder, 512 wide, FFN of 2048.
BASE_SHAPES = [(512, 512)] * (6 * 4 + 6 * 8) + [(2048, 512), (512, 2048)] * 12


@pytest.mark.parametrize(
    "arch, of_a_matrix, embedding",
    [
        ("lowrank_transformer_wmt14", lambda n, m: 64 * (n + m), 256 * (1000 + 512)),
        ("lowrank_transformer_wmt16", lambda n, m: 24 * (n + m), 256 * (1000 + 512)),
        ("phm_transformer_wmt14", lambda n, m: 16**3 + n * m // 16, 1000 * 512),
        ("phm_transformer_wmt16", lambda n, m: 16**3 + n * m // 16, 1000 * 512),
    ],
)
def test_counts_of_the_comparisons(arch, of_a_matrix, embedding):
    counts = count(arch, 1000, 1000, True, [])
    assert counts["embedding"] == embedding
    dense = count("shapeshifter_transformer_wmt14", 1000, 1000, True, [])["dense_total"]
    assert counts["dense_total"] == dense
    saved = sum(n * m - of_a_matrix(n, m) for n, m in BASE_SHAPES)
    assert counts["encoder_decoder"] == dense - 1000 * 512 - saved


def test_phm_is_of_the_size_that_the_dissertation_found():
    """Table 4: 3.2 million beside the embeddings, in a Transformer without biases (T5)."""
    counts = count("phm_transformer_wmt14", 1000, 1000, True, [])
    assert counts["encoder_decoder"] / 1e6 == pytest.approx(3.2, rel=0.04)


@pytest.mark.parametrize("family", ["lowrank", "phm"])
@pytest.mark.parametrize("size", ["iwslt", "tiny"])
def test_comparisons_have_the_sizes_of_shapeshifters(family, size):
    ours = count(f"shapeshifter_transformer_{size}", 500, 500, True, [])
    theirs = count(f"{family}_transformer_{size}", 500, 500, True, [])
    assert theirs["dense_total"] == ours["dense_total"] > theirs["total"]


def test_low_rank_tiny_has_shapeshifters_parameters():
    ours, theirs = (
        count(f"{name}_transformer_tiny", 4000, 4000, True, [])["total"]
        for name in ("shapeshifter", "lowrank")
    )
    assert theirs == pytest.approx(ours, rel=0.02)


@pytest.mark.parametrize(
    "family, layer_rank, embed_rank",
    [
        ("low_rank", 8, 50),
        ("block_low_rank", 2, 12),
        ("block_low_rank/blocks=2/column_blocks=4", 2, 12),
        ("monarch/blocks=2", 4, 24),
        ("phm", 8, 8),
        ("tensor_train/cores=2", 4, 30),
        ("word2ketxs/order=3", 10, 100),
    ],
)
def test_every_family_by_one_option(family, layer_rank, embed_rank):
    ranks = ["--layer-rank", str(layer_rank), "--embed-rank", str(embed_rank)]
    options = ["--factorization", family, *ranks]
    _, model, _ = build_models("shapeshifter_transformer_tiny", 500, 500, True, options)
    layers = [
        module
        for module in model.modules()
        if isinstance(module, (FactorizedLinear, FactorizedEmbedding))
    ]
    name, *chosen = family.split("/")
    assert {type(layer.factors) for layer in layers} == {FAMILIES[name]}
    for option in chosen:
        key, value = option.split("=")
        assert {layer.factors.chosen[key] for layer in layers} == {int(value)}
    counts = count("shapeshifter_transformer_tiny", 500, 500, True, options)
    assert counts["embedding"] == FAMILIES[name].parameter_count(
        500, 128, embed_rank, **layers[0].factors.chosen
    )


@pytest.mark.parametrize(
    "options, message",
    [
        ("--factorization monrch", "--factorization monrch: there is no family 'monrch'; known: "),
        ("--factorization phm/blocks=2", "phm has no option 'blocks'; known: none"),
        ("--factorization monarch/block=2", r"no option 'block'; known: blocks \(default 4\)"),
        ("--factorization monarch/blocks=900", r"monarch/blocks=900 --embed.*blocks=900 .* 0 to"),
        (
            "--factorization word2ket --embed-rank 4",
            r"--layer-rank <=7 .* word2ket is for embeddings",
        ),
        ("--factorization low_rank --embed-rank 600", "--embed-rank 600 .*choose 1 to 128"),
    ],
)
def test_mistakes_about_families_are_explained(options, message):
    with pytest.raises(ShapeshifterError, match=message) as error:
        build_models("shapeshifter_transformer_tiny", 500, 500, True, options.split())
    assert len(str(error.value).splitlines()) == 1


def test_a_default_rank_is_lowered_to_what_fits_and_it_is_said_once(caplog):
    caplog.set_level("INFO", "shapeshifter_fairseq")
    narrow = ["--encoder-embed-dim", "128", "--encoder-ffn-embed-dim", "4"]
    _, model, _ = build_models("shapeshifter_transformer_tiny", 100, 100, True, narrow)
    assert model.encoder.embed_tokens.factors.rank == 80
    assert model.encoder.layers[0].fc1.factors.rank == 7
    (line,) = caplog.messages
    assert line.endswith("--embed-rank <=150 does not fit and is lowered to 80 for 100 x 128")


def test_a_rank_that_is_given_is_not_lowered():
    for given in (["--embed-rank", "81"], ["--factor-plan", "*embed_tokens=81"]):
        with pytest.raises(ShapeshifterError, match="81.* does not fit a 100 x 128 matrix"):
            build_models("shapeshifter_transformer_tiny", 100, 100, True, given)
    with pytest.raises(ShapeshifterError, match="--embed-rank <=0 .*rank 0 does not fit"):
        build_models("shapeshifter_transformer_tiny", 100, 100, True, ["--embed-rank", "<=0"])


OURS = sorted(
    name for name, model in ARCH_MODEL_REGISTRY.items() if issubclass(model, FactorizedModel)
)


@pytest.mark.parametrize("arch", OURS)
def test_every_architecture_takes_a_small_dictionary(arch):
    small = ["--encoder-layers", "1", "--decoder-layers", "1", "--encoder-embed-dim", "16"]
    small += ["--decoder-embed-dim", "16"]
    if "lstm" not in arch:
        small += ["--encoder-ffn-embed-dim", "24", "--decoder-ffn-embed-dim", "24"]
    counts = count(arch, 30, 30, True, small)
    assert counts["total"] > 0


def test_plan_reaches_single_matrices():
    plan = ["--factor-plan", "decoder.layers.0.*=8,encoder.layers.*.fc?=dense"]
    _, model, _ = build_models("shapeshifter_transformer_tiny", 500, 500, True, plan)
    assert model.decoder.layers[0].fc1.factors.rank == 8
    assert model.decoder.layers[1].fc1.factors.rank == 7
    assert type(model.encoder.layers[2].fc2) is nn.Linear


def test_unknown_architectures_are_named():
    with pytest.raises(ShapeshifterError, match="--arch nonsense.*shapeshifter_transformer_iwslt"):
        count("nonsense", 50, 50, True, [])


@pytest.mark.parametrize(
    "option, value", [("mha_heads_to_keep", 2), ("ddp_backend", "fully_sharded")]
)
def test_what_fairseq_has_no_plain_command_for_is_refused_too(option, value):
    with pytest.raises(ShapeshifterError, match="--" + option.replace("_", "-")):
        ShapeshifterTransformerModel.refuse_what_cannot_work(
            Namespace(**{option: value}), task=None
        )


@pytest.mark.parametrize("ties", ["--share-all-embeddings", "--share-decoder-input-output-embed"])
def test_a_shared_table_has_the_gradients_of_separate_uses(ties, monkeypatch):
    options = [*"--encoder-layers 1 --decoder-layers 1 --dropout 0".split(), ties]
    torch.manual_seed(1)
    _, model, _ = build_models("shapeshifter_transformer_tiny", 300, 300, True, options)
    tokens = torch.randint(4, 300, (3, 7))
    factors = model.decoder.embed_tokens.factors
    built = []
    build = factors._materialize
    monkeypatch.setattr(factors, "_materialize", lambda *sides: built.append(1) or build(*sides))

    def gradients():
        logits, _ = model(tokens, torch.full((3,), 7), tokens)
        assert factors._builder is None
        return torch.autograd.grad(logits.square().mean(), list(model.parameters()))

    shared = gradients()
    assert len(built) == 1
    monkeypatch.setattr(cost, "TABLE", 0)  # no table is small
    torch.testing.assert_close(gradients(), shared)
    assert len(built) == 2  # again for the output, for no lookup


LONG = torch.full((3,), 7)


def one_block_each(*options: str) -> nn.Module:
    torch.manual_seed(1)
    small = "--encoder-layers 1 --decoder-layers 1 --dropout 0 --attention-dropout 0".split()
    arch = "shapeshifter_transformer_tiny"
    return build_models(arch, 300, 300, True, [*small, *options])[1]


def test_attention_of_a_cheap_family_multiplies_no_weight_out(monkeypatch):
    model = one_block_each("--factorization", "monarch", "--layer-rank", "2", "--embed-rank", "8")
    tokens = torch.randint(4, 300, (60, 7))
    tokens[0, 4:] = model.encoder.padding_idx
    attention = [module for module in model.modules() if isinstance(module, MultiheadAttention)]
    assert [each.skip_embed_dim_check for each in attention] == [True] * 3

    def outputs_and_gradients():
        logits, _ = model(tokens, torch.full((60,), 7), tokens)
        return [logits, *torch.autograd.grad(logits.square().mean(), list(model.parameters()))]

    with monkeypatch.context() as patch:
        for layer in (*model.encoder.layers.modules(), *model.decoder.layers.modules()):
            if isinstance(layer, FactorizedLinear):
                patch.setattr(layer.factors, "materialize_from", None)
        found = outputs_and_gradients()
    for each in attention:
        each.skip_embed_dim_check = False
    torch.testing.assert_close(found, outputs_and_gradients(), rtol=1e-3, atol=1e-5)


def test_attention_is_torchs_own_where_that_is_cheaper(monkeypatch):
    def ways(model: nn.Module) -> set[bool]:
        layers = [module for module in model.modules() if isinstance(module, MultiheadAttention)]
        return {layer.skip_embed_dim_check for layer in layers}

    assert ways(one_block_each()) == {False}
    monarch = one_block_each("--factorization", "monarch", "--layer-rank", "4", "--embed-rank", "8")
    assert ways(monarch) == {True}
    with monkeypatch.context() as patch:
        patch.setattr(multiplying, "is_gpu", lambda device: True)
        assert ways(monarch.float()) == {False}  # as .cuda() would find it
    assert ways(monarch.float()) == {True}
    monarch.make_generation_fast_()
    assert ways(monarch) == {False}


@pytest.mark.parametrize("small", [True, False])
def test_checkpointed_activations_have_the_same_gradients(small, monkeypatch):
    if not small:  # W built again for the backward pass, a block at a time
        monkeypatch.setattr(cost, "BLOCK", 8192)
        monkeypatch.setattr(cost, "TABLE", 8192)
        monkeypatch.setattr(kronecker, "WORTH_BUILDING_AGAIN", 0)
    options = "--encoder-layers 1 --decoder-layers 1 --dropout 0 --share-all-embeddings".split()
    tokens = torch.randint(4, 300, (3, 7))
    found = []
    for more in ([], ["--checkpoint-activations"]):
        torch.manual_seed(1)
        _, model, _ = build_models("shapeshifter_transformer_tiny", 300, 300, True, options + more)
        logits, _ = model(tokens, torch.full((3,), 7), tokens)
        logits.square().mean().backward()
        found.append({name: weight.grad for name, weight in model.named_parameters()})
    torch.testing.assert_close(found[0], found[1])


def test_a_model_that_only_generates_has_ordinary_layers():
    options = "--encoder-layers 1 --decoder-layers 1".split()
    _, model, _ = build_models("shapeshifter_transformer_tiny", 300, 300, True, options)
    tokens = torch.randint(4, 300, (3, 7))
    with torch.no_grad():
        expected, _ = model.eval()(tokens, torch.full((3,), 7), tokens)
        model.make_generation_fast_()
        found, _ = model(tokens, torch.full((3,), 7), tokens)
    torch.testing.assert_close(found, expected)
    factorized = (FactorizedLinear, FactorizedEmbedding)
    assert not any(isinstance(module, factorized) for module in model.modules())
    assert model.decoder.embed_tokens.weight is model.decoder.output_projection.weight


def test_a_model_that_only_generates_keeps_what_is_faster_in_factors():
    wide = "--encoder-embed-dim 256 --decoder-embed-dim 256 --encoder-ffn-embed-dim 512"
    options = ["--factorization", "low_rank", "--layer-rank", "8", "--embed-rank", "8"]
    model = one_block_each(*wide.split(), "--decoder-ffn-embed-dim", "512", *options).eval()
    tokens = torch.randint(4, 300, (3, 7))
    with torch.no_grad():
        expected, _ = model(tokens, LONG, tokens)
        model.make_generation_fast_()
        found, _ = model(tokens, LONG, tokens)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    assert isinstance(model.decoder.layers[0].fc1, FactorizedLinear)
    assert type(model.decoder.embed_tokens) is nn.Embedding
    assert type(model.decoder.output_projection) is nn.Linear


@pytest.mark.parametrize("ties", ["", "--share-all-embeddings"])
@pytest.mark.parametrize("family", ["kronecker", "monarch/blocks=2"])
def test_a_model_that_only_generates_loads_checkpoints_in_factors(family, ties):
    """As `from_pretrained` returns it: its layers are folded, but not those faster in factors."""

    def build(rank: int = 2) -> ShapeshifterTransformerModel:
        ranks = ["--layer-rank", str(rank), "--embed-rank", "2", "--factorization", family]
        size = "--encoder-layers 1 --decoder-layers 1 --encoder-embed-dim 64"
        size += " --encoder-ffn-embed-dim 96"
        options = [*size.split(), *ranks, *ties.split()]
        return build_models("shapeshifter_transformer", 50, 50, True, options)[1].eval()

    model, other = build(), build()
    model.make_generation_fast_()
    model.make_generation_fast_()  # nothing more to fold
    checkpoint = other.state_dict()
    model.load_state_dict(checkpoint)
    assert checkpoint.keys() == other.state_dict().keys()
    tokens = torch.arange(4, 10).view(2, 3)
    with torch.no_grad():
        found, expected = (one(tokens, torch.tensor([3, 3]), tokens)[0] for one in (model, other))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    model.load_state_dict(model.state_dict())  # and its own
    with pytest.raises(ShapeshifterError, match="is of another model"):
        model.load_state_dict(build(rank=3).state_dict())


def parsed(arch: str, *arguments: str) -> Namespace:
    """As fairseq-train's, of a tiny model."""
    size = "--encoder-embed-dim 32 --decoder-embed-dim 32 --encoder-layers 1 --decoder-layers 1 "
    size += "--embed-rank 20"
    parser = options.get_training_parser()
    words = ["DATA", "--arch", arch, *size.split(), *arguments]
    return options.parse_args_and_arch(parser, words)


@pytest.mark.parametrize(
    "optimizer, gains",
    [
        *((name, (1, 1)) for name in ("sgd", "nag")),
        *((name, (2, 6)) for name in ("adam", "adamax", "adagrad", "adadelta", "adafactor")),
        *((name, (2, 6)) for name in ("lamb", "composite")),
    ],
)
def test_gains_go_with_the_optimizer(optimizer, gains):
    args = parsed("shapeshifter_transformer_tiny", "--optimizer", optimizer)
    assert (args.layer_gain, args.embed_gain) == gains
    args = parsed("word2ket_lstm_iwslt", "--optimizer", optimizer)
    assert args.embed_gain == gains[1]
    args = parsed("shapeshifter_transformer", "--optimizer", optimizer, "--layer-gain", "3")
    assert (args.layer_gain, args.embed_gain) == (3, gains[1])


def test_with_momentum_it_learns_at_the_rate_of_the_dense_model():
    def losses(*arguments: str) -> list[float]:
        torch.manual_seed(0)
        args = parsed("shapeshifter_transformer_tiny", "--layer-rank", "8", *arguments)
        args.dropout = 0.0
        model = ShapeshifterTransformerModel.build_model(args, task_with(45, 45, joined=True))
        sgd = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
        source = torch.randint(4, 45, (16, 6), generator=torch.Generator().manual_seed(1))
        target = (source - 3) % 41 + 4
        before = torch.cat([torch.full((16, 1), 2), target[:, :-1]], 1)
        found = []
        for _ in range(40):
            scores, _ = model(source, torch.full((16,), 6), before)
            loss = nn.functional.cross_entropy(scores.flatten(0, 1), target.flatten())
            sgd.zero_grad()
            loss.backward()
            sgd.step()
            found.append(loss.item())
        return found

    dense = losses("--factor-plan", "*=dense")
    ours = losses("--optimizer", "sgd")
    assert ours[0] > 4 and ours[-1] < 1.5 * dense[-1] < 3
    assert not losses("--optimizer", "adam")[-1] < 4  # with Adam's gains it diverges
