"""`shapeshifter average`: one checkpoint whose weights are the mean of several of one run.

fairseq's own script for this is not part of its wheels. For a factorized matrix, the stored factors
are averaged: if they are close to each other, their mean gives nearly the mean of the matrices.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import ShapeshifterError
from .checkpoints import read_checkpoint, refuse_to_replace, write_checkpoint
from .weights import first_names, is_weight, read_weights, weights_of


def average(
    checkpoints: Sequence[Path], out: Path, *, ema: bool = False, force: bool = False
) -> None:
    """Write the mean of fairseq checkpoints of one run, see `mean_of`.

    Args:
        ema: as for `mean_of`.
        force: replace `out`, once the new file is whole.

    Raises:
        ShapeshifterError: as `mean_of`, `refuse_to_replace` and `write_checkpoint` do.
    """
    refuse_to_replace(out, force, *checkpoints)
    write_checkpoint(mean_of(checkpoints, ema=ema), out)


def mean_of(checkpoints: Sequence[Path], *, ema: bool = False) -> dict[str, Any]:
    """The mean of fairseq checkpoints of one run; settings and history are the last one's.

    ``["extra_state"]["averaged"]`` of the result names the files.

    Parameters are averaged and tied ones stay tied. All else has to be the same in all files:
    integers, and the `scale` of factorized matrices (factors are comparable only at one scale).

    Args:
        checkpoints: files of one model, at least one; read weights-only, one at a time.
        ema: average the EMAs instead, see `read_weights`.

    Raises:
        ShapeshifterError: if a file is not a checkpoint, holds more than weights and settings, or
            is of another model or another run than the last.
    """
    if not checkpoints:
        raise ShapeshifterError("there is nothing to average: give at least one checkpoint")
    *others, last = checkpoints
    state = read_weights(last, ema)
    model: dict[str, Tensor] = state["model"]
    names = first_names(model)  # a tied tensor is averaged under the first of them
    sums = {name: model[name].double() for name in names.values() if is_weight(name, model[name])}
    for path in others:
        other = weights_of(path, read_checkpoint(path), ema)
        _refuse_another_model(path, other, last, model)
        for name in sums:
            sums[name] += other[name]
    means = {name: (sums[name] / len(checkpoints)).to(model[name].dtype) for name in sums}
    state["model"] = {
        name: means.get(first, tensor)
        for (name, first), tensor in zip(names.items(), model.values())
    }
    names_of_all = {"averaged": [path.name for path in checkpoints]}
    state["extra_state"] = (state.get("extra_state") or {}) | names_of_all
    state.pop("last_optimizer_state", None)  # only needed to continue the training
    return state


def last_checkpoints(folder: Path, count: int) -> list[Path]:
    """The newest checkpoints of a training, oldest first: as many as there are, at most `count`.

    Those that fairseq saved by updates (checkpoint_EPOCH_UPDATES.pt), or else by epochs
    (checkpointEPOCH.pt); never checkpoint_last.pt and checkpoint_best.pt, which are copies.

    Raises:
        ShapeshifterError: if the folder holds none, or `count` is below 1.
    """
    if count < 1:
        raise ShapeshifterError(f"--last {count}: give a number of checkpoints, 1 or more")
    for pattern in (r"checkpoint_\d+_(\d+)\.pt", r"checkpoint(\d+)\.pt"):
        found = [(re.fullmatch(pattern, path.name), path) for path in folder.glob("*.pt")]
        numbered = sorted((int(match[1]), path) for match, path in found if match)
        if numbered:
            return [path for _, path in numbered[-count:]]
    raise ShapeshifterError(
        f"--last: {folder} holds no checkpoint_EPOCH_UPDATES.pt and no checkpointEPOCH.pt; train "
        "with --save-interval-updates N or without --no-epoch-checkpoints"
    )


def _refuse_another_model(
    path: Path, other: dict[str, Tensor], last: Path, model: dict[str, Tensor]
) -> None:
    if odd := sorted(other.keys() ^ model.keys()):
        raise ShapeshifterError(
            f"{path} is of another model than {last}: only one of them has {odd[0]}; average "
            "checkpoints of one run"
        )
    for name, tensor in model.items():
        if other[name].shape != tensor.shape:
            raise ShapeshifterError(
                f"{path} is of another model than {last}: {name} is {tuple(other[name].shape)} "
                f"there and {tuple(tensor.shape)} here; average checkpoints of one run"
            )
        if not is_weight(name, tensor) and not torch.equal(other[name], tensor):
            raise ShapeshifterError(
                f"{path} and {last} differ in {name}, which training does not change: they are of "
                "two runs (--layer-gain, --embed-gain); average checkpoints of one run"
            )
