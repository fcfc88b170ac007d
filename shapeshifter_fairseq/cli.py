"""`shapeshifter` and `python -m shapeshifter_fairseq`: what is done beside training."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from .commands import average, compare, fold, params, project, user_dir
from .errors import ShapeshifterError, traceback_is_wanted


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="shapeshifter", description=__doc__)
    commands = parser.add_subparsers(required=True, dest="command", metavar="COMMAND")
    for command in (user_dir, params, project, average, fold, compare):
        command.add_to(commands)
    args, args.fairseq_options = parser.parse_known_args(argv)
    if args.fairseq_options and args.run is not params.run:
        parser.error(f"unrecognized arguments: {' '.join(args.fairseq_options)}")
    try:
        args.run(args)
    except (ShapeshifterError, ModuleNotFoundError) as error:
        if traceback_is_wanted():
            raise
        line = str(error)
        if isinstance(error, ModuleNotFoundError):
            way_out = "bash recipes/install.sh, or pip install '.[fairseq,recipes]' in the checkout"
            line = f"{args.command} needs {error.name}: {way_out}"
        print(f"shapeshifter: error: {line}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
