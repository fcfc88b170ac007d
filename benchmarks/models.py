"""The papers' architectures, dense and factorized, with made-up batches and a training step."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterion
from fairseq.data import Dictionary
from torch import nn

import shapeshifter_fairseq.models  # noqa: F401  (registers the architectures)
from shapeshifter_fairseq.fairseq_side.counting import build_models

LENGTH = 25  # tokens of a sentence

# Sizes of the papers' dictionaries: source, target, and whether they are one.
VOCABULARIES = {
    "iwslt": (8848, 6632, False),
    "wmt16": (34976, 34976, True),
    "wmt14": (44512, 44512, True),
}


class Pair(NamedTuple):
    """One architecture twice, and what stands in for fairseq's task: two dictionaries."""

    ours: nn.Module
    dense: nn.Module
    task: object


def build(name: str, device: str = "cpu", *options: str) -> Pair:
    """`shapeshifter_transformer_NAME` with the papers' dictionaries, and its dense counterpart."""
    arch = f"shapeshifter_transformer_{name}"
    dense, ours, task = build_models(arch, *VOCABULARIES[name], options)
    return Pair(ours.to(device), dense.to(device), task)


def batch(task, tokens: int, device: str = "cpu") -> dict:
    """Sentences of 25 tokens, as many as make up `tokens` target tokens."""
    sentences = max(1, tokens // LENGTH)

    def draw(dictionary: Dictionary) -> torch.Tensor:
        # Words are as frequent as in text (Zipf), so a batch repeats its frequent ones.
        words = torch.arange(dictionary.nspecial, len(dictionary))
        chances = 1.0 / (words - dictionary.nspecial + 3)
        drawn = words[torch.multinomial(chances, sentences * LENGTH, True)]
        drawn = drawn.view(sentences, LENGTH)
        drawn[:, -1] = dictionary.eos()
        return drawn.to(device)

    source, target = draw(task.source_dictionary), draw(task.target_dictionary)
    return {
        "net_input": {
            "src_tokens": source,
            "src_lengths": torch.full((sentences,), LENGTH, device=device),
            "prev_output_tokens": target.roll(1, dims=1),
        },
        "target": target,
        "ntokens": target.numel(),
    }


def training_step(
    model: nn.Module,
    sample: dict,
    task,
    dtype: torch.dtype = torch.float32,
    keep_gradients: bool = False,
) -> Callable[[], None]:
    """Forward, loss, backward and Adam; in bf16 and fp16 under autocast, as `--amp` does it."""
    criterion = LabelSmoothedCrossEntropyCriterion(task, sentence_avg=False, label_smoothing=0.1)
    adam = torch.optim.Adam(model.parameters(), lr=5e-4, betas=(0.9, 0.98))
    device = sample["target"].device.type

    def step() -> None:
        adam.zero_grad(set_to_none=not keep_gradients)
        with torch.autocast(device, dtype, enabled=dtype != torch.float32):
            loss, _, _ = criterion(model, sample)
        (loss / sample["ntokens"]).backward()
        adam.step()

    return step
