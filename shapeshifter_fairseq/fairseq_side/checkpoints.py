"""fairseq's checkpoints as files: read weights-only, written whole or not at all."""

from __future__ import annotations

import os
import pickle
import zipfile
from argparse import Namespace
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import torch
from torch import Tensor

from ..corpus import Corpus
from ..errors import ShapeshifterError
from ..writing import whole_file
from .safe_types import IN_FILES


@contextmanager
def explained(path: str | Path) -> Iterator[None]:
    """Inside, an error in reading a checkpoint becomes a `ShapeshifterError` that names the file.

    A `MemoryError` says nothing about the file, and is passed on.
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
            "run code (or it is not a checkpoint); get it from somebody you trust"
        ) from error
    except OSError as error:  # the disk or the system failed, not the file
        raise ShapeshifterError(f"{path} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # torch raises a dozen kinds, depending on the damage
        raise ShapeshifterError(
            f"{path} cannot be read as a checkpoint: it is truncated or damaged, or not a "
            "checkpoint of fairseq's; take another, such as checkpoint_best.pt or an earlier one"
        ) from error


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint; its tensors stay in the file until they are used.

    Raises:
        ShapeshifterError: if the file is missing, cannot be opened, is truncated, is not a
            checkpoint of fairseq's, or holds more than weights and settings.
    """
    with explained(path):
        # Map the file where its format allows it (torch's before 1.6 does not): so the optimizer's
        # state, two thirds of the file, is not read.
        mapped = zipfile.is_zipfile(path)
        torch.serialization.add_safe_globals(IN_FILES)
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    model = state.get("model") if isinstance(state, dict) else None
    if not isinstance(model, dict) or not all(isinstance(each, Tensor) for each in model.values()):
        raise ShapeshifterError(f"{path} is not a checkpoint of fairseq's: it holds no model")
    return state


def newest_checkpoint(folder: Path) -> tuple[Path, int, bool] | None:
    """A run's whole checkpoint with the most updates, these, and whether it is the best so far.

    fairseq writes a checkpoint under another name and then renames it, so it is whole. But then it
    copies it to checkpoint_last.pt and, if it is the best so far, to checkpoint_best.pt, in place.
    A run that is killed while it copies leaves a truncated copy. The whole checkpoint itself
    records whether it is the best. (A folder that was copied has times in any order.)
    """
    found = []
    for path in folder.glob("checkpoint*.pt"):
        if zipfile.is_zipfile(path):  # the directory of a zip archive is its end
            state = read_checkpoint(path)
            if not (state.get("extra_state") and state.get("optimizer_history")):
                continue  # not of a training
            loss, best = (state["extra_state"].get(name) for name in ("val_loss", "best"))
            is_best = loss is not None and loss == best  # as fairseq decides; None: not validated
            updates = state["optimizer_history"][-1]["num_updates"]
            found.append((updates, path.stat().st_mtime, path, is_best))
    if not found:
        return None
    updates, _, path, is_best = max(found, key=lambda each: each[:2])
    return path, updates, is_best


def corpus_of(checkpoint: Path, data: Path) -> Corpus:
    """A prepared corpus, in the direction in which a model translates it.

    Raises:
        ShapeshifterError: if one of them cannot be read, or if the model was trained with other
            dictionaries. This can be seen only while the folder that it was trained on is there.
    """
    corpus, state = Corpus.read(data), read_checkpoint(checkpoint)
    found = (state.get("cfg") or {}).get("task") or state.get("args") or {}
    task = vars(found) if isinstance(found, Namespace) else found
    source, target = task.get("source_lang"), task.get("target_lang")
    if source and target:
        corpus = replace(corpus, source=source, target=target)
    if trained_on := (task.get("data") or "").partition(os.pathsep)[0]:  # fairseq takes several
        for side in (corpus.source, corpus.target):
            theirs, ours = (Path(folder, f"dict.{side}.txt") for folder in (trained_on, data))
            both = theirs.is_file() and ours.is_file()
            if both and theirs.read_bytes() != ours.read_bytes():
                raise ShapeshifterError(
                    f"{checkpoint} was trained on {trained_on}, whose dictionary of {side} is not "
                    f"that of {data}; give the corpus that the model was trained on"
                )
    return corpus


def of_file(path: str | Path, weights: Mapping[str, Tensor]) -> OrderedDict[str, Tensor]:
    """A state dict that knows its file, for `file_of`.

    The file is an attribute, like torch's `_metadata`, because fairseq passes the dict on to the
    model and nothing else.
    """
    named = OrderedDict(weights)
    vars(named).update(getattr(weights, "__dict__", {}), file=str(path))
    return named


def file_of(weights: Mapping[str, Tensor]) -> str:
    """The file that a state dict comes from, or "the checkpoint"."""
    return getattr(weights, "file", "the checkpoint")


def refuse_to_replace(out: Path, force: bool, *made_from: Path) -> None:
    """Raise a `ShapeshifterError` if the file exists already, is an input, or cannot be written.

    Called before the work begins; `write_checkpoint` replaces a file once the new one is whole.
    """
    if out.exists() and not force:
        raise ShapeshifterError(f"{out} exists; choose another name, or replace it with --force")
    if any(each.exists() and out.exists() and each.samefile(out) for each in made_from):
        raise ShapeshifterError(f"{out} is what it would be made from; choose another name")
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
    # Opened here: torch would hide a full disk behind an error of its own.
    with whole_file(out) as part, part.open("wb") as file:
        torch.save(state, file)
