"""The fairseq model: the architectures' parameter counts, and what they are made of."""

from argparse import Namespace

import pytest
from torch import nn

from shapeshifter_fairseq import FactorizedEmbedding, FactorizedLinear, ShapeshifterError
from shapeshifter_fairseq.models.counting import build_models, count
from shapeshifter_fairseq.models.shapeshifter_transformer import _refuse_what_cannot_work

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


def test_plan_reaches_single_matrices():
    plan = ["--factor-plan", "decoder.layers.0.*=8,encoder.layers.*.fc?=dense"]
    _, model, _ = build_models("shapeshifter_transformer_tiny", 500, 500, True, plan)
    assert model.decoder.layers[0].fc1.factors.rank == 8
    assert model.decoder.layers[1].fc1.factors.rank == 10
    assert type(model.encoder.layers[2].fc2) is nn.Linear


def test_unknown_architectures_are_named():
    with pytest.raises(ShapeshifterError, match="--arch nonsense.*shapeshifter_transformer_iwslt"):
        count("nonsense", 50, 50, True, [])


@pytest.mark.parametrize(
    "option, value", [("mha_heads_to_keep", 2), ("ddp_backend", "fully_sharded")]
)
def test_what_fairseq_has_no_plain_command_for_is_refused_too(option, value):
    with pytest.raises(ShapeshifterError, match="--" + option.replace("_", "-")):
        _refuse_what_cannot_work(Namespace(**{option: value}), task=None)
