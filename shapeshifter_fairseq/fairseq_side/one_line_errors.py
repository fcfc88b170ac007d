"""Under fairseq's commands a user's mistake ends in one line, not in a traceback.

fairseq lets exceptions run to the top of the process. The hook below stands there: it answers the
exceptions that this package raises and those about an unreadable checkpoint or missing data, and
passes every other on untouched. `SHAPESHIFTER_DEBUG=1` brings the traceback back.
"""

from __future__ import annotations

import pickle
import sys
import traceback
from collections.abc import Iterator
from types import TracebackType

from ..errors import ShapeshifterError, traceback_is_wanted


def report_mistakes_in_one_line() -> None:
    """Install the hook, once, in front of the one that is there."""
    if not getattr(sys.excepthook, "is_shapeshifters", False):
        previous = sys.excepthook

        def hook(
            kind: type[BaseException], error: BaseException, trace: TracebackType | None
        ) -> None:
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
            return None  # as KeyboardInterrupt: wherever it came, it says nothing about a file
        checkpoint = _checkpoint_being_loaded(cause)
        if isinstance(cause, ShapeshifterError):
            return f"{checkpoint}: {cause}" if checkpoint else str(cause)
        if checkpoint and isinstance(cause, pickle.UnpicklingError):
            return (
                f"{checkpoint} is refused: it holds more than weights and settings, and reading "
                "that could run code (or it is no checkpoint). Get it from somebody you trust."
            )
        if checkpoint and _passed(cause, "torch.serialization"):
            if isinstance(cause, OSError):  # the disk's or the system's word, not the file's fault
                return f"{checkpoint} cannot be read: {cause.strerror or cause}"
            return (
                f"{checkpoint} cannot be read as a checkpoint: it is truncated or damaged. Take "
                "another, for example checkpoint_best.pt or an earlier epoch of the same run."
            )
        if isinstance(cause, FileNotFoundError) and _passed(cause, "fairseq.tasks.translation"):
            return f"{cause.filename or cause}: no data there; run fairseq-preprocess first"
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception and those that led to it (fairseq wraps what went wrong while loading)."""
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__ or current.__context__


# Where fairseq loads a checkpoint, and the local variable that holds the file's name. No message
# of torch's names the file.
_LOADERS = {
    "load_checkpoint": "filename",
    "load_model_ensemble_and_task": "filename",
    "load_checkpoint_to_cpu": "path",
}


def _checkpoint_being_loaded(error: BaseException) -> str | None:
    for frame, _ in traceback.walk_tb(error.__traceback__):
        variable = _LOADERS.get(frame.f_code.co_name)
        if variable in frame.f_locals and frame.f_globals["__name__"].startswith("fairseq."):
            return frame.f_locals[variable]
    return None


def _passed(error: BaseException, module: str) -> bool:
    """Whether the error came up through a module."""
    frames = traceback.walk_tb(error.__traceback__)
    return any(frame.f_globals["__name__"] == module for frame, _ in frames)
