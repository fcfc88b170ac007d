"""(f) Two processes under torchrun with gloo: seconds a step, bytes exchanged, against dense."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import torch
import torch.distributed as dist
from fairseq.distributed.module_proxy_wrapper import ModuleProxyWrapper
from models import batch, build, training_step
from pairs import Row, compared, take_turns, write
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel

TOKENS = 1024  # of each process


def measure(quick: bool) -> Iterator[Row]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run(
        [*command, __file__, "--worker", str(int(quick))],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    if done.returncode:
        raise SystemExit("exchange: torchrun failed, its message is above")
    found = json.loads(done.stdout.splitlines()[-1])
    what = f"step of two processes, iwslt, {TOKENS:,} tokens each, gloo"
    yield compared(what, *found["seconds"])
    bar = round(found["parameters"][0] / found["parameters"][1] * 1.001, 5)
    what = "bytes exchanged a step, iwslt (bar: the parameter ratio)"
    yield compared(what, *[[size / 2**20] for size in found["bytes"]], bar, unit="MiB")


def _worker(quick: bool) -> None:
    dist.init_process_group("gloo")
    torch.manual_seed(1)
    ours, dense, task = build("iwslt")
    torch.manual_seed(dist.get_rank())
    sample = batch(task, TOKENS)
    counts: list[dict[str, int]] = [{}, {}]
    steps = [
        training_step(_counting(model, count), sample, task)
        for model, count in zip((ours, dense), counts)
    ]
    # Both processes must make the same number of pairs, so it is fixed.
    seconds = take_turns(*steps, quick, pairs=3 if quick else 7)
    if dist.get_rank() == 0:
        totals = [count["bytes"] // count["steps"] for count in counts]
        sizes = [sum(p.numel() for p in model.parameters()) for model in (ours, dense)]
        print(json.dumps({"seconds": seconds, "bytes": totals, "parameters": sizes}))
    dist.destroy_process_group()


def _counting(model: nn.Module, count: dict[str, int]) -> ModuleProxyWrapper:
    """The model under DDP; it counts the bytes that it sends and the steps that it takes."""
    wrapped = DistributedDataParallel(model)
    count.update(bytes=0, steps=0)

    def hook(group, bucket):
        count["bytes"] += bucket.buffer().nbytes
        count["steps"] += bucket.is_last()
        return allreduce_hook(group, bucket)

    wrapped.register_comm_hook(None, hook)
    return ModuleProxyWrapper(wrapped)  # fairseq's criterion asks the model for its targets


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        _worker(bool(int(sys.argv[2])))
    else:
        write(measure, __doc__)
