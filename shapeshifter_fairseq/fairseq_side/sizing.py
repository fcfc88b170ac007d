"""Other models of about the size of a factorized one: another family, or a narrow dense one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from ..errors import ShapeshifterError
from ..factorizing import matrices
from ..plan import Family
from ..sizing import largest_rank
from .counting import build_model, count, task_with
from .factorized_model import TABLES


@dataclass(frozen=True)
class Architecture:
    """An architecture of fairseq's with its dictionaries, as for `counting.count`."""

    arch: str
    source_vocab: int
    target_vocab: int
    joined: bool
    options: Sequence[str] = ()

    def parts(self, *more: str) -> tuple[int, int]:
        """Parameters of encoder and decoder, and of the tables, with further options."""
        options = [*self.options, *more]
        counts = count(self.arch, self.source_vocab, self.target_vocab, self.joined, options)
        return counts["encoder_decoder"], counts["embedding"]

    def dense(self, *more: str) -> nn.Module:
        """The dense model, as shapes without numbers."""
        task = task_with(self.source_vocab, self.target_vocab, self.joined)
        with torch.device("meta"):
            options = [*self.options, "--factor-plan", "*=dense", *more]
            return build_model(self.arch, options, task)

    def as_family(self, family: str, layers: int, tables: int) -> list[str]:
        """fairseq-train's options for another family whose parts are as large, and no larger.

        Args:
            family: its name, with its options: monarch/blocks=4.
            layers, tables: parameters of encoder and decoder, and of the tables.

        Raises:
            ShapeshifterError: if the family has no rank that is so small.
        """
        dense = self.dense()
        found: dict[bool, Counter[tuple[int, int]]] = {True: Counter(), False: Counter()}
        for matrix in matrices(dense):
            is_table = any(name.endswith(TABLES) for name in matrix.modules)
            found[is_table][tuple(matrix.weight.shape)] += 1
        whole = self.parts("--factor-plan", "*=dense")
        ranks = []
        for is_table, have, want in zip((False, True), whole, (layers, tables)):
            shapes = found[is_table]
            rest = have - sum(n * m * times for (n, m), times in shapes.items())
            ranks.append(largest_rank(shapes, Family.parse(family, family), want - rest))
        options = ["--factorization", family, "--layer-rank", str(ranks[0])]
        return [*options, "--embed-rank", str(ranks[1])]

    def narrow(self, most: int) -> list[str]:
        """fairseq-train's options for the widest dense Transformer of at most so many parameters.

        Width and feed-forward keep their proportion; the number of heads and of layers stays.

        Raises:
            ShapeshifterError: if the narrowest has more.
        """
        layer = self.dense().encoder.layers[0]
        heads, width, inner = layer.self_attn.num_heads, layer.embed_dim, layer.fc1.out_features
        step = heads * (1 + heads % 2)  # positions need an even width
        low, high = 0, width // step + 1
        while high - low > 1:
            middle = (low + high) // 2
            options = self._widths(middle * step, inner, width)
            total = sum(parameter.numel() for parameter in self.dense(*options).parameters())
            low, high = (middle, high) if total <= most else (low, middle)
        if not low:
            raise ShapeshifterError(f"no dense {self.arch} is as small as {most:,} parameters")
        return ["--factor-plan", "*=dense", *self._widths(low * step, inner, width)]

    @staticmethod
    def _widths(narrow: int, inner: int, width: int) -> list[str]:
        options = []
        for side in ("encoder", "decoder"):
            options += [f"--{side}-embed-dim", str(narrow)]
            options += [f"--{side}-ffn-embed-dim", str(inner * narrow // width)]
        return options
