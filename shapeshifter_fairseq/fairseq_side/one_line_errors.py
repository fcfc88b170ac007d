"""Under fairseq's commands a user's mistake ends in one line, not in a traceback.

fairseq lets exceptions reach the top of the process, where the hook below catches them. It prints
one line about a `ShapeshifterError`, missing data, a full disk or a missing TPU, and passes all
else on untouched. With `SHAPESHIFTER_DEBUG=1` there is a traceback again.
"""

from __future__ import annotations

import errno
import functools
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import torch
from fairseq import checkpoint_utils

from ..errors import ShapeshifterError, traceback_is_wanted
from ..writing import why_not_written
from .checkpoints import explained, of_file

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # disk, quota, ulimit -f


def name_checkpoints_in_errors() -> None:
    """From now on, name the file in errors about a checkpoint that fairseq reads or writes; torch
    does not.

    All of fairseq reads checkpoints with one function, which is wrapped once, and writes them with
    another, which is replaced.
    """
    read = checkpoint_utils.load_checkpoint_to_cpu
    if getattr(read, "is_shapeshifters", False):
        return

    @functools.wraps(read)
    def load_checkpoint_to_cpu(path: str, *args, **kwargs) -> dict[str, Any]:
        with explained(path):
            state = read(path, *args, **kwargs)
        if "model" in state:
            state["model"] = of_file(path, state["model"])
        return state

    load_checkpoint_to_cpu.is_shapeshifters = True
    checkpoint_utils.load_checkpoint_to_cpu = load_checkpoint_to_cpu
    checkpoint_utils._torch_persistent_save = _save


def _save(state: dict[str, Any], file: IO[bytes]) -> None:
    """Replaces fairseq's, which tries three times and appends each try to the same file."""
    try:
        torch.save(state, file)
    except (OSError, RuntimeError) as error:
        if not any(isinstance(cause, OSError) for cause in _chain(error)):
            raise  # the disk is not the reason
        # It is unfinished; fairseq renames only whole ones.
        Path(file.name).unlink(missing_ok=True)
        raise ShapeshifterError(_full(file.name.removesuffix(".tmp"), error)) from error


def report_mistakes_in_one_line() -> None:
    """Install the hook, once, in front of the present one."""
    previous = sys.excepthook
    if getattr(previous, "is_shapeshifters", False):
        return

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        line = one_line(error)
        if line is None or traceback_is_wanted():
            previous(kind, error, trace)
        else:
            print(f"shapeshifter: error: {line}", file=sys.stderr)

    hook.is_shapeshifters = True
    sys.excepthook = hook


def one_line(error: BaseException) -> str | None:
    """What to tell the user about an exception, or None if it is not ours to explain."""
    full = None
    for cause in _chain(error):
        if isinstance(cause, MemoryError) or not isinstance(cause, Exception):
            return None  # KeyboardInterrupt, say: the error before it is not the reason
        if isinstance(cause, ShapeshifterError):
            return str(cause)
        if isinstance(cause, FileNotFoundError) and _passed(cause, "fairseq.models"):
            return f"there is no file {cause.filename or cause}"  # --encoder-embed-path
        if isinstance(cause, FileNotFoundError) and _passed(cause, "fairseq.tasks.translation"):
            return f"{cause.filename or cause}: no data there; run fairseq-preprocess first"
        if isinstance(cause, OSError) and cause.errno in NO_ROOM:
            name = cause.filename2 or cause.filename or "a file"  # filename2: the target of a copy
            full = full or _full(name, cause)
        if isinstance(cause, AttributeError) and "xla_device" in str(cause):
            return (
                "--bf16 and --tpu make fairseq-train use a TPU, and torch_xla is missing; for bf16 "
                "elsewhere: fairseq-hydra-train common.bf16=true (docs/recipes.md)"
            )
    return full


def _full(name: str, error: BaseException) -> str:
    why = why_not_written(error)
    return f"{name} cannot be written: {why}; make room, then run the same command again"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception and those that led to it (fairseq wraps what went wrong while loading)."""
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__ or current.__context__


def _passed(error: BaseException, module: str) -> bool:
    """Whether the error came up through a module, or a package's."""
    names = [frame.f_globals["__name__"] for frame, _ in traceback.walk_tb(error.__traceback__)]
    return any(f"{name}.".startswith(f"{module}.") for name in names)
