"""(d) One layer, forward and backward, against what somebody would use instead."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator
from itertools import product

import torch
from pairs import Row, devices, missing_gpu, not_measured, timed, write
from peers import missing, peers
from torch import nn

from shapeshifter_fairseq import FactorizedLinear

SHAPES = [(512, 512), (1024, 512), (512, 1024), (2048, 512), (512, 2048), (4096, 4096)]  # n, m
RANKS = [1, 4, 16, 64]
TOKENS = [256, 4096]

# Families of blocks, measured against nn.Linear alone: how many blocks, and which rank.
BLOCKS = [(4, 16), (32, 2)]

# At 256 tokens, 512 x 512 and rank 64; else no peer may be faster.
SMALL_BARS = {"nn.Linear": 1.3, "sum of torch.kron": 1 / 10, "linear_operator": 1 / 70}


def measure(quick: bool) -> Iterator[Row]:
    if not torch.cuda.is_available():  # CUDA reserves more addresses than there is memory
        _limit_memory()
    for n, m, rank, tokens in _settings(quick):
        for device, dtype in devices():
            for name, package, make in peers():
                what = f"layer {n}x{m}, rank {rank}, {tokens:,} tokens, {device} {str(dtype)[6:]}"
                what += f", over {name}"
                bar = _bar(name, n, m, rank, tokens)
                if why := missing(package):
                    yield not_measured(what, why, bar)
                    continue
                x = torch.randn(tokens, m, device=device, dtype=dtype, requires_grad=True)
                try:
                    ours = forward_backward(FactorizedLinear(m, n, rank=rank).to(x), x)
                    theirs = forward_backward(make(n, m, rank).to(x), x)
                    yield timed(what, ours, theirs, quick, bar)
                except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
                    reason = str(error).strip().splitlines()[0].rpartition("Allocator: ")[2]
                    yield not_measured(what, f"{name} fails: {reason}", bar)
    yield from _grids(quick)
    yield from missing_gpu("one layer over each peer", 1.0)


def _grids(quick: bool) -> Iterator[Row]:
    families = [(name, *size) for name in ("block_low_rank", "monarch") for size in BLOCKS]
    for (name, blocks, rank), width, tokens in product(families, (512, 1024), TOKENS):
        for device, dtype in devices():
            what = f"layer {width}x{width}, {name}:{rank}/blocks={blocks}, {tokens:,} tokens, "
            what += f"{device} {str(dtype)[6:]}, over nn.Linear"
            x = torch.randn(tokens, width, device=device, dtype=dtype, requires_grad=True)
            ours = FactorizedLinear(width, width, rank=rank, family=name, blocks=blocks)
            layers = (forward_backward(layer.to(x), x) for layer in (ours, nn.Linear(width, width)))
            yield timed(what, *layers, quick)


def _limit_memory() -> None:
    """Make a peer fail if it asks for more than half of the memory, to spare the machine:
    tensorly-torch's "cp factorized" asks for 17 GB at 256 tokens."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    resource.setrlimit(resource.RLIMIT_AS, (memory // 2, resource.RLIM_INFINITY))


def _settings(quick: bool) -> Iterator[tuple[int, int, int, int]]:
    if quick:
        yield from [(512, 512, 64, 256), (512, 512, 16, 4096), (1024, 1024, 4, 256)]
        return
    for n, m in [*SHAPES, (1024, 1024)]:
        for rank in RANKS:
            for tokens in TOKENS:
                yield n, m, rank, tokens


def _bar(name: str, n: int, m: int, rank: int, tokens: int) -> float | None:
    if (n, m, rank, tokens) == (512, 512, 64, 256) and name in SMALL_BARS:
        return SMALL_BARS[name]
    if name == "nn.Linear":  # faster than dense where going factor by factor can pay
        return 1.0 if rank <= 4 and min(n, m) >= 1024 else None
    return 1.0


def forward_backward(layer: nn.Module, x: torch.Tensor) -> Callable[[], None]:
    with torch.no_grad():
        gradient = torch.randn(len(x), layer.bias.numel()).to(x)

    def both() -> None:
        x.grad = None
        layer.zero_grad()
        layer(x).backward(gradient)

    return both


if __name__ == "__main__":
    write(measure, __doc__)
