"""Find models as large as a factorized one: of another family, or dense and narrow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from ..errors import ShapeshifterError
from ..matrices import matrices
from ..plan import Family
from ..sizing import Shapes, largest_rank, numbers
from ..undrawn import WithoutNumbers
from .counting import build_model, count, task_with
from .factorized_model import TABLES

# As in the paper's model for IWSLT'14 (64 / 256), which keeps 23% of its layers and 29% of its
# tables. On a validation set 1.3 and 2.0 were equally good, and 0.9 was worse (docs/tries.md).
TABLES_SHARE = 1.25


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
        with WithoutNumbers():
            options = [*self.options, "--factor-plan", "*=dense", *more]
            return build_model(self.arch, options, task)

    def _matrices(self) -> tuple[Shapes, Shapes, int, int]:
        """Shapes of the layers' matrices and of the tables; the other parameters of both parts."""
        in_layers: Counter[tuple[int, int]] = Counter()
        in_tables: Counter[tuple[int, int]] = Counter()
        for matrix in matrices(self.dense()):
            is_table = any(name.endswith(TABLES) for name in matrix.modules)
            (in_tables if is_table else in_layers)[tuple(matrix.weight.shape)] += 1
        layers, tables = self.parts("--factor-plan", "*=dense")
        return in_layers, in_tables, layers - _size(in_layers), tables - _size(in_tables)

    def as_family(self, family: str, layers: int, tables: int) -> list[str]:
        """fairseq-train's options for another family, as large as fits into the given sizes.

        Args:
            family: its name, with its options: monarch/blocks=4.
            layers, tables: parameters of encoder and decoder, and of the tables.

        Raises:
            ShapeshifterError: if the family needs more at every rank.
        """
        in_layers, in_tables, other_layers, other_tables = self._matrices()
        kind = Family.parse(family, "--factorization")
        layer_rank = largest_rank(in_layers, kind, layers - other_layers)
        embed_rank = largest_rank(in_tables, kind, tables - other_tables)
        return _options(family, layer_rank, embed_rank)

    def within(
        self, most: int, family: str, layer_rank: int | None = None, embed_rank: int | None = None
    ) -> list[str]:
        """fairseq-train's options for a model of at most `most` parameters, and not many fewer.

        Tables keep a share of their numbers that is `TABLES_SHARE` times as large as that of the
        layers; what the layers' rank leaves over goes to the tables.

        Args:
            most: parameters of the whole model.
            family: of layers and tables, with its options.
            layer_rank, embed_rank: one of them, if it is to be fixed.

        Raises:
            ShapeshifterError: if the family needs more at every rank.
        """
        if layer_rank and embed_rank:
            raise ShapeshifterError(
                "give --layer-rank or --embed-rank, not both: the size fixes one"
            )
        kind = Family.parse(family, "--factorization")
        in_layers, in_tables, *others = self._matrices()
        left = most - sum(others)
        if embed_rank:
            layer_rank = largest_rank(in_layers, kind, left - numbers(in_tables, kind, embed_rank))
            return _options(family, layer_rank, embed_rank)
        if not layer_rank:
            layers, tables = _size(in_layers), TABLES_SHARE * _size(in_tables)
            layer_rank = largest_rank(in_layers, kind, int(left * layers / (layers + tables)))
        embed_rank = largest_rank(in_tables, kind, left - numbers(in_layers, kind, layer_rank))
        return _options(family, layer_rank, embed_rank)

    def narrow(self, most: int) -> list[str]:
        """fairseq-train's options for the widest dense Transformer of at most `most` parameters.

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
            raise ShapeshifterError(f"every dense {self.arch} has more than {most:,} parameters")
        return ["--factor-plan", "*=dense", *self._widths(low * step, inner, width)]

    @staticmethod
    def _widths(narrow: int, inner: int, width: int) -> list[str]:
        options = []
        for side in ("encoder", "decoder"):
            options += [f"--{side}-embed-dim", str(narrow)]
            options += [f"--{side}-ffn-embed-dim", str(inner * narrow // width)]
        return options


def _size(shapes: Shapes) -> int:
    return sum(n * m * times for (n, m), times in shapes.items())


def _options(family: str, layer_rank: int, embed_rank: int) -> list[str]:
    ranks = ["--layer-rank", str(layer_rank), "--embed-rank", str(embed_rank)]
    return ["--factorization", family, *ranks]
