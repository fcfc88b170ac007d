"""Hugging Face models in factors: they run, come back from a folder, and have the papers' sizes."""

import copy
import json
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertModel,
    DebertaConfig,
    DebertaForMaskedLM,
    DebertaV2Config,
    DebertaV2ForMaskedLM,
    T5Config,
    T5ForConditionalGeneration,
)
from transformers.utils import logging

from shapeshifter_fairseq import FactorizedEmbedding, FactorizedLinear, ShapeshifterError, hf
from shapeshifter_fairseq.factorizations import Factorization
from shapeshifter_fairseq.layers import EMBED_GAIN, LAYER_GAIN

DOCS = Path(__file__).resolve().parents[1] / "docs"
logging.set_verbosity_error()
logging.disable_progress_bar()

SIZES = {
    "vocab_size": 60,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 16,
}
RELATIVE = {
    "relative_attention": True,
    "max_relative_positions": 8,
    "pos_att_type": ["p2c", "c2p"],
    "position_biased_input": False,
}
T5 = {"vocab_size": 60, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
TOKENS = torch.tensor([[5, 9, 7, 1], [59, 4, 5, 8]])


def t5() -> T5ForConditionalGeneration:
    return T5ForConditionalGeneration(
        T5Config(**T5, decoder_start_token_id=0, tie_word_embeddings=True)
    )


def bert() -> BertForMaskedLM:
    return BertForMaskedLM(BertConfig(**SIZES))


def deberta() -> DebertaForMaskedLM:
    return DebertaForMaskedLM(DebertaConfig(**SIZES, **RELATIVE))


def deberta_v3() -> DebertaV2ForMaskedLM:
    newer = {"position_buckets": 4, "norm_rel_ebd": "layer_norm", "share_att_key": True}
    return DebertaV2ForMaskedLM(DebertaV2Config(**SIZES, **RELATIVE, **newer))


# Small tables of few rows stay dense.
PLANS = {t5: "*=4,*relative*=dense", bert: "*=4,*token_type*=dense", deberta: "*=4"}
# The modules that hold the factors of the tied embeddings.
EMBEDDINGS = {
    t5: ["shared", "encoder.embed_tokens", "decoder.embed_tokens", "lm_head"],
    bert: ["bert.embeddings.word_embeddings", "cls.predictions.decoder"],
    deberta: ["deberta.embeddings.word_embeddings", "cls.predictions.decoder"],
    deberta_v3: ["deberta.embeddings.word_embeddings", "cls.predictions.decoder"],
}


def small(make, plan: str | None = None):
    torch.manual_seed(0)
    return hf.factorize(make(), plan or PLANS.get(make, "*=4")).eval()


def logits(model) -> torch.Tensor:
    inputs = {"input_ids": TOKENS}
    if model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = TOKENS
    with torch.no_grad():
        return model(**inputs).logits


def load(auto_class, folder, **options):
    """`from_pretrained`, and the file held all that the model wanted and no more."""
    model, info = auto_class.from_pretrained(folder, output_loading_info=True, **options)
    assert not any(info.values()), info
    return model


@pytest.mark.parametrize("make", EMBEDDINGS, ids=lambda make: make.__name__)
def test_a_model_keeps_its_ties_runs_learns_and_comes_back(make, tmp_path):
    model = small(make)
    names = EMBEDDINGS[make]
    factors = model.get_submodule(names[0]).factors
    assert all(model.get_submodule(name).factors is factors for name in names)
    kept = {name: parameter.clone() for name, parameter in model.named_parameters()}
    model.tie_weights()  # as resizing and loading do; there is nothing left to tie
    assert kept.keys() == dict(model.named_parameters()).keys()

    model.train()(input_ids=TOKENS, labels=TOKENS).loss.backward()
    assert all(
        parameter.grad is not None and parameter.grad.isfinite().all()
        for name, parameter in model.named_parameters()
        if not name.startswith("cls.predictions.decoder.bias") and "pooler" not in name
    )

    model.eval().save_pretrained(tmp_path)
    loaded = load(type(model), tmp_path)
    assert torch.equal(logits(loaded), logits(model))
    assert loaded.state_dict().keys() == model.state_dict().keys()
    factors = loaded.get_submodule(names[0]).factors
    assert all(loaded.get_submodule(name).factors is factors for name in names)
    if make is not t5:
        assert loaded.cls.predictions.decoder.bias is loaded.cls.predictions.bias
    for name, module in model.named_modules():
        if isinstance(module, (FactorizedLinear, FactorizedEmbedding)):
            again = loaded.get_submodule(name).factors
            assert again.size.shape == module.factors.size.shape
            assert again.scale == module.factors.scale
            assert again.rank == module.factors.rank


def test_a_part_with_a_configuration_of_its_own_comes_back(tmp_path):
    model = small(t5)
    model.encoder.save_pretrained(tmp_path)
    loaded = load(type(model.encoder), tmp_path)
    with torch.no_grad():
        expected = model.eval().encoder(input_ids=TOKENS).last_hidden_state
        assert torch.equal(loaded.eval()(input_ids=TOKENS).last_hidden_state, expected)


def test_a_loaded_model_is_saved_again_and_goes_by_the_auto_classes(tmp_path):
    model = small(t5)
    model.save_pretrained(tmp_path / "one")
    load(AutoModelForSeq2SeqLM, tmp_path / "one").save_pretrained(tmp_path / "two")
    again = load(AutoModelForSeq2SeqLM, tmp_path / "two")
    assert torch.equal(logits(again), logits(model))
    assert again.generate(TOKENS, max_new_tokens=3).shape[0] == 2
    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two")]
    assert files[0] == files[1]


def test_a_model_in_many_files_and_of_another_type_comes_back(tmp_path):
    model = small(bert).bfloat16()
    model.save_pretrained(tmp_path, max_shard_size="4KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    loaded = load(BertForMaskedLM, tmp_path, dtype=torch.bfloat16)
    assert torch.equal(logits(loaded), logits(model))
    loaded.float()  # a quantized model would refuse
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    "value",
    ["low_rank:4", "block_low_rank:2/blocks=4", "monarch:2/blocks=4", "phm:4", "tensor_train:4"]
    + ["word2ketxs:4/order=3", "word2ket:2/order=4/norm=1"],
)
def test_every_family_comes_back(value, tmp_path):
    where = "*word_embeddings" if value.startswith("word2ket:") else "*layer.*,*word_embeddings"
    plan = ",".join(f"{pattern}={value}" for pattern in where.split(","))
    model = small(bert, plan)
    model.save_pretrained(tmp_path)
    assert torch.equal(logits(load(AutoModelForMaskedLM, tmp_path)), logits(model))


def test_matrices_that_stay_dense_keep_their_ties(tmp_path):
    model = small(bert, "*encoder.layer.*=4")
    assert type(model.cls.predictions.decoder) is nn.Linear
    model.save_pretrained(tmp_path)
    loaded = load(BertForMaskedLM, tmp_path)
    assert loaded.cls.predictions.decoder.weight is loaded.bert.embeddings.word_embeddings.weight
    assert torch.equal(logits(loaded), logits(model))


def test_a_table_that_scales_stays_dense_and_so_does_what_is_tied_to_it(tmp_path):
    sides = {
        f"{side}_{what}": size
        for side in ("encoder", "decoder")
        for what, size in {"layers": 1, "attention_heads": 4, "ffn_dim": 64}.items()
    }
    config = BartConfig(vocab_size=60, d_model=32, max_position_embeddings=16, **sides)
    model = small(lambda: BartForConditionalGeneration(config), "*=4")
    model.save_pretrained(tmp_path)
    loaded = load(BartForConditionalGeneration, tmp_path)
    for one in (model, loaded):
        assert one.lm_head.weight is one.model.shared.weight
        assert isinstance(one.model.decoder.layers[0].fc1, FactorizedLinear)
    assert torch.equal(logits(loaded), logits(model))


def test_tables_that_are_not_tied_get_factors_of_their_own(tmp_path):
    config = BertConfig(**SIZES, tie_word_embeddings=False)
    model = small(lambda: BertForMaskedLM(config), PLANS[bert])
    table, output = (model.get_submodule(name) for name in EMBEDDINGS[bert])
    assert output.factors is not table.factors
    model.save_pretrained(tmp_path)
    assert torch.equal(logits(load(BertForMaskedLM, tmp_path)), logits(model))


def test_a_dense_model_is_projected_while_it_is_loaded(tmp_path):
    torch.manual_seed(0)
    dense = bert().eval()
    dense.save_pretrained(tmp_path / "dense")
    plan = "*encoder.layer.*=low_rank:32,*word_embeddings=low_rank:32"
    config = hf.FactorConfig(plan)
    model = load(BertForMaskedLM, tmp_path / "dense", quantization_config=config)
    assert isinstance(model.cls.predictions.decoder, FactorizedLinear)
    torch.testing.assert_close(logits(model), logits(dense), rtol=1e-3, atol=1e-4)
    by_hand = hf.factorize(copy.deepcopy(dense), plan, init="project")
    assert torch.equal(logits(model), logits(by_hand))
    model.save_pretrained(tmp_path / "small")
    assert torch.equal(logits(load(BertForMaskedLM, tmp_path / "small")), logits(model))


@pytest.mark.parametrize("make", EMBEDDINGS, ids=lambda make: make.__name__)
def test_dequantize_brings_ordinary_layers_back(make, tmp_path):
    small(make).save_pretrained(tmp_path / "small")
    model = type(make()).from_pretrained(tmp_path / "small")
    expected = logits(model)
    model.dequantize()
    torch.testing.assert_close(logits(model), expected)
    assert model.state_dict().keys() == make().state_dict().keys()
    first, *others = (model.get_submodule(name) for name in EMBEDDINGS[make])
    assert all(other.weight is first.weight for other in others)
    model.save_pretrained(tmp_path / "dense")
    assert "quantization_config" not in json.loads((tmp_path / "dense/config.json").read_text())
    torch.testing.assert_close(logits(load(type(model), tmp_path / "dense")), expected)


def test_a_new_head_is_drawn_and_the_rest_is_loaded(tmp_path):
    model = small(bert, "*encoder.layer.*=4")
    model.save_pretrained(tmp_path)
    tuned, info = BertForSequenceClassification.from_pretrained(
        tmp_path, num_labels=3, output_loading_info=True
    )
    assert "classifier.weight" in info["missing_keys"]
    layer, before = (one.bert.encoder.layer[1].output.dense for one in (tuned, model))
    assert torch.equal(layer.weight, before.weight)
    # A part that has no factors in the file, and gets some by the plan.
    plan = "*encoder.layer.*=4,*pooler.dense=4"
    hf.factorize(BertModel(BertConfig(**SIZES)), plan).save_pretrained(tmp_path / "whole")
    weights = tmp_path / "whole" / "model.safetensors"
    from safetensors.torch import load_file, save_file

    state = {name: one for name, one in load_file(weights).items() if "pooler" not in name}
    save_file(state, weights, metadata={"format": "pt"})
    loaded = AutoModel.from_pretrained(tmp_path / "whole")
    assert 0.01 < loaded.pooler.dense.weight.std() < 0.03  # initializer_range is 0.02
    assert loaded.pooler.dense.bias.abs().max() == 0


def test_what_is_missing_is_drawn_once_and_what_was_loaded_stays():
    model = small(bert)
    table, output = (model.get_submodule(name) for name in EMBEDDINGS[bert])
    query, key = (getattr(model.bert.encoder.layer[0].attention.self, x) for x in ("query", "key"))
    for layer in (output, query, key):
        nn.init.constant_(layer.bias, 7)
    for parameter in key.parameters():
        parameter._is_hf_initialized = True
    before = key.weight.clone()
    hf.FactorQuantizer._draw_missing(model)
    assert table.factors._gain() == pytest.approx(EMBED_GAIN, rel=0.1)
    assert query.factors._gain() == pytest.approx(LAYER_GAIN, rel=0.1)
    assert output.bias.abs().max() == query.bias.abs().max() == 0
    assert torch.equal(key.weight, before) and (key.bias == 7).all()


def test_another_model_may_be_built_from_the_same_configuration(tmp_path):
    config = BertConfig(**SIZES)
    model = hf.factorize(BertForMaskedLM(config), "*encoder.layer.*=4")
    assert getattr(config, "quantization_config", None) is None
    model.bert.save_pretrained(tmp_path)  # the body alone has the plan, too
    body = load(BertModel, tmp_path, add_pooling_layer=False)
    assert isinstance(body.encoder.layer[0].output.dense, FactorizedLinear)


def test_what_is_wrong_is_said_in_a_line_and_changes_nothing():
    model = bert()
    before = set(model.state_dict())
    with pytest.raises(ShapeshifterError, match=r"plan: rule 'encoder=4' matches no matrix"):
        hf.factorize(model, "encoder=4")
    with pytest.raises(ShapeshifterError, match="is not PATTERN=VALUE"):
        hf.factorize(model, "64")
    assert set(model.state_dict()) == before
    assert getattr(model, "hf_quantizer", None) is None
    hf.factorize(model, PLANS[bert])
    with pytest.raises(ShapeshifterError, match="already"):
        hf.factorize(model, PLANS[bert])
    with pytest.raises(TypeError, match="gain"):
        hf.factorize(bert(), PLANS[bert], gain=3)


def test_offloading_is_refused_in_a_line(tmp_path):
    model = small(bert)
    model.save_pretrained(tmp_path)
    loaded = load(BertForMaskedLM, tmp_path, device_map={"": "cpu"})
    assert torch.equal(logits(loaded), logits(model))
    offloaded = {"bert": "cpu", "cls": "disk"}
    with pytest.raises(ShapeshifterError, match=r"cannot be offloaded \(cpu, disk\); put all"):
        load(BertForMaskedLM, tmp_path, device_map=offloaded, offload_folder=tmp_path / "away")


def test_an_initialiser_of_a_models_own_raises():
    """T5 writes into the weights of the layers that its blocks hold."""
    with pytest.raises(ShapeshifterError, match="before it is factorized"):
        model = small(t5)
        model.apply(model._init_weights)


# --- the papers' sizes --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tables():
    sys.path.insert(0, str(DOCS))
    try:
        import huggingface

        yield huggingface
    finally:
        sys.path.remove(str(DOCS))


@pytest.mark.parametrize("rank, paper", [(16, 4.2e6), (24, 5.2e6)])
def test_t5_small_is_as_large_as_the_dissertations(tables, rank, paper):
    plan = f"*={rank},shared=256,*relative*=dense"
    model = tables.build(T5ForConditionalGeneration, tables.T5_SMALL, plan)
    assert model.num_parameters() == pytest.approx(paper, rel=0.04)


def test_phm_t5_small_is_as_large_as_the_dissertations(tables):
    plan = "*=phm:16,shared=dense,*relative*=dense"
    model = tables.build(T5ForConditionalGeneration, tables.T5_SMALL, plan)
    table = model.shared.weight.numel()
    assert model.num_parameters() - table == pytest.approx(3.2e6, rel=0.04)


def test_bert_and_deberta_are_as_large_as_guptas(tables):
    for _, model_class, config, dense, sizes in tables.GUPTA:
        model = tables.build(model_class, config, "*=dense")
        assert model.num_parameters() == pytest.approx(float(dense) * 1e6, abs=5e4)
        for rank, size in sizes.items():
            for plan in tables.gupta_plans(rank):
                count = tables.build(model_class, config, plan).num_parameters()
                assert count == pytest.approx(float(size) * 1e6, abs=6e4)  # 44.4 is 44.46


def test_the_tables_are_those_in_the_docs(tables):
    text = (DOCS / "huggingface.md").read_text(encoding="utf-8")
    assert tables.t5_table() in text
    assert tables.gupta_table() in text


@pytest.mark.parametrize("make", [t5, bert])
@pytest.mark.parametrize("checkpointing", [None, {"use_reentrant": True}, {"use_reentrant": False}])
def test_a_step_builds_its_matrices_together(make, checkpointing, monkeypatch, tmp_path):
    """The gradients are those of matrices that are built one by one, checkpointed or not."""
    hf.factorize(make(), PLANS[make]).save_pretrained(tmp_path)
    model = type(make()).from_pretrained(tmp_path).train()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name in ("dropout", "dropout_rate", "dropout_prob"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
    plain = copy.deepcopy(model)
    plain._forward_pre_hooks.clear()
    plain._forward_hooks.clear()
    plain._forward_hooks_always_called.clear()
    if checkpointing is not None:
        model.gradient_checkpointing_enable(checkpointing)
    builds = []
    build = Factorization.materialize_from
    monkeypatch.setattr(
        Factorization,
        "materialize_from",
        lambda self, scale, factors: builds.append(scale.numel()) or build(self, scale, factors),
    )
    model(input_ids=TOKENS, labels=TOKENS).loss.backward()
    if checkpointing is None:
        assert max(builds) >= 8
    plain(input_ids=TOKENS, labels=TOKENS).loss.backward()
    for (name, found), expected in zip(model.named_parameters(), plain.parameters()):
        torch.testing.assert_close(found.grad, expected.grad, msg=name, rtol=1e-4, atol=1e-6)
