"""(a) A training step of each architecture over the dense model's: forward, backward, Adam."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from models import VOCABULARIES, batch, build, training_step
from pairs import Row, devices, missing_gpu, timed, write

BARS = {1024: 1.03, 4096: 1.0, 16384: None}  # most that a step may cost, by tokens; on CPUs
GPU_BAR = 1.02  # bf16, at the recipes' batch
RECIPE_TOKENS = 16384  # an update of 32,768 tokens in two batches


def measure(quick: bool) -> Iterator[Row]:
    for name in VOCABULARIES:
        for device, dtype in devices():
            for tokens in _quick(name) if quick and device == "cpu" else BARS:
                yield from _steps(name, device, dtype, tokens, quick)
    yield from missing_gpu(f"training step, {RECIPE_TOKENS:,} tokens", GPU_BAR)


def _quick(name: str) -> list[int]:
    return [1024, 4096] if name == "iwslt" else [4096]


def _steps(name: str, device: str, dtype: torch.dtype, tokens: int, quick: bool) -> Iterator[Row]:
    ours, dense, task = build(name, device)
    sample = batch(task, tokens, device)
    steps = [training_step(model, sample, task, dtype) for model in (ours, dense)]
    what = f"training step, {name}, {tokens:,} tokens, {device} {str(dtype)[6:]}"
    if device == "cuda":
        wanted = (dtype, tokens) == (torch.bfloat16, RECIPE_TOKENS)
        yield timed(what, *steps, quick, GPU_BAR if wanted else None)
        return
    cores = torch.get_num_threads()
    for threads in [cores] if quick else sorted({1, cores}):
        torch.set_num_threads(threads)
        yield timed(f"{what}, {threads} threads", *steps, quick, BARS[tokens])
    torch.set_num_threads(cores)


if __name__ == "__main__":
    write(measure, __doc__)
