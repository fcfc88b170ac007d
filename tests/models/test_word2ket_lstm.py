"""The LSTM of word2ket's experiments: what is factorized, what is tied, and what is refused."""

import pytest
import torch
from fairseq.models.lstm import LSTMModel
from torch import nn

import shapeshifter_fairseq.models  # noqa: F401  (registers the architectures)
from shapeshifter_fairseq import FactorizedEmbedding, ShapeshifterError, fold
from shapeshifter_fairseq.factorizations import Word2Ket, Word2KetXS
from shapeshifter_fairseq.fairseq_side.counting import build_models, count

ARCH = "word2ket_lstm_iwslt"
SMALL = "--encoder-hidden-size 8 --decoder-hidden-size 8 --decoder-out-embed-dim 16 ".split()
SMALL += "--encoder-embed-dim 16 --decoder-embed-dim 16 --embed-rank 2".split()
TIED, ALL_TIED = "--share-decoder-input-output-embed", "--share-all-embeddings"

# A batch of two sentences, the first longer: source, its lengths, target so far. 1 is the padding.
SOURCE = torch.tensor([[5, 6, 7, 2], [1, 8, 9, 2]])
BATCH = (SOURCE, torch.tensor([4, 3]), torch.tensor([[2, 5, 6], [2, 7, 1]]))


def build(*options: str, joined: bool = True) -> tuple[nn.Module, nn.Module]:
    """The dense model and the factorized one, without dropout."""
    options = [*SMALL, "--dropout", "0", *options]
    dense, model, _ = build_models(ARCH, 60, 60 if joined else 50, joined, options)
    return dense, model


def test_it_is_the_dissertations_lstm():
    _, model, _ = build_models(ARCH, 60, 50)
    encoder, decoder = model.encoder, model.decoder
    assert encoder.lstm.bidirectional and encoder.lstm.num_layers == len(decoder.layers) == 1
    assert encoder.lstm.hidden_size == decoder.hidden_size == 256
    assert encoder.embed_tokens.embedding_dim == decoder.embed_tokens.embedding_dim == 256
    assert decoder.attention is not None and decoder.dropout_in_module.p == 0.2
    assert type(decoder.fc_out) is nn.Linear
    factors = [side.embed_tokens.factors for side in (encoder, decoder)]
    assert {type(each) for each in factors} == {Word2KetXS}
    assert [(each.n, each.order, each.rank) for each in factors] == [(60, 2, 10), (50, 2, 10)]


def test_a_wider_embedding_leaves_the_other_layers_as_they_are():
    wide = ["--encoder-embed-dim", "400", "--decoder-embed-dim", "400"]
    _, model, _ = build_models(ARCH, 60, 60, True, wide)
    assert model.encoder.lstm.input_size == 400
    assert model.encoder.lstm.hidden_size == model.decoder.hidden_size == 256


@pytest.mark.parametrize(
    "family, kind, of_a_table",
    [
        ("word2ketxs", Word2KetXS, lambda n, rank: rank * 2 * -int(-(n**0.5) // 1) * 4),
        ("word2ketxs/order=4", Word2KetXS, lambda n, rank: rank * 4 * 3 * 2),
        ("word2ket", Word2Ket, lambda n, rank: n * rank * 2 * 4),
        ("word2ket/order=4/norm=1", Word2Ket, lambda n, rank: n * rank * 4 * 2),
    ],
)
@pytest.mark.parametrize("rank", [1, 2])
def test_only_the_embeddings_are_factorized(family, kind, of_a_table, rank):
    chosen = ["--factorization", family, "--embed-rank", str(rank)]
    dense, model = build(*chosen, joined=False)
    found = {
        name: type(module.factors)
        for name, module in model.named_modules()
        if isinstance(module, FactorizedEmbedding)
    }
    assert found == {"encoder.embed_tokens": kind, "decoder.embed_tokens": kind}
    counts = count(ARCH, 60, 50, False, [*SMALL, *chosen])
    assert counts["embedding"] == of_a_table(60, rank) + of_a_table(50, rank) + (16 + 1) * 50
    assert counts["dense_total"] == sum(weight.numel() for weight in dense.parameters())
    assert counts["dense_total"] - counts["total"] == sum(
        n * 16 - of_a_table(n, rank) for n in (60, 50)
    )


@pytest.mark.parametrize("options", [["--embed-rank", "dense"], ["--factor-plan", "*=dense"]])
def test_dense_is_fairseqs_own_lstm(options):
    _, model = build(*options)
    stock = ["--encoder-bidirectional", *SMALL[:-2]]
    _, theirs, _ = build_models("lstm", 60, 60, True, stock)
    assert type(theirs) is LSTMModel
    shapes = {name: tensor.shape for name, tensor in theirs.state_dict().items()}
    assert {name: tensor.shape for name, tensor in model.state_dict().items()} == shapes


@pytest.mark.parametrize("family", ["word2ketxs/order=3", "word2ket/order=2/norm=1"])
@pytest.mark.parametrize("ties, tables", [([], 2), ([TIED], 2), ([ALL_TIED], 1)])
def test_ties_hold(ties, tables, family):
    _, model = build(*ties, "--factorization", family)
    factors = {id(side.embed_tokens.factors) for side in (model.encoder, model.decoder)}
    assert len(factors) == tables
    assert hasattr(model.decoder, "fc_out") == (not ties)
    logits, _ = model(*BATCH)
    assert logits.shape == (2, 3, 60)
    if ties:
        table = model.decoder.embed_tokens.weight
        features, _ = model.decoder.extract_features(BATCH[2], model.encoder(*BATCH[:2]))
        torch.testing.assert_close(logits, features @ table.T)
    logits.logsumexp(-1).sum().backward()
    for parameter in model.parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all()


@pytest.mark.parametrize("ties", [[], [ALL_TIED]])
def test_at_generation_w_is_built_once_and_says_what_training_says(ties):
    _, model = build(*ties)
    expected = model(*BATCH)[0].detach()
    model.eval()
    with torch.no_grad():
        torch.testing.assert_close(model(*BATCH)[0], expected)
        kept, encoded, state = model.decoder.embed_tokens.weight, model.encoder(*BATCH[:2]), {}
        steps = [  # one token after the other, as beam search does it
            model.decoder(BATCH[2][:, :length], encoded, incremental_state=state)[0]
            for length in (1, 2, 3)
        ]
        torch.testing.assert_close(torch.cat(steps, 1), expected)
        assert model.decoder.embed_tokens.weight is kept
    folded = fold(model)
    assert type(folded.decoder.embed_tokens) is nn.Embedding
    torch.testing.assert_close(folded(*BATCH)[0], expected)


def test_a_padding_token_has_the_zero_row():
    _, model = build()
    for side in (model.encoder, model.decoder):
        assert not side.embed_tokens(torch.tensor([1])).any()


@pytest.mark.parametrize(
    "options, message",
    [
        ("--encoder-embed-path x.txt", "--encoder-embed-path does not work"),
        ("--decoder-embed-path x.txt", "--decoder-embed-path does not work"),
        ("--encoder-freeze-embed", "--encoder-freeze-embed does not work"),
        ("--decoder-freeze-embed", "--decoder-freeze-embed does not work"),
        ("--adaptive-softmax-cutoff 20", "--adaptive-softmax-cutoff does not work"),
        ("--criterion adaptive_loss", "--criterion adaptive_loss needs"),
        ("--ddp-backend fully_sharded", "--ddp-backend fully_sharded"),
        ("--encoder-layers 2", "--encoder-layers must match --decoder-layers"),
        (f"{TIED} --decoder-embed-dim 32", "--decoder-embed-dim to match --decoder-out-embed-dim"),
        (ALL_TIED, "--share-all-embeddings requires a joint dictionary"),
        ("--factorization word2kt", "there is no family 'word2kt'"),
        ("--factorization word2ketxs/order=9 --embed-rank 1", "order=9 does not fit a 60 x 16"),
        ("--embed-rank 9000", "--embed-rank 9000 .*choose 1 to"),
        ("--embed-gain 0", "--embed-gain 0.0: a gain"),
        ("--factor-plan decoder.fc_out=word2ket:1", "fc_out.*word2ket is for embeddings"),
        ("--factor-plan *.fc1=4", "'\\*.fc1=4' matches no matrix"),
    ],
)
def test_mistakes_are_one_line(options, message):
    with pytest.raises(ShapeshifterError, match=message) as error:
        build(*options.split(), joined=False)
    assert len(str(error.value).splitlines()) == 1


def test_a_checkpoint_of_another_model_is_explained():
    _, model = build()
    with pytest.raises(ShapeshifterError, match="of another model.*use the .*--embed-rank"):
        model.load_state_dict(build("--embed-rank", "1")[1].state_dict())
    with pytest.raises(ShapeshifterError, match="of another model: it lacks .*--factorization"):
        model.load_state_dict(build("--embed-rank", "dense")[1].state_dict())
    with pytest.raises(ShapeshifterError, match="encoder.lstm.weight.*use the sizes"):
        model.load_state_dict(build("--encoder-hidden-size", "4")[1].state_dict())
