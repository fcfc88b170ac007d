"""(h) What a training step calls: how many kernels, how long the calls themselves take, how often
it waits, how long a GPU is busy.

The calls are counted on a CPU, so they need no GPU: an eager step of these models waits for its
launches, and the calls that it makes are the kernels that a GPU would launch. Where our code
chooses by device, it chooses as on a GPU. How long the kernels run is measured where there is one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from unittest import mock

import torch
from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterion
from fairseq.dataclass.configs import FairseqConfig
from fairseq.optim import FP16Optimizer
from fairseq.optim.adam import FairseqAdamConfig
from models import VOCABULARIES, batch, build, training_step
from omegaconf import OmegaConf
from pairs import Row, compared, devices, missing_gpu, take_turns, write
from torch import nn
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

from shapeshifter_fairseq.factorizations import cost, multiplying
from shapeshifter_fairseq.fairseq_side.counting import build_models

BAR = 1.05  # under autocast, where the dense model casts each weight
HELD_BAR = 1.10  # with weights in half precision, where nothing is cast
BUSY_BAR = 1.00
RECIPE_TOKENS = 16384
TOKENS = 512
# A model and a batch so small that a step's time is that of its calls, hardly of arithmetic.
SMALL_VOCABULARY, SMALL_BATCH = 96, 25
NARROW = (
    "--encoder-embed-dim 32 --encoder-ffn-embed-dim 32 --decoder-embed-dim 32 "
    "--decoder-ffn-embed-dim 32 --layer-rank 2 --embed-rank 2"
).split()
# Calls that launch no kernel, other than views: they take memory, or give a tensor another shape.
NO_KERNELS = {"_unsafe_view", "empty", "empty_like", "new_empty", "new_empty_strided"}
NO_KERNELS |= {"promote_types", "_local_scalar_dense"}
# Calls after which the program waits until the GPU is done.
WAITS = {"_local_scalar_dense", "nonzero", "_unique2", "unique_dim", "unique_consecutive"}
WAITS |= {"masked_select", "repeat_interleave", "equal"}


class Calls(TorchDispatchMode):
    """Counts the calls that reach torch's kernels, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.by_name: Counter[str] = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if not function.is_view:
            self.by_name[function.overloadpacket.__name__] += 1
        return function(*args, **(kwargs or {}))

    @property
    def kernels(self) -> int:
        return sum(n for name, n in self.by_name.items() if name not in NO_KERNELS)

    @property
    def waits(self) -> int:
        return sum(self.by_name[name] for name in WAITS)


def calls_of_a_step(model: nn.Module, task, tokens: int = TOKENS, autocast: bool = True) -> Calls:
    """Forward, loss and backward in half precision.

    Args:
        autocast: as `fairseq-train --amp` does it; else the model holds bf16, as --fp16 makes it
            hold fp16.
    """
    criterion = LabelSmoothedCrossEntropyCriterion(task, sentence_avg=False, label_smoothing=0.1)
    sample = batch(task, tokens)
    model.zero_grad()
    if not autocast:
        model.bfloat16()
    with choices_of_a_gpu(), Calls() as calls:
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss, _, _ = criterion(model, sample)
        loss.backward()
    return calls


def calls_of_an_update(model: nn.Module) -> Calls:
    """What `fairseq-train --fp16` calls after the backward pass.

    Fairseq's optimizer copies each gradient into one fp32 tensor, steps with Adam on that, and
    copies each parameter back. A factorized matrix has two parameters where a dense one has one.
    """
    config = OmegaConf.structured(FairseqConfig)
    OmegaConf.set_struct(config, False)
    config.optimizer = OmegaConf.structured(FairseqAdamConfig(_name="adam"))
    config.optimization.lr = [5e-4]
    with mock.patch("torch.cuda.current_device", lambda: None):
        optimizer = FP16Optimizer.build_optimizer(config, list(model.parameters()))
    optimizer.multiply_grads(1 / TOKENS)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    calls = Calls()
    for counts in (False, True):  # the first update makes Adam's moments
        optimizer._needs_sync = True
        with calls if counts else nullcontext():
            optimizer.clip_grad_norm(0.0)
            optimizer.step()
    return calls


@contextmanager
def choices_of_a_gpu() -> Iterator[None]:
    """Inside, our code makes the choices of a GPU on a CPU."""
    own = cost.is_gpu
    multiplying.is_gpu = cost.is_gpu = lambda device: True
    try:
        yield
    finally:
        multiplying.is_gpu = cost.is_gpu = own


def measure(quick: bool) -> Iterator[Row]:
    for name in VOCABULARIES:
        ours, dense, task = build(name)
        counted = [calls_of_a_step(model, task) for model in (ours, dense)]
        for what, bar in (("kernels", BAR), ("waits", 1.0)):
            figures = [[float(getattr(calls, what))] for calls in counted]
            yield compared(f"{what} of a training step, {name}", *figures, bar, unit="calls")
        held = [[float(calls_of_a_step(model, task, autocast=False).kernels)]
                for model in (ours, dense)]  # fmt: skip
        row = f"kernels of a training step, {name}, weights in bf16"
        yield compared(row, *held, HELD_BAR, unit="calls")
        updates = [[float(calls_of_an_update(model).kernels)] for model in (ours, dense)]
        row = f"kernels of a training step and fairseq's update, {name}, --fp16"
        whole = ([step[0] + update[0]] for step, update in zip(held, updates))
        yield compared(row, *whole, unit="calls")
        yield _time_of_calls(name, quick)
        for device, dtype in devices():
            if device == "cuda" and dtype != torch.float32:
                yield _busy(name, dtype, 3 if quick else 10)
    yield from missing_gpu(f"GPU busy, {RECIPE_TOKENS:,} tokens", BUSY_BAR)


def _time_of_calls(name: str, quick: bool) -> Row:
    """Seconds of forward, loss and backward in Python and torch's dispatch, on one thread.

    A GPU that waits for launches waits for these.
    """
    one_dictionary = VOCABULARIES[name][2]
    sizes = SMALL_VOCABULARY, SMALL_VOCABULARY, one_dictionary
    dense, ours, task = build_models(f"shapeshifter_transformer_{name}", *sizes, NARROW)
    criterion = LabelSmoothedCrossEntropyCriterion(task, sentence_avg=False, label_smoothing=0.1)
    sample = batch(task, SMALL_BATCH)

    def step(model: nn.Module) -> None:
        model.zero_grad()
        loss, _, _ = criterion(model, sample)
        loss.backward()

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with choices_of_a_gpu():
        times = take_turns(lambda: step(ours), lambda: step(dense), pairs=20 if quick else 100)
    torch.set_num_threads(threads)
    return compared(f"time of a training step's calls, {name}", *times)


def _busy(name: str, dtype: torch.dtype, steps: int) -> Row:
    """Milliseconds in which the GPU runs kernels of a step, by torch's profiler."""
    ours, dense, task = build(name, "cuda")
    sample = batch(task, RECIPE_TOKENS, "cuda")
    both = [training_step(model, sample, task, dtype) for model in (ours, dense)]
    found: list[list[float]] = [[], []]
    for turn in range(steps + 1):
        for step, busy in zip(both, found):
            with profile(activities=[ProfilerActivity.CUDA]) as profiler:
                step()
                torch.cuda.synchronize()
            if turn:  # the first one makes the gradients and the moments
                events = profiler.key_averages()
                busy.append(sum(event.self_device_time_total for event in events) / 1000)
    what = f"GPU busy, {name}, {RECIPE_TOKENS:,} tokens, {str(dtype)[6:]}"
    return compared(what, *found, BUSY_BAR, unit="ms")


if __name__ == "__main__":
    write(measure, __doc__)
