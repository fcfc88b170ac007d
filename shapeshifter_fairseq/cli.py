"""`shapeshifter` and `python -m shapeshifter_fairseq`: what is done beside training."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from .commands import average, compare, fold, params, project, user_dir
from .errors import ShapeshifterError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="shapeshifter", description=__doc__)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(required=True, dest="command", metavar="COMMAND")
    for command in (user_dir, params, project, average, fold, compare):
        command.add_to(commands)
    args, args.fairseq_options = parser.parse_known_args(argv)
    if args.fairseq_options and args.run is not params.run:
        parser.error(f"unrecognized arguments: {' '.join(args.fairseq_options)}")
    try:
        args.run(args)
    except ShapeshifterError as error:
        if args.debug:
            raise
        print(f"shapeshifter: error: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        if args.debug:
            raise
        way_out = "pip install 'shapeshifter-fairseq[fairseq,recipes]'"
        print(f"shapeshifter: error: {args.command} needs {error.name}: {way_out}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
