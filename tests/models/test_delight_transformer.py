"""DeLighT: its counts and shapes as measured on the authors' code, and what its parts compute."""

from __future__ import annotations

import math
from argparse import Namespace
from collections import Counter

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from shapeshifter_fairseq import Plan, ShapeshifterError, cli, factorize, fold
from shapeshifter_fairseq.fairseq_side.counting import build_models, count, task_with
from shapeshifter_fairseq.matrices import matrices
from shapeshifter_fairseq.models.delight_transformer import DelightTransformerModel
from shapeshifter_fairseq.models.delight_units import (
    DExTra,
    GroupLinear,
    SentenceDropout,
    group_sizes,
)

# A model that has every kind of layer, and units of an odd and an even depth.
SMALL = "--encoder-embed-dim 64 --delight-min-depth 3 --delight-max-depth 4 --encoder-layers 2 "
SMALL = (SMALL + "--decoder-layers 2").split()
TIED = "--share-decoder-input-output-embed"

# Two sentences, the first longer: source, its lengths, target so far. 1 is the padding.
SOURCE = torch.tensor([[5, 6, 7, 8, 2], [1, 1, 8, 9, 2]])
BATCH = (SOURCE, torch.tensor([5, 3]), torch.tensor([[2, 5, 6, 7], [2, 7, 1, 1]]))


def build(*options: str, arch: str = "delight_transformer", target: int = 50) -> nn.Module:
    torch.manual_seed(1)
    return build_models(arch, 60, target, target == 60, options)[1]


def small(*options: str) -> nn.Module:
    """The small model with biases and gains that are not those of the start."""
    model = build(*SMALL, *options)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() != 2:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


# --- counts and shapes of the authors' code -----------------------------------------------------

# Width: parameters of the encoder's blocks, and what a block of the decoder has beside that.
BLOCKS = {
    128: ([88416, 93624, 98468, 102132, 140968, 147952, 153584, 203896], 33344),
    256: ([348864, 366024, 348684, 359908, 442692, 460820, 451988, 555248], 132224),
    384: ([781344, 817240, 776612, 808290, 984448, 1034340, 937082, 1066336], 296640),
}
EMBEDDING_UNIT = {128: 85696, 256: 215680, 384: 407104}


@pytest.mark.parametrize("width", BLOCKS)
def test_each_block_has_the_authors_parameters(width):
    with torch.device("meta"):
        model = build("--encoder-embed-dim", str(width), TIED)
    blocks, more = BLOCKS[width]
    assert [size(block) for block in model.encoder.layers] == blocks
    assert [size(block) for block in model.decoder.layers] == [count + more for count in blocks]
    for side in (model.encoder, model.decoder):
        assert size(side.embed_tokens.unit) == EMBEDDING_UNIT[width]
        assert tuple(side.embed_tokens.weight.shape[1:]) == (128,)
    projection = model.decoder.project_out_dim
    assert (projection is None) == (width == 128)
    assert projection is None or tuple(projection.weight.shape) == (128, width)


# The first encoder block, 128 wide. The authors have one matrix of (192, 64) and a bias of 192 for
# queries, keys and values; fairseq has three of each.
SHAPES = {
    (128, 32): 1, (128, 64): 1, (128,): 6, (192, 64): 1, (192,): 1, (2, 1, 32): 2,
    (2, 160, 32): 1, (2, 32, 32): 1, (32, 128): 1, (32,): 5, (4, 1, 64): 2, (4, 32, 64): 1,
    (4, 80, 64): 1, (64, 128): 2, (64,): 10,
}  # fmt: skip


def test_the_first_blocks_tensors_have_the_authors_shapes():
    with torch.device("meta"):
        block = build("--encoder-embed-dim", "128").encoder.layers[0]
    expected = Counter(SHAPES) - Counter([(192, 64), (192,)])
    expected += Counter({(64, 64): 3, (64,): 3})
    assert Counter(tuple(parameter.shape) for parameter in block.parameters()) == expected


@pytest.mark.parametrize(
    "inner, widest, outputs, depth, most, expected",
    [
        (128, 512, 128, 4, 8, "128 128 2, 256 512 4, 640 512 4, 640 128 2"),
        (128, 2.286 * 256, 128, 5, 8, "128 128 2, 256 360 4, 488 592 8, 720 360 4, 488 128 2"),
        (
            *(192, 3 * 384, 192, 8, 16),
            "192 192 2, 384 512 4, 704 832 8, 1024 1152 16, 1344 1152 16, 1344 832 8, "
            "1024 512 4, 704 192 2",
        ),
        (192, 256, 384, 4, 16, "192 192 2, 384 256 4, 448 256 4, 448 384 2"),  # embedding
        (64, 128, 128, 1, 4, "64 128 2"),
        (64, 128, 128, 2, 1, "64 64 1, 128 128 1"),
    ],
)
def test_group_layers_of_a_unit(inner, widest, outputs, depth, most, expected):
    found = group_sizes(inner, widest, outputs, depth, most)
    assert ", ".join(" ".join(map(str, sizes)) for sizes in found) == expected


@pytest.mark.parametrize(
    "arch, source, target, options, total",
    [
        ("iwslt", 8848, 6632, "", 14_323_944),
        ("wmt16", 34976, 34976, "", 22_124_792),
        ("wmt14", 44512, 44512, "", 36_863_116),
        ("wmt14", 44512, 44512, "--encoder-embed-dim 640", 54_135_564),  # rounds a multiplier
        ("iwslt", 8848, 6632, "--encoder-embed-dim 384 --delight-max-depth 6", 14_553_100),
        ("iwslt", 8848, 6632, "--encoder-embed-dim 256 --delight-max-depth 10", 13_503_372),
    ],
)
def test_totals_of_the_architectures(arch, source, target, options, total):
    arch = f"delight_transformer_{arch}"
    counts = count(arch, source, target, source == target, options.split())
    assert counts["total"] == counts["dense_total"] == total


@pytest.mark.parametrize(
    "arch, expected",
    [("iwslt", (0.19, 0.06, 0.06)), ("wmt16", (0.11, 0.04, 0.08)), ("wmt14", (0.15, 0.05, 0))],
)
def test_dropouts_follow_from_the_width(arch, expected):
    with torch.device("meta"):
        model = build(arch=f"delight_transformer_{arch}", target=60)
    block = model.decoder.layers[0]
    dropouts = (block.dropout_module.p, block.self_attn.dropout_module.p)
    assert (*dropouts, block.self_attn.unit.first[-1].p) == expected
    assert block.encoder_attn.dropout_module.p == expected[1]
    assert model.encoder.dropout_module.p == model.encoder.embed_tokens.dropout_module.p == 0.1


# --- what the parts compute ---------------------------------------------------------------------


def by_hand(layer: GroupLinear, x: list[torch.Tensor]) -> torch.Tensor:
    """A group-linear layer on the slices of one vector, position by position."""
    made = [part @ weight + bias[0] for part, weight, bias in zip(x, layer.weight, layer.bias)]
    shuffled = torch.stack([part[c] for c in range(len(made[0])) for part in made])
    norm, each = layer.layer_norm, len(made[0])
    y = []
    for part in shuffled.split(each):
        centred = part - part.mean()
        scaled = centred / (centred.square().mean() + 1e-5).sqrt() * norm.weight + norm.bias
        y.append(scaled / (1 + torch.exp(-scaled)))
    return torch.cat(y)


def test_a_unit_computes_what_the_description_says():
    torch.manual_seed(1)
    unit = DExTra(128, 64, 128, depth=5, multiplier=2.286, dropout=0.5).double().eval()
    for parameter in unit.parameters():
        nn.init.normal_(parameter, std=0.3)
    x = torch.randn(2, 3, 128, dtype=torch.double)
    found = unit(x)
    with torch.no_grad():
        projected = unit.first(x)[1, 2]
        y = None
        for layer in unit.group_layers:
            parts = projected.chunk(layer.groups)
            if y is not None:
                parts = [torch.cat(both) for both in zip(parts, y.chunk(layer.groups))]
            y = by_hand(layer, parts)
        torch.testing.assert_close(found[1, 2], unit.last(torch.cat([projected, y])))
    assert [layer.groups for layer in unit.group_layers] == [2, 4, 4, 4, 2]


def test_embeddings_and_attention_of_a_block():
    model = small(TIED).eval()
    encoder, decoder = model.encoder, model.decoder
    x, embedded = encoder.forward_embedding(SOURCE)
    table = encoder.embed_tokens.table(SOURCE) * math.sqrt(128)
    torch.testing.assert_close(embedded, encoder.embed_tokens.unit(table))
    torch.testing.assert_close(x, embedded + encoder.embed_positions(SOURCE))
    attention = decoder.layers[1].encoder_attn
    assert (attention.num_heads, attention.head_dim) == (1, 32)
    assert decoder.output_projection.weight is decoder.embed_tokens.table.weight
    assert encoder.embed_tokens.table is not decoder.embed_tokens.table
    # A block in full: a unit before self-attention, post-norm, Swish in a narrow feed-forward.
    block, x = encoder.layers[1], torch.randn(3, 1, 64)
    q, k, v = (
        getattr(block.self_attn, f"{name}_proj")(block.self_attn.unit(x))[:, 0] for name in "qkv"
    )
    mixed = block.self_attn.out_proj((q @ k.T / math.sqrt(32)).softmax(-1) @ v)
    y = block.self_attn_layer_norm(x[:, 0] + mixed)
    inner = block.fc1(y)
    y = block.final_layer_norm(y + block.fc2(inner * inner.sigmoid()))
    torch.testing.assert_close(block(x, None)[:, 0], y)
    assert block.fc1.out_features == 16


def test_embeddings_have_one_dropout_mask_a_sentence():
    found = SentenceDropout(0.5).train()(torch.ones(4, 7, 32))
    assert set(found.unique().tolist()) == {0, 2}
    assert (found == found[:, :1]).all() and not (found == found[:1]).all()


@pytest.mark.parametrize("options", [[], [TIED], ["--decoder-embed-dim", "96"]])
def test_gradients_reach_every_parameter(options):
    model = small(*options).train()
    model(*BATCH)[0].logsumexp(-1).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        if not name.endswith("k_proj.bias"):  # softmax does not see it
            assert parameter.grad.abs().sum() > 0, name


def test_the_decoder_sees_no_later_token_and_decodes_one_by_one():
    model = small(TIED).eval()
    encoded = model.encoder(*BATCH[:2])
    tokens = torch.tensor([[2, 5, 6, 7], [2, 7, 8, 9]])
    full, _ = model.decoder(tokens, encoded)
    other = tokens.clone()
    other[:, 2:] = 11
    torch.testing.assert_close(model.decoder(other, encoded)[0][:, :2], full[:, :2])
    assert not torch.allclose(model.decoder(other, encoded)[0][:, 2], full[:, 2])
    state: dict = {}
    with torch.no_grad():
        steps = [
            model.decoder(tokens[:, :length], encoded, incremental_state=state)[0]
            for length in (1, 2, 3, 4)
        ]
    torch.testing.assert_close(torch.cat(steps, 1), full, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("training", [False, True])
def test_padding_changes_nothing(training):
    none = "--dropout 0 --attention-dropout 0 --delight-dropout 0 --delight-embed-dropout 0"
    model = small(TIED, *none.split()).train(training)
    together, _ = model(*BATCH)
    alone, _ = model(SOURCE[1:, 2:], torch.tensor([3]), BATCH[2][1:, :2])
    torch.testing.assert_close(together[1:, :2], alone, rtol=1e-4, atol=1e-5)


def test_checkpointed_activations_and_layerdrop():
    none = "--dropout 0 --attention-dropout 0 --delight-dropout 0 --delight-embed-dropout 0"
    found = []
    for more in ([], ["--checkpoint-activations"]):
        model = small(TIED, *none.split(), *more)
        model(*BATCH)[0].square().mean().backward()
        found.append({name: weight.grad for name, weight in model.named_parameters()})
    torch.testing.assert_close(found[0], found[1])
    dropping = small(TIED, "--encoder-layerdrop", "0.9", "--decoder-layerdrop", "0.9")
    assert size(dropping) == size(model)
    dropping(*BATCH)


# --- factors, and what is refused ---------------------------------------------------------------


def test_factorize_reaches_all_but_the_group_linear_layers():
    model = small(TIED)
    in_groups = sum(size(each) for each in model.modules() if isinstance(each, GroupLinear))
    reached = sum(matrix.weight.numel() for matrix in matrices(model))
    vectors = sum(p.numel() for p in model.parameters() if p.dim() == 1)
    assert reached == sum(p.numel() for p in model.parameters() if p.dim() == 2)
    factorize(model, Plan.parse("*=2,*table=8"))
    assert in_groups < size(model) < in_groups + vectors + reached / 2
    assert in_groups == sum(size(each) for each in model.modules() if isinstance(each, GroupLinear))
    assert model.decoder.output_projection.factors is model.decoder.embed_tokens.table.factors
    model(*BATCH)[0].logsumexp(-1).square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    with torch.no_grad():
        expected, _ = model.eval()(*BATCH)
        torch.testing.assert_close(fold(model)(*BATCH)[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "options, message",
    [
        ("--quant-noise-pq 0.1", "--quant-noise-pq does not work with DeLighT: "),
        ("--decoder-layers-to-keep 0,1", "--decoder-layers-to-keep does not work .*differ in size"),
        ("--cross-self-attention", "--cross-self-attention does not work with DeLighT"),
        ("--ddp-backend fully_sharded", "--ddp-backend fully_sharded does not work"),
        ("--encoder-embed-dim 100", "--encoder-embed-dim 100: .*take a multiple of 32"),
        ("--decoder-embed-dim 544", "--decoder-embed-dim 544: .*of 64 up to 1024"),
        ("--decoder-output-dim 64", "--decoder-output-dim 64: leave it out"),
        ("--delight-min-depth 9", "--delight-min-depth 9 --delight-max-depth 4: "),
        ("--share-all-embeddings", "run fairseq-preprocess with --joined-dictionary"),
    ],
)
def test_mistakes_are_one_line(options, message):
    with pytest.raises(ShapeshifterError, match=message) as error:
        build(*SMALL, *options.split())
    assert len(str(error.value).splitlines()) == 1


def test_params_says_that_there_are_no_ranks(capsys):
    call = ["params", "--arch", "delight_transformer_tiny", "--vocab", "60"]
    assert cli.main([*call, "--percent", "20"]) == 2
    error = capsys.readouterr().err
    assert (
        "--arch delight_transformer_tiny does not have both" in error
        and len(error.splitlines()) == 1
    )
    assert cli.main([*call[:2], "delight", *call[3:]]) == 2
    assert "delight_transformer_iwslt, " in capsys.readouterr().err


def test_a_checkpoint_of_another_model_is_explained():
    with pytest.raises(ShapeshifterError, match="is of another model: use the dictionaries"):
        small().load_state_dict(small("--delight-width-multiplier", "3").state_dict())


@pytest.mark.parametrize("kept_as", [lambda given: Namespace(**given), OmegaConf.create])
def test_an_older_checkpoint_has_not_all_options(kept_as):
    task = task_with(60, 50, joined=False)
    kept = kept_as({"encoder_embed_dim": 64, "encoder_layers": 1})
    model = DelightTransformerModel.build_model(kept, task)
    assert model.args.delight_max_depth == len(model.decoder.layers) == 8
