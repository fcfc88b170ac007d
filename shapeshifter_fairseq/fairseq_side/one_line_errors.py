"""Under fairseq's commands a user's mistake ends in one line, not in a traceback.

fairseq lets exceptions run to the top of the process. The hook below stands there: it prints the
message of a `ShapeshifterError`, and that there is no data, and passes all else on untouched.
`SHAPESHIFTER_DEBUG=1` brings the traceback back.
"""

from __future__ import annotations

import functools
import sys
import traceback
from collections.abc import Iterator
from types import TracebackType
from typing import Any

from fairseq import checkpoint_utils

from ..errors import ShapeshifterError, traceback_is_wanted
from .checkpoints import explained, of_file


def name_checkpoints_in_errors() -> None:
    """Let errors about a checkpoint that fairseq reads from now on name its file; torch's do not.

    All of fairseq reads checkpoints by one function, which is wrapped, once.
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


def report_mistakes_in_one_line() -> None:
    """Install the hook, once, in front of the one that is there."""
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
    for cause in _chain(error):
        if isinstance(cause, MemoryError) or not isinstance(cause, Exception):
            return None  # as KeyboardInterrupt: whatever it came upon is not to blame
        if isinstance(cause, ShapeshifterError):
            return str(cause)
        if isinstance(cause, FileNotFoundError) and _passed(cause, "fairseq.tasks.translation"):
            return f"{cause.filename or cause}: no data there; run fairseq-preprocess first"
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception and those that led to it (fairseq wraps what went wrong while loading)."""
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__ or current.__context__


def _passed(error: BaseException, module: str) -> bool:
    """Whether the error came up through a module."""
    frames = traceback.walk_tb(error.__traceback__)
    return any(frame.f_globals["__name__"] == module for frame, _ in frames)
