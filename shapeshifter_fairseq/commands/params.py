"""`shapeshifter params`: how many numbers a model has."""

from __future__ import annotations

import argparse
import json

from ..errors import ShapeshifterError
from . import Commands, add_command

EPILOG = """\
examples:
  shapeshifter params --arch shapeshifter_transformer_iwslt --source-vocab 8848 --target-vocab 6632
  shapeshifter params --arch shapeshifter_transformer_wmt14 --vocab 44512 --json
  shapeshifter params --arch shapeshifter_transformer_tiny --vocab 4000 --layer-rank 8

Every model option of fairseq-train may follow. Sizes count the special symbols of the dictionary.
"""


def add_to(commands: Commands, name: str) -> argparse.ArgumentParser:
    return add_command(
        commands,
        name,
        run,
        help="count the parameters of an architecture, and of its dense counterpart",
        description="Count the parameters of an architecture, and of its dense counterpart.",
        epilog=EPILOG,
    )


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--arch", required=True, help="as for fairseq-train")
    parser.add_argument("--vocab", type=int, metavar="N", help="types of a joined dictionary")
    parser.add_argument("--source-vocab", type=int, metavar="N", help="types of the source side")
    parser.add_argument("--target-vocab", type=int, metavar="N", help="types of the target side")
    parser.add_argument("--json", action="store_true", help="print one line of JSON")


def run(args: argparse.Namespace) -> None:
    if args.vocab is not None and (args.source_vocab or args.target_vocab):
        raise ShapeshifterError("give --vocab, or --source-vocab and --target-vocab, not both")
    source, target = args.source_vocab or args.vocab, args.target_vocab or args.vocab
    if source is None or target is None:
        raise ShapeshifterError(
            "give --vocab N for a joined dictionary, or --source-vocab N and --target-vocab N"
        )
    from .. import models  # noqa: F401  (registers the architectures)
    from ..fairseq_side.counting import count

    counts = count(args.arch, source, target, args.vocab is not None, args.fairseq_options)
    if args.json:
        print(json.dumps(counts))
    else:
        for name, value in counts.items():
            print(f"{name.replace('_', '/' if 'coder' in name else ' '):<16}{value:>12,}")
