"""(b) Beam search against the dense model's, and the time from a checkpoint to its first token."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from fairseq.sequence_generator import SequenceGenerator
from models import LENGTH, VOCABULARIES, batch, build
from pairs import Row, devices, missing_gpu, timed, write
from torch import nn

from shapeshifter_fairseq.fairseq_side.counting import build_model

BAR = 1.01  # the same for any batch
LOADING_BAR = 1.0


def measure(quick: bool) -> Iterator[Row]:
    sizes = [1, 32] if quick else [1, 32, 128]
    for name in ["iwslt"] if quick else VOCABULARIES:
        for device, dtype in devices():
            for sentences in sizes:
                ours, dense, task = build(name, device)
                sample = batch(task, sentences * LENGTH, device)
                both = [translation(model.to(dtype), sample, task) for model in (ours, dense)]
                what = f"generation, {name}, beam 5, {sentences} sentences, {device}"
                yield timed(f"{what} {str(dtype)[6:]}", *both, quick, BAR)
        yield _loading(name, quick)
    yield from missing_gpu("generation, beam 5", BAR)


def translation(model: nn.Module, sample: dict, task, length: int = LENGTH) -> Callable[[], object]:
    # Untrained models end sentences at random: both have to make the same number of steps.
    model.eval().make_generation_fast_()
    generator = SequenceGenerator(
        [model], task.target_dictionary, beam_size=5, max_len_a=0, max_len_b=length, min_len=length
    )
    return lambda: generator.generate([model], sample)


def _loading(name: str, quick: bool) -> Row:
    """Read a checkpoint, build the model, load its state, translate up to the first token."""
    ours, dense, task = build(name)
    sample = batch(task, LENGTH)
    with tempfile.TemporaryDirectory() as folder:
        both = []
        for model, plan in ((ours, ""), (dense, "*=dense")):
            path = Path(folder) / f"{len(both)}.pt"
            torch.save(model.state_dict(), path)
            both.append(partial(_first_token, path, name, ["--factor-plan", plan], sample, task))
        what = f"load a checkpoint to the first token, {name}, cpu float32"
        return timed(what, *both, quick, LOADING_BAR)


def _first_token(path: Path, name: str, options: list[str], sample: dict, task) -> None:
    model = build_model(f"shapeshifter_transformer_{name}", options, task)
    model.load_state_dict(torch.load(path, weights_only=True))
    translation(model, sample, task, length=1)()


if __name__ == "__main__":
    write(measure, __doc__)
