"""(b) Beam search over the dense model's, and the time from a checkpoint to its first token."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from fairseq.models import ARCH_MODEL_REGISTRY
from fairseq.sequence_generator import SequenceGenerator
from models import LENGTH, VOCABULARIES, batch, build
from pairs import Row, device_settings, not_measured, timed, write
from torch import nn

BAR = 1.01  # the same for any batch
LOADING_BAR = 1.0


def measure(quick: bool) -> Iterator[Row]:
    sizes = [1, 32] if quick else [1, 32, 128]
    for name in ["iwslt"] if quick else VOCABULARIES:
        for device, dtype, missing in device_settings():
            precision = str(dtype).removeprefix("torch.")
            for sentences in sizes:
                what = f"generation, {name}, beam 5, {sentences} sentences, {device} {precision}"
                if missing:
                    yield not_measured(what, missing, BAR)
                    continue
                ours, dense, task = build(name, device)
                sample = batch(task, sentences * LENGTH, device)
                both = [translation(model.to(dtype), sample, task) for model in (ours, dense)]
                yield timed(what, *both, quick, BAR)
        yield _loading(name, quick)


def translation(model: nn.Module, sample: dict, task, length: int = LENGTH) -> Callable[[], object]:
    # Untrained models end sentences at random: both are held to the same number of steps.
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
        for kind, model in (("ours", ours), ("dense", dense)):
            path = Path(folder) / f"{kind}.pt"
            torch.save({"args": model.args, "model": model.state_dict()}, path)
            both.append(partial(_first_token, path, sample, task))
        what = f"load a checkpoint to the first token, {name}, cpu float32"
        return timed(what, *both, quick, LOADING_BAR)


def _first_token(path: Path, sample: dict, task) -> None:
    state = torch.load(path, weights_only=True)
    model = ARCH_MODEL_REGISTRY[state["args"].arch].build_model(state["args"], task)
    model.load_state_dict(state["model"])
    translation(model, sample, task, length=1)()


if __name__ == "__main__":
    write(measure, __doc__)
