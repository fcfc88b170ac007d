"""The tables of docs/huggingface.md: parameters of Hugging Face models in factors, and the papers'.

    python docs/huggingface.py

Builds the models from their published configurations on torch's meta device: nothing is
downloaded, drawn or trained.
"""

from __future__ import annotations

import torch
from tabulate import tabulate
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DebertaV2Config,
    DebertaV2ForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
    T5Config,
    T5ForConditionalGeneration,
)

from shapeshifter_fairseq import hf

T5_SMALL = T5Config(
    vocab_size=32128,
    d_model=512,
    d_kv=64,
    d_ff=2048,
    num_layers=6,
    num_decoder_layers=6,
    num_heads=8,
    tie_word_embeddings=True,
)
BERT_BASE = BertConfig(
    vocab_size=30522,
    hidden_size=768,
    intermediate_size=3072,
    num_hidden_layers=12,
    num_attention_heads=12,
    max_position_embeddings=512,
    type_vocab_size=2,
)
DEBERTA_V3_BASE = DebertaV2Config(
    vocab_size=128100,
    hidden_size=768,
    intermediate_size=3072,
    num_hidden_layers=12,
    num_attention_heads=12,
    max_position_embeddings=512,
    max_relative_positions=-1,
    norm_rel_ebd="layer_norm",
    pos_att_type=["p2c", "c2p"],
    position_biased_input=False,
    position_buckets=256,
    relative_attention=True,
    share_att_key=True,
    type_vocab_size=0,
)

# T5-small: plan, and what tables 4 and 5 of the dissertation say, in millions: all = encoder and
# decoder + embeddings. The relative positions' tables, 32 x 8, have nothing to save.
T5_PLANS = {
    "*=dense": "60.5 = 44 + 16.5",
    "*=16,shared=256,*relative*=dense": "4.2 = 2.1 + 2.1",
    "*=24,shared=256,*relative*=dense": "5.2 = 3.1 + 2.1",
    "*=phm:16,shared=dense,*relative*=dense": "19.6 = 3.2 + 16.5",
}

# Gupta et al., table 2: model, its size and those that it is brought to, in millions, and the ranks
# of low_rank that give them.
GUPTA = [
    (
        "BERT-base",
        BertForSequenceClassification,
        BERT_BASE,
        "109.5",
        {24: "28.5", 120: "44.4", 192: "56.4", 360: "84.3"},
    ),
    (
        "DeBERTa-v3-base",
        DebertaV2ForSequenceClassification,
        DEBERTA_V3_BASE,
        "184.4",
        {24: "103.5", 120: "119.4", 240: "139.3", 360: "159.2"},
    ),
]
BLOCKS = 4  # with which a rank is a quarter of low_rank's at equal size
LAYERS = "*encoder.layer.*"  # attention and feed-forward: neither embeddings nor pooler nor head


def build(
    model_class: type[PreTrainedModel], config: PreTrainedConfig, plan: str
) -> PreTrainedModel:
    """A model in factors that has shapes and no numbers."""
    with torch.device("meta"):
        model = model_class(config)
        model.tie_weights()  # which transformers 5.0 leaves undone on the meta device
        return hf.factorize(model, plan)


def gupta_plans(rank: int) -> list[str]:
    """The plans of one size: low_rank, block_low_rank and monarch."""
    blocks = f"{rank // BLOCKS}/blocks={BLOCKS}"
    values = f"low_rank:{rank}", f"block_low_rank:{blocks}", f"monarch:{blocks}"
    return [f"{LAYERS}={value}" for value in values]


def t5_table() -> str:
    rows = []
    for plan, paper in T5_PLANS.items():
        model = build(T5ForConditionalGeneration, T5_SMALL, plan)
        total, table = model.num_parameters(), sum(p.numel() for p in model.shared.parameters())
        rows.append([f"`{plan}`", *(f"{n:,}" for n in (total, total - table, table)), paper])
    head = ["T5-small, plan", "parameters", "encoder, decoder", "embeddings", "paper, millions"]
    return tabulate(rows, head, tablefmt="github", disable_numparse=True)


def gupta_table() -> str:
    rows = []
    for name, model_class, config, dense, sizes in GUPTA:
        total = build(model_class, config, "*=dense").num_parameters()
        rows.append([name, "dense", "", f"{total:,}", dense])
        for rank, size in sizes.items():
            models = [build(model_class, config, plan) for plan in gupta_plans(rank)]
            (count,) = {model.num_parameters() for model in models}  # one and the same
            rows.append([name, rank, rank // BLOCKS, f"{count:,}", size])
    head = [
        "model",
        "rank of low_rank",
        f"rank of block_low_rank and monarch, {BLOCKS} x {BLOCKS}",
        "parameters",
    ]
    return tabulate(rows, [*head, "paper, millions"], tablefmt="github", disable_numparse=True)


if __name__ == "__main__":
    print(t5_table(), gupta_table(), sep="\n\n")
