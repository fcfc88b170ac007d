"""(g) How the cost of a layer, a table and a model grows, ours and dense: fitted exponents."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator

import numpy
import torch
from layers import forward_backward
from models import batch, build, training_step
from pairs import Row, take_turns, write
from torch import nn

from shapeshifter_fairseq import FactorizedEmbedding, FactorizedLinear

# Each cost, and the values at which it is measured; the quick ones are every other.
RANKS = [4, 8, 16, 32, 64, 128, 256]
WIDTHS = [256, 512, 1024, 2048]
TOKENS = [64, 256, 1024, 4096]
VOCABULARIES = [8_000, 32_000, 128_000, 512_000]
LAYERS = [1, 2, 4]


def measure(quick: bool) -> Iterator[Row]:
    grids: list[tuple[str, list[int], Callable[[int], tuple]]] = [
        ("rank", RANKS, lambda rank: _layers(512, 512, rank, 1024)),
        ("width", WIDTHS, lambda width: _layers(width, width, 16, 256)),
        ("tokens", TOKENS, lambda tokens: _layers(512, 512, 64, tokens)),
        ("vocabulary", VOCABULARIES, _lookups),
        ("layers", LAYERS, _steps),
    ]
    for name, values, make in grids:
        values = values[::2] if quick else values
        costs: tuple[list[float], list[float]] = ([], [])
        for value in values:
            for cost, times in zip(costs, take_turns(*make(value), quick)):
                cost.append(statistics.median(times))
        ours, theirs = (_exponent(values, cost) for cost in costs)
        yield {"what": f"growth with {name}", "growth": name, "values": values} | {
            "exponents": [ours, theirs],
            "ours": costs[0],
            "theirs": costs[1],
            "unit": "s",
        }


def _exponent(values: list[int], costs: list[float]) -> float:
    """b of the power law cost = a * value**b nearest to the figures."""
    return float(numpy.polyfit(numpy.log(values), numpy.log(costs), 1)[0])


def _layers(n: int, m: int, rank: int, tokens: int) -> tuple[Callable, Callable]:
    x = torch.randn(tokens, m, requires_grad=True)
    both = FactorizedLinear(m, n, rank=rank), nn.Linear(m, n)
    return tuple(forward_backward(layer, x) for layer in both)


def _lookups(size: int) -> tuple[Callable, Callable]:
    tokens = torch.randint(size, (4096,))

    def lookup(table: nn.Module) -> Callable[[], None]:
        def both() -> None:
            table.zero_grad()
            table(tokens).sum().backward()

        return both

    return lookup(FactorizedEmbedding(size, 128, rank=64)), lookup(nn.Embedding(size, 128))


def _steps(layers: int) -> tuple[Callable, Callable]:
    depth = ["--encoder-layers", str(layers), "--decoder-layers", str(layers)]
    ours, dense, task = build("iwslt", "cpu", *depth)
    sample = batch(task, 1024)
    return training_step(ours, sample, task), training_step(dense, sample, task)


if __name__ == "__main__":
    write(measure, __doc__)
