"""How the scripts talk to people: options, lines of progress, and one line for an error."""

from __future__ import annotations

import argparse
import errno
import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import NoReturn

from shapeshifter_fairseq.errors import ShapeshifterError, traceback_is_wanted


class Failed(Exception):
    """Something that the user can mend; the message is one line with the way out."""


def say(text: str) -> None:
    """Print a line at once, even into a file, and in one piece even if other threads print."""
    print(f"{text}\n", end="", flush=True)


def run(script: str, main: Callable[[], None]) -> None:
    """Run a script's main(); an error that the user can mend ends it with one line."""
    sys.argv[0] = script
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(f"\n{script}: interrupted; run the same command again to resume")
    except BrokenPipeError:  # `| head`
        sys.exit(1)
    except (Failed, ShapeshifterError, OSError) as error:
        if traceback_is_wanted():
            raise
        sys.exit(f"{script}: error: {reason_of(error)}")


def reason_of(error: BaseException) -> str:
    """Why something failed, in one line."""
    if isinstance(error, OSError) and error.errno == errno.EFBIG:
        return "a file became larger than this shell allows (ulimit -f)"
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"the disk is full{f': {error.filename}' if error.filename else ''}"
    return str(error) or type(error).__name__


class Parser(argparse.ArgumentParser):
    """Options of a script; a mistake is one line. What comes after -- is passed on.

    Args:
        usage: what follows the script's name.
        description, epilog: printed as they are.
        rest: what the arguments after -- are for, such as "fairseq-train"; None if there are none.
    """

    def __init__(
        self, usage: str, description: str, epilog: str = "", rest: str | None = None
    ) -> None:
        self.rest = rest
        super().__init__(
            usage=f"%(prog)s {usage}" + (f" [-- options of {rest}]" if rest else ""),
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def split(self, arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
        """The options, and what comes after --."""
        arguments = list(arguments)
        at = arguments.index("--") if self.rest and "--" in arguments else len(arguments)
        return self.parse_args(arguments[:at]), arguments[at + 1 :]

    def error(self, message: str) -> NoReturn:
        message = message.removeprefix("argument ")
        if message.startswith("unrecognized") and self.rest:
            message += f" (options of {self.rest} come after --)"
        self.exit(2, f"{self.prog}: error: {message}; try --help\n")


def number(text: str, least: int = 0) -> int:
    """A number of at least `least`, as argparse's `type`."""
    if not (text.isascii() and text.isdigit() and int(text) >= least):
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of at least {least}")
    return int(text)


positive = partial(number, least=1)


def numbers(text: str) -> list[int]:
    """Numbers such as seeds, "1,2" or "1-6", as argparse's `type`."""
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        found += range(number(first), number(last or first) + 1)
    if not found:
        raise argparse.ArgumentTypeError(f"'{text}' holds no number")
    return found


def variable(name: str, default: object, kind: Callable[[str], int] = positive) -> int:
    """A number from the environment."""
    try:
        return kind(os.environ.get(name) or str(default))
    except argparse.ArgumentTypeError as error:
        raise Failed(f"{name}: {error}") from error


def folder(text: str) -> Path:
    """A path that is not empty."""
    if not text:
        raise argparse.ArgumentTypeError("it needs a value")
    return Path(text)


def need_modules(*names: str, way_out: str = "run: bash recipes/install.sh") -> None:
    """Stop now if a module is missing, not half an hour later."""
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise Failed(f"the Python module '{name}' is missing in {sys.executable}; {way_out}")


def need_place(option: str, folder: Path) -> None:
    """Stop now if a folder cannot be written to; it is made if necessary."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise Failed(f"{option}: nothing can be written in {folder}: {error.strerror}") from error


def refuse_separator(path: Path) -> None:
    """Stop now if fairseq would take a path for several."""
    if os.pathsep in str(path):
        raise Failed(f"{path}: fairseq takes '{os.pathsep}' for the end of a path; rename it")


def is_dry_run() -> bool:
    """Whether the environment (DRY_RUN=1) asks for the commands alone."""
    return bool(os.environ.get("DRY_RUN"))


def is_full(place: Path) -> bool:
    """Whether the disk has less than 64 KiB left."""
    return shutil.disk_usage(place).free < 1 << 16
