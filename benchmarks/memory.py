"""(c) Memory of a training step and of a generating process, and bytes of a checkpoint.

The peak of a training step grows with the tokens of its batch. Activations grow; the rest is
parameters, gradients, Adam's two moments and what materializing W adds. Two batches tell them
apart: the rest is where the line through their peaks reaches zero tokens.
"""

from __future__ import annotations

import io
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext

import torch
from kernels import choices_of_a_gpu
from models import LENGTH, VOCABULARIES, batch, build, training_step
from pairs import Row, compared, write
from torch import nn
from torch.profiler import ProfilerActivity, profile

# In half precision; in single precision no more than before W were built together.
BARS = {"iwslt": 0.30, "wmt16": 0.25, "wmt14": 0.35}
SINGLE_BARS = {"iwslt": 0.453, "wmt16": 0.267, "wmt14": 0.337}
DISK = 0.03  # how far a checkpoint may be from the parameter ratio
MIB = 2**20


def measure(quick: bool) -> Iterator[Row]:
    for name in VOCABULARIES:
        sizes = (1200, 1800) if quick else (2048, 4096)
        yield from _training(name, sizes, torch.float32, SINGLE_BARS[name])
        yield from _training(name, sizes, torch.bfloat16, BARS[name])
        yield _checkpoint(name)
        if name == "iwslt" or not quick:
            both = [_resident(name, kind) for kind in ("ours", "dense")]
            what = f"resident memory of a generating process, {name}"
            yield compared(what, *[[size] for size in both], unit="MiB")


def _training(name: str, tokens: tuple[int, int], dtype: torch.dtype, bar: float) -> Iterator[Row]:
    """Half precision is for GPUs: on a CPU our code then makes the choices of a GPU."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    half = dtype != torch.float32
    ours, dense, task = build(name, device)
    with choices_of_a_gpu() if half and device == "cpu" else nullcontext():
        parts = [_parts(model, task, tokens, dtype) for model in (ours, dense)]
    precision = f"{device} {str(dtype)[6:]}"
    for part in parts[0]:
        if parts[1][part] > 1:
            what = f"memory of a training step, {name}, {precision}: {part}"
            yield compared(what, [parts[0][part]], [parts[1][part]], unit="MiB")
    whole = [sum(size for part, size in p.items() if part != "activations") for p in parts]
    what = f"training memory without activations, {name}, {precision}"
    # Against what the dense model stores: its own temporary gradients are not part of the bar.
    stored = whole[1] - parts[1]["materialized"]
    yield compared(what, [whole[0]], [stored], bar, unit="MiB", parts=parts[0])


def _parts(model: nn.Module, task, tokens: tuple[int, int], dtype: torch.dtype) -> dict[str, float]:
    """MiB of each part of the peak; activations of the larger batch."""
    stored = sum(p.numel() * p.element_size() for p in model.parameters()) / MIB
    device = next(model.parameters()).device.type
    few, many = (
        _peak(training_step(model, batch(task, size, device), task, dtype, keep_gradients=True))
        / MIB
        for size in tokens
    )
    few_tokens, many_tokens = (size // LENGTH * LENGTH for size in tokens)
    growth = (many - few) / (many_tokens - few_tokens)  # MiB a token
    return {
        "parameters": stored,
        "gradients": stored,
        "optimizer": 2 * stored,
        "activations": growth * many_tokens,
        "materialized": few - growth * few_tokens,
    }


def _peak(step: Callable[[], None]) -> int:
    """Most bytes that a step allocates other than parameters, gradients and Adam's moments."""
    step()  # makes the gradients, which the next step keeps, and the moments
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    held = peak = 0
    for event in profiler.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak


def _checkpoint(name: str) -> Row:
    sizes, counts = [], []
    for model in build(name)[:2]:
        adam = torch.optim.Adam(model.parameters())
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        adam.step()
        file = io.BytesIO()
        torch.save({"model": model.state_dict(), "optimizer": adam.state_dict()}, file)
        sizes.append(file.tell() / MIB)
        counts.append(sum(parameter.numel() for parameter in model.parameters()))
    bar = round(counts[0] / counts[1] * (1 + DISK), 4)
    return compared(
        f"checkpoint with optimizer state, {name}", [sizes[0]], [sizes[1]], bar, unit="MiB"
    )


def _resident(name: str, kind: str) -> float:
    """MiB of a process that has translated a batch of 32 sentences."""
    command = [sys.executable, __file__, "--resident", name, kind]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def _print_resident(name: str, kind: str) -> None:
    from generation import translation

    pair = build(name)
    sample = batch(pair.task, 32 * LENGTH)
    model = getattr(pair, kind)
    task = pair.task
    del pair  # frees the other model
    translation(model, sample, task)()
    with open("/proc/self/statm", encoding="ascii") as file:
        print(int(file.read().split()[1]) * resource.getpagesize() / MIB)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--resident"]:
        _print_resident(*sys.argv[2:])
    else:
        write(measure, __doc__)
