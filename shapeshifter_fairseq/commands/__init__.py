"""The commands of `shapeshifter`, one in each file: its options, and what it prints."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import ShapeshifterError

Commands = Any  # what add_subparsers() returns; argparse has no public name for it


def add_command(
    commands: Commands,
    name: str,
    run: Callable[[argparse.Namespace], None],
    *,
    help: str,
    description: str,
    epilog: str = "",
) -> argparse.ArgumentParser:
    """Add a command to the parser; it calls `run` with the parsed options."""
    parser = commands.add_parser(
        name,
        help=help,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    return parser


def add_checkpoints(parser: argparse.ArgumentParser) -> None:
    """The options that `checkpoints_of` reads."""
    parser.add_argument("checkpoints", type=Path, nargs="*", metavar="CHECKPOINT")
    parser.add_argument(
        "--last",
        nargs=2,
        metavar=("N", "DIR"),
        help="the last N checkpoints in DIR (or as many as there are), instead of CHECKPOINT ...",
    )


def add_ema(parser: argparse.ArgumentParser) -> None:
    """The option that chooses the weights of a checkpoint."""
    parser.add_argument(
        "--ema",
        action="store_true",
        help="take the moving average of the weights (EMA) that fairseq-train --store-ema kept",
    )


def checkpoints_of(args: argparse.Namespace) -> list[Path]:
    """Checkpoints of one run, oldest first.

    Raises:
        ShapeshifterError: if there are none, or they are given in both ways.
    """
    if bool(args.checkpoints) == bool(args.last):
        raise ShapeshifterError(
            f"{args.command}: give CHECKPOINT ... or --last N DIR, one of the two"
        )
    if not args.last:
        return args.checkpoints
    from ..fairseq_side.averaging import last_checkpoints

    count, folder = args.last
    if not count.isdecimal():
        raise ShapeshifterError(f"--last {count}: give a number of checkpoints, then the folder")
    return last_checkpoints(Path(folder), int(count))
