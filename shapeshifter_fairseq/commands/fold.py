"""`shapeshifter fold`: from a factorized model to an ordinary dense one."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import Commands, add_checkpoints, add_command, add_ema, checkpoints_of

EPILOG = """\
examples:
  shapeshifter fold runs/my-model/checkpoint_best.pt folded.pt
  shapeshifter fold --last 10 runs/my-model folded.pt
  fairseq-generate DATA --path folded.pt --beam 5
  ct2-fairseq-converter --model_path folded.pt --data_dir DATA --source_lang de --target_lang en \\
    --output_dir ctranslate2

The result is a checkpoint of fairseq's own --arch transformer. Nothing of this project is needed to
use it, and torch loads it with weights_only=True.
"""


def add_to(commands: Commands, name: str) -> argparse.ArgumentParser:
    return add_command(
        commands,
        name,
        run,
        help="turn a factorized model into an ordinary dense fairseq checkpoint",
        description="Multiply out the factors of a trained model, and write an ordinary dense "
        "fairseq checkpoint. Several checkpoints of one run are averaged first.",
        epilog=EPILOG,
    )


def add_options(parser: argparse.ArgumentParser) -> None:
    add_checkpoints(parser)
    parser.add_argument("out", type=Path, metavar="OUT", help="checkpoint to write")
    add_ema(parser)
    parser.add_argument("--force", action="store_true", help="replace OUT")


def run(args: argparse.Namespace) -> None:
    from .. import models  # noqa: F401  (registers the architectures)
    from ..fairseq_side.conversion import fold_checkpoints

    checkpoints = checkpoints_of(args)
    fold_checkpoints(checkpoints, args.out, ema=args.ema, force=args.force)
    mean = "the mean of " if len(checkpoints) > 1 else ""
    names = ", ".join(path.name for path in checkpoints)
    kind = "the EMA of " if args.ema else ""
    print(f"{args.out}: {mean}{kind}{names}, as fairseq's --arch transformer")
