"""(a) A training step of each architecture over the dense model's: forward, backward, Adam."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from models import VOCABULARIES, batch, build, training_step
from pairs import Row, device_settings, not_measured, timed, write

BARS = {1024: 1.03, 4096: 1.0, 16384: None}  # most that a step may cost, by tokens; on CPUs
GPU_BAR = 1.02  # bf16, at the recipes' batch
RECIPE_TOKENS = 16384  # an update of 32,768 tokens in two batches


def measure(quick: bool) -> Iterator[Row]:
    cores = torch.get_num_threads()
    for name in VOCABULARIES:
        for device, dtype, missing in device_settings():
            for threads in {1, cores} if device == "cpu" and not quick else {cores}:
                for tokens in BARS if not quick else [1024, 4096]:
                    precision = str(dtype).removeprefix("torch.")
                    what = f"training step, {name}, {tokens:,} tokens, {device} {precision}"
                    bar = BARS[tokens]
                    if device == "cpu":
                        what += f", {threads} threads" if threads > 1 else ", 1 thread"
                    else:
                        wanted = dtype == torch.bfloat16 and tokens == RECIPE_TOKENS
                        bar = GPU_BAR if wanted else None
                    if missing:
                        yield not_measured(what, missing, bar)
                        continue
                    torch.set_num_threads(threads)
                    ours, dense, task = build(name, device)
                    sample = batch(task, tokens, device)
                    steps = [training_step(model, sample, task, dtype) for model in (ours, dense)]
                    yield timed(what, *steps, quick, bar)
    torch.set_num_threads(cores)


if __name__ == "__main__":
    write(measure, __doc__)
