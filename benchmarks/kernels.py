"""(h) What a training step calls: how many kernels, and how often it waits for a GPU.

Counted on a CPU, so it needs no GPU: an eager step of these models waits for its launches, and the
calls that it makes are the kernels that a GPU would launch. Where our code chooses by device, it
chooses as on a GPU.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterion
from models import VOCABULARIES, batch, build
from pairs import Row, compared, write
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from shapeshifter_fairseq.factorizations import cost, factorization

BAR = 1.05
TOKENS = 512
# Calls that are no kernels, beside views: memory is taken, or what is there gets another shape.
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


def calls_of_a_step(model: nn.Module, task, tokens: int = TOKENS) -> Calls:
    """Forward, loss and backward in bf16 under autocast."""
    criterion = LabelSmoothedCrossEntropyCriterion(task, sentence_avg=False, label_smoothing=0.1)
    sample = batch(task, tokens)
    model.zero_grad()
    with choices_of_a_gpu(), Calls() as calls:
        with torch.autocast("cpu", torch.bfloat16):
            loss, _, _ = criterion(model, sample)
        loss.backward()
    return calls


@contextmanager
def choices_of_a_gpu() -> Iterator[None]:
    """Inside, a CPU takes the ways that are chosen on a GPU."""
    own = factorization.is_gpu
    factorization.is_gpu = cost.is_gpu = lambda device: True
    try:
        yield
    finally:
        factorization.is_gpu = cost.is_gpu = own


def measure(quick: bool) -> Iterator[Row]:
    for name in VOCABULARIES:
        ours, dense, task = build(name)
        counted = [calls_of_a_step(model, task) for model in (ours, dense)]
        for what, bar in (("kernels", BAR), ("waits", 1.0)):
            figures = [[float(getattr(calls, what))] for calls in counted]
            yield compared(f"{what} of a training step, {name}", *figures, bar, unit="calls")


if __name__ == "__main__":
    write(measure, __doc__)
