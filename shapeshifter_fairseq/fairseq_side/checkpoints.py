"""fairseq's checkpoints as files: read weights-only, written whole or not at all."""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import torch
from torch import Tensor

from ..errors import ShapeshifterError
from ..writing import whole_file
from .safe_types import IN_FILES


@contextmanager
def explained(path: str | Path) -> Iterator[None]:
    """Inside, what goes wrong while a checkpoint is read is a `ShapeshifterError` that names it.

    Memory that runs out says nothing about the file, and stays what it is.
    """
    try:
        yield
    except MemoryError:
        raise
    except FileNotFoundError as error:
        raise ShapeshifterError(f"there is no checkpoint {path}") from error
    except pickle.UnpicklingError as error:
        raise ShapeshifterError(
            f"{path} is refused: it holds more than weights and settings, and reading that could "
            "run code (or it is no checkpoint); get it from somebody you trust"
        ) from error
    except OSError as error:  # the disk's or the system's word, not the file's fault
        raise ShapeshifterError(f"{path} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # torch raises a dozen kinds, as the damage has it
        raise ShapeshifterError(
            f"{path} cannot be read as a checkpoint: it is truncated or damaged, or no checkpoint "
            "of fairseq's; take another, for example checkpoint_best.pt or one of an earlier epoch"
        ) from error


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint; its tensors stay in the file until they are used.

    Raises:
        ShapeshifterError: if there is none, it cannot be opened, is truncated, is no checkpoint of
            fairseq's, or holds more than weights and settings.
    """
    with explained(path):
        # Mapped, where the format allows it (that of torch before 1.6 does not): of the optimizer's
        # state, two thirds of the file, nothing is read.
        mapped = zipfile.is_zipfile(path)
        torch.serialization.add_safe_globals(IN_FILES)
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    if not isinstance(state, dict) or not isinstance(state.get("model"), dict):
        raise ShapeshifterError(f"{path} is no checkpoint of fairseq's: it holds no model")
    return state


def newest_checkpoint(folder: Path) -> tuple[Path, int, bool] | None:
    """The newest whole checkpoint of a run, its updates, and whether it is the best so far.

    fairseq writes a checkpoint aside and renames it, but copies it to checkpoint_best.pt, if it is
    the best so far, and to checkpoint_last.pt in place: a run killed in that moment leaves a cut
    copy beside the whole checkpoint, which says itself whether it is the best.
    """
    files = folder.glob("checkpoint*.pt")
    for path in sorted(files, key=lambda path: path.stat().st_mtime, reverse=True):
        if zipfile.is_zipfile(path):  # the directory of a zip archive is its end
            state = read_checkpoint(path)
            loss, best = (state["extra_state"].get(name) for name in ("val_loss", "best"))
            is_best = loss is not None and loss == best  # as fairseq decides; None: not validated
            return path, state["optimizer_history"][-1]["num_updates"], is_best
    return None


def of_file(path: str | Path, weights: Mapping[str, Tensor]) -> OrderedDict[str, Tensor]:
    """A state dict that knows its file, for `file_of`.

    It is an attribute, as torch keeps a state dict's `_metadata`: fairseq hands the dict on to the
    model and nothing beside it.
    """
    named = OrderedDict(weights)
    vars(named).update(getattr(weights, "__dict__", {}), file=str(path))
    return named


def file_of(weights: Mapping[str, Tensor]) -> str:
    """The file that a state dict is of, or "the checkpoint"."""
    return getattr(weights, "file", "the checkpoint")


def refuse_to_replace(out: Path, force: bool) -> None:
    """Raise a `ShapeshifterError` where there is a file already, or none can be written.

    Asked before the work begins; `write_checkpoint` replaces a file only when the new one is whole.
    """
    if out.exists() and not force:
        raise ShapeshifterError(f"{out} exists; choose another name, or replace it with --force")
    if not out.parent.is_dir():
        raise ShapeshifterError(f"{out} cannot be written: there is no folder {out.parent}")
    try:
        with TemporaryFile(dir=out.parent):
            pass
    except OSError as error:
        raise ShapeshifterError(f"{out} cannot be written: {error.strerror}") from error


def write_checkpoint(state: dict[str, Any], out: Path) -> None:
    """Write a checkpoint; it takes its name only when whole.

    Raises:
        ShapeshifterError: if it cannot be written, for example because the disk is full.
    """
    # Opened here: torch would say in words of its own that the disk is full.
    with whole_file(out) as part, part.open("wb") as file:
        torch.save(state, file)
