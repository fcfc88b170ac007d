"""`shapeshifter pack`: a trained model in one small file."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import Commands, add_command, add_ema

EXTRAS = "fairseq,deploy"
EPILOG = """\
examples:
  shapeshifter pack runs/my-model/averaged.pt my-model.pack --data data-bin/my-corpus --check
  shapeshifter unpack my-model.pack my-model          # on the other machine, without fairseq
  shapeshifter translate my-model <input.txt >output.txt

The file holds the factors (not the matrices that they multiply out to), the dictionaries, the
subword model and the corpus's settings. Packing a model twice gives the same bytes.
"""


def add_to(commands: Commands, name: str) -> argparse.ArgumentParser:
    return add_command(
        commands,
        name,
        run,
        help="write a trained model and its text settings into one small file",
        description="Write a trained model, and all else that is needed to translate plain text, "
        "into one small file.",
        epilog=EPILOG,
    )


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT")
    parser.add_argument("out", type=Path, metavar="OUT", help="file to write")
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DATA", help="corpus the model was trained on"
    )
    parser.add_argument(
        "--precision",
        choices=("fp32", "fp16", "bf16", "int8"),
        default="fp16",
        help="of the weights in the file (default fp16); int8 stores a scale for each rank too",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="translate the validation set with the model before and after packing, and print "
        "both BLEU scores",
    )
    add_ema(parser)
    parser.add_argument("--force", action="store_true", help="replace OUT")


def run(args: argparse.Namespace) -> None:
    from .. import models  # noqa: F401  (registers the architectures)
    from ..fairseq_side.packing import pack

    pack(args.checkpoint, args.data, args.out, args.precision, ema=args.ema, force=args.force)
    kind = ", the EMA" if args.ema else ""
    print(f"{args.out}: {args.out.stat().st_size:,} bytes, {args.precision}{kind}")
    if args.check:
        from ..fairseq_side.packing import check

        before, after, signature = check(args.checkpoint, args.data, args.out, ema=args.ema)
        print(f"BLEU on the validation set: {before:.2f} before, {after:.2f} packed ({signature})")
