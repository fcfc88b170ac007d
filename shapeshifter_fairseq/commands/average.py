"""`shapeshifter average`: the mean of several checkpoints."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import Commands, add_checkpoints, add_command, add_ema, checkpoints_of

EPILOG = """\
examples:
  shapeshifter average averaged.pt --last 10 runs/my-model
  shapeshifter average averaged.pt runs/my-model/checkpoint8.pt runs/my-model/checkpoint9.pt
  shapeshifter average ema.pt runs/my-model/checkpoint_last.pt --ema

The result is a checkpoint for fairseq-generate and for --finetune-from-model; it holds no state of
the optimizer and no EMA.
"""


def add_to(commands: Commands, name: str) -> argparse.ArgumentParser:
    return add_command(
        commands,
        name,
        run,
        help="average the weights of several checkpoints of one run",
        description="Write a checkpoint whose weights are the mean of several of one run.",
        epilog=EPILOG,
    )


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out", type=Path, metavar="OUT", help="checkpoint to write")
    add_checkpoints(parser)
    add_ema(parser)
    parser.add_argument("--force", action="store_true", help="replace OUT")


def run(args: argparse.Namespace) -> None:
    from ..fairseq_side.averaging import average

    checkpoints = checkpoints_of(args)
    average(checkpoints, args.out, ema=args.ema, force=args.force)
    kind = "the EMA of " if args.ema else ""
    print(f"{args.out}: the mean of {kind}{', '.join(path.name for path in checkpoints)}")
