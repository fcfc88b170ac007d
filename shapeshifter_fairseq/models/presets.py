"""The models that the dissertation compares Shapeshifter with, as presets of the same model.

`--factorization`, `--layer-rank`, `--embed-rank` and `--factor-plan` override a preset as they
override `shapeshifter_transformer_*`.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable

from fairseq.models import register_model_architecture

from ..plan import DENSE
from .shapeshifter_transformer import (
    shapeshifter_iwslt,
    shapeshifter_tiny,
    shapeshifter_wmt14,
    shapeshifter_wmt16,
)

# The architecture that gives sizes and ties, the family, the layer rank and the embed rank.
_PRESETS = {
    # Equal ranks, not equal parameters (table 8); the tiny one has Shapeshifter's parameters.
    "lowrank_transformer_iwslt": (shapeshifter_iwslt, "low_rank", "<=64", "<=256"),
    "lowrank_transformer_wmt16": (shapeshifter_wmt16, "low_rank", "<=24", "<=256"),
    "lowrank_transformer_wmt14": (shapeshifter_wmt14, "low_rank", "<=64", "<=256"),
    "lowrank_transformer_tiny": (shapeshifter_tiny, "low_rank", "<=7", "<=52"),
    # PHM leaves the embeddings as they are (section 4.4.1, tables 4 and 5).
    "phm_transformer_iwslt": (shapeshifter_iwslt, "phm", "<=16", DENSE),
    "phm_transformer_wmt16": (shapeshifter_wmt16, "phm", "<=16", DENSE),
    "phm_transformer_wmt14": (shapeshifter_wmt14, "phm", "<=16", DENSE),
    "phm_transformer_tiny": (shapeshifter_tiny, "phm", "<=8", DENSE),
}


def _architecture(
    sizes: Callable[[Namespace], None], family: str, layer_rank: str, embed_rank: str
) -> Callable[[Namespace], None]:
    def architecture(args: Namespace) -> None:
        args.factorization = getattr(args, "factorization", family)
        args.layer_rank = getattr(args, "layer_rank", layer_rank)
        args.embed_rank = getattr(args, "embed_rank", embed_rank)
        sizes(args)

    return architecture


for name, preset in _PRESETS.items():
    register_model_architecture("shapeshifter_transformer", name)(_architecture(*preset))
