"""(e) A lookup of 4,096 tokens, forward and backward, as the vocabulary grows; the tied output."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from pairs import Row, compared, take_turns, write

from shapeshifter_fairseq import FactorizedEmbedding

SIZES = [8_000, 32_000, 128_000, 1_000_000]  # types; the others are compared with the first
TOKENS, WIDTH = 4096, 512
BAR = 1.1


def measure(quick: bool) -> Iterator[Row]:
    for rank in (64, 256):
        smallest = _table(SIZES[0], rank)
        for size in SIZES[1:] if not quick else SIZES[-1:]:
            table = _table(size, rank)
            times = take_turns(_lookup(table), _lookup(smallest), quick)
            what = f"lookup of {TOKENS:,} tokens, rank {rank}, {size:,} over {SIZES[0]:,} types"
            yield compared(what, *times, BAR)
            numbers = [sum(factor.numel() for factor in t.parameters()) for t in (table, smallest)]
            growth = (size / SIZES[0]) ** 0.5
            what = f"parameters, rank {rank}, {size:,} over {SIZES[0]:,} types (root: {growth:.1f})"
            yield compared(what, *[[n * 4 / 2**20] for n in numbers], 1.1 * growth, unit="MiB")
        for size in SIZES[:1] if quick else SIZES[:2]:
            table, dense = _table(size, rank), torch.nn.Embedding(size, WIDTH)
            times = take_turns(_output(table), _output(dense), quick)
            yield compared(f"tied output, 1,024 tokens, rank {rank}, {size:,} types", *times)


def _table(size: int, rank: int) -> FactorizedEmbedding:
    return FactorizedEmbedding(size, WIDTH, padding_idx=1, rank=rank)


def _lookup(table: FactorizedEmbedding) -> Callable[[], None]:
    # The same number of different tokens in every vocabulary: the lookup is the same work.
    tokens = torch.randint(2, SIZES[0], (TOKENS,)) * (table.num_embeddings // SIZES[0])
    gradient = torch.randn(TOKENS, WIDTH)

    def both() -> None:
        table.zero_grad()
        table(tokens).backward(gradient)

    return both


def _output(table: torch.nn.Module) -> Callable[[], None]:
    x = torch.randn(1024, WIDTH, requires_grad=True)
    gradient = torch.randn(1024, table.num_embeddings)

    def both() -> None:
        table.zero_grad()
        x.grad = None
        ours = isinstance(table, FactorizedEmbedding)
        y = table.factors.linear(x) if ours else torch.nn.functional.linear(x, table.weight)
        y.backward(gradient)

    return both


if __name__ == "__main__":
    write(measure, __doc__)
