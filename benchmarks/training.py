"""(a) A training step of each architecture against the dense one: forward, backward, Adam."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from models import VOCABULARIES, batch, build, training_step
from pairs import Row, devices, missing_gpu, timed, write

BARS = {1024: 1.03, 4096: 1.0, 16384: None}  # most that a step may cost, by tokens; on CPUs
GPU_BAR = 1.02  # bf16, at the recipes' batch
COMPILED_BAR = 1.00  # both models by torch.compile
RECIPE_TOKENS = 16384  # an update of 32,768 tokens in two batches


# Families in the layers of `iwslt`, with Shapeshifter's number of parameters or less. The tables
# stay Kronecker products of rank 256.
FAMILIES = {
    "low_rank": "64",
    "block_low_rank/blocks=4": "16",
    "monarch/blocks=4": "16",
    "phm": "5",
    "tensor_train/cores=3": "32",
    "word2ketxs/order=2": "63",
}
MONARCH = "monarch/blocks=4"
MONARCH_BARS = {"cpu": 0.75, "cuda": 0.95}


def measure(quick: bool) -> Iterator[Row]:
    for name in VOCABULARIES:
        for device, dtype in devices():
            for tokens in _quick(name) if quick and device == "cpu" else BARS:
                yield from _steps(name, device, dtype, tokens, quick)
            if device == "cuda" and dtype != torch.float32:
                yield _compiled(name, dtype, quick)
    for family in FAMILIES:
        yield from _family(family, quick)
    what = f"training step, {RECIPE_TOKENS:,} tokens"
    yield from missing_gpu(what, GPU_BAR)
    yield from missing_gpu(f"{what}, both compiled", COMPILED_BAR)
    yield from missing_gpu(f"{what}, iwslt, {MONARCH}", MONARCH_BARS["cuda"])


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


def _compiled(name: str, dtype: torch.dtype, quick: bool) -> Row:
    ours, dense, task = build(name, "cuda")
    sample = batch(task, RECIPE_TOKENS, "cuda")
    for model in (ours, dense):
        model.compile()
    steps = [training_step(model, sample, task, dtype) for model in (ours, dense)]
    what = f"training step, {name}, {RECIPE_TOKENS:,} tokens, cuda {str(dtype)[6:]}, both compiled"
    return timed(what, *steps, quick, COMPILED_BAR)


def _family(family: str, quick: bool) -> Iterator[Row]:
    plan = ["--factor-plan", "*embed_tokens=kronecker:256,*output_projection=kronecker:256"]
    options = ["--factorization", family, "--layer-rank", FAMILIES[family], *plan]
    for device, dtype in devices():
        if device == "cuda" and dtype != torch.bfloat16:
            continue
        tokens = RECIPE_TOKENS if device == "cuda" else 4096
        if quick and family != MONARCH:
            tokens = 1024
        ours, dense, task = build("iwslt", device, *options)
        sample = batch(task, tokens, device)
        steps = [training_step(model, sample, task, dtype) for model in (ours, dense)]
        what = f"training step, iwslt, {family}, {tokens:,} tokens, {device} {str(dtype)[6:]}"
        yield timed(what, *steps, quick, MONARCH_BARS[device] if family == MONARCH else None)


if __name__ == "__main__":
    write(measure, __doc__)
