"""`shapeshifter`, or `python -m shapeshifter_fairseq`: count, convert, pack and compare models."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import warnings
from collections.abc import Sequence
from typing import NoReturn

from .commands import (
    average,
    compare,
    fold,
    pack,
    params,
    project,
    translate,
    unpack,
    user_dir,
)
from .errors import ShapeshifterError, traceback_is_wanted

COMMANDS = {
    "user-dir": user_dir,
    "params": params,
    "project": project,
    "average": average,
    "fold": fold,
    "pack": pack,
    "unpack": unpack,
    "translate": translate,
    "compare": compare,
}


class _Parser(argparse.ArgumentParser):
    """Reports a wrong option in one line; each command's parser is of this class as well."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}; try --help\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    try:
        return _run(sys.argv[1:] if argv is None else argv)
    except KeyboardInterrupt:
        # Files are written whole or not at all, so there is nothing to resume.
        print(
            "shapeshifter: interrupted; run the same command again to start over", file=sys.stderr
        )
        return 130


def _warn(message: Warning | str, *_: object) -> None:
    print(f"shapeshifter: warning: {message}", file=sys.stderr)


def _read(argv: Sequence[str]) -> argparse.Namespace:
    """The options of a command, and what runs it (`run`)."""
    parser = _Parser(prog="shapeshifter", description=__doc__)
    commands = parser.add_subparsers(required=True, dest="command", metavar="COMMAND")
    for name, command in COMMANDS.items():
        its_parser = command.add_to(commands, name)
        # Only for the command that is called: some options need torch, which takes a second.
        if name in argv:
            command.add_options(its_parser)
    args, args.fairseq_options = parser.parse_known_args(argv)
    if args.fairseq_options and args.run is not params.run:
        files = not any(word.startswith("-") for word in args.fairseq_options)
        hint = " (give options before all files or after them)" if files else ""
        parser.error(f"unrecognized arguments: {' '.join(args.fairseq_options)}{hint}")
    return args


def _run(argv: Sequence[str]) -> int:
    logging.basicConfig(format="shapeshifter: %(message)s")
    # At import fairseq lists packages for speech that it did not find; nobody needs them here.
    logging.getLogger("fairseq").setLevel(logging.WARNING)
    try:
        args = _read(argv)
        with warnings.catch_warnings():
            warnings.showwarning = _warn
            args.run(args)
    except BrokenPipeError:  # `| head`: else Python fails when it flushes stdout at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ShapeshifterError, ModuleNotFoundError, OSError) as error:
        if traceback_is_wanted():
            raise
        line = str(error)
        if isinstance(error, OSError) and error.strerror:
            line = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
        if isinstance(error, ModuleNotFoundError):
            # pip adds the extras to what is installed, a wheel or a checkout.
            command = next(word for word in argv if word in COMMANDS)
            extras = getattr(COMMANDS[command], "EXTRAS", "fairseq")
            way_out = f"pip install 'shapeshifter-fairseq[{extras}]'"
            line = f"{command} needs {error.name}: {way_out}"
        print(f"shapeshifter: error: {line}", file=sys.stderr)
        return 2
    return 0
