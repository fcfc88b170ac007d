"""Write a file whole or not at all; if it cannot be written, one line says why."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import ShapeshifterError


def part_of(path: Path) -> Path:
    """The name of a result until it is whole."""
    return path.with_name(f"{path.name}.part")


@contextmanager
def whole_file(out: Path) -> Iterator[Path]:
    """Inside, write to the path that this gives; the file takes its name at the end, if all went
    well.

    Raises:
        ShapeshifterError: if it cannot be written, for example because the disk is full.
    """
    part = part_of(out)
    try:
        yield part
        part.replace(out)
    except (OSError, RuntimeError) as error:
        raise ShapeshifterError(f"{out} cannot be written: {why_not_written(error)}") from error
    finally:
        with suppress(OSError):  # it has its name already, or was never begun
            part.unlink()


def why_not_written(error: BaseException) -> str:
    """Why a file cannot be written; torch hides the system's reason behind errors of its own."""
    while error.__context__ is not None and not isinstance(error, OSError):
        error = error.__context__
    return (
        getattr(error, "strerror", None) or (str(error).splitlines() or [type(error).__name__])[0]
    )
