"""`shapeshifter project`: from a dense model to the nearest factorized one."""

from __future__ import annotations

import argparse
import shlex
from functools import partial
from pathlib import Path

from . import Commands, add_command, add_ema

EPILOG = """\
examples:
  shapeshifter project dense/checkpoint_best.pt small.pt --layer-rank 64 --embed-rank 256
  shapeshifter project dense/checkpoint_best.pt small.pt --factorization low_rank \\
    --layer-rank 96 --embed-rank dense --factor-plan 'decoder.layers.*.fc?=dense'

Ranks default to 64 and 256, where they fit; the family is kronecker. The gains matter only if the
result is trained: they are stored in it.

The result is a checkpoint of --arch shapeshifter_transformer. Translate with fairseq-generate, or
train on with fairseq-train --finetune-from-model (or --restore-file) to win back what the
projection lost. It holds no state of the optimizer: either way training begins at update 0.
"""


def add_to(commands: Commands, name: str) -> argparse.ArgumentParser:
    return add_command(
        commands,
        name,
        run,
        help="turn a trained dense Transformer into the nearest factorized one",
        description="Write the factorized model that is nearest to a trained fairseq Transformer. "
        "Print the relative error of every matrix (in the Frobenius norm), and the options with "
        "which fairseq-train fine-tunes the result.",
        epilog=EPILOG,
    )


def add_options(parser: argparse.ArgumentParser) -> None:
    from ..fairseq_side.options import add_layer_options, add_table_options

    parser.add_argument("dense", type=Path, metavar="DENSE", help="checkpoint of the dense model")
    parser.add_argument("out", type=Path, metavar="OUT", help="checkpoint to write")
    factors = parser.add_argument_group("factors, as for fairseq-train")
    add_table_options(factors)
    add_layer_options(factors)
    add_ema(parser)
    parser.add_argument("--force", action="store_true", help="replace OUT")


def run(args: argparse.Namespace) -> None:
    from tqdm import tqdm  # comes with fairseq

    from .. import models  # noqa: F401  (registers the architectures)
    from ..fairseq_side.conversion import project_checkpoint

    bar = partial(tqdm, desc="project", unit=" matrices", disable=None, leave=False)
    done = project_checkpoint(
        args.dense, args.out, args, ema=args.ema, force=args.force, progress=bar
    )
    print("   error   parameters before and after  matrix")
    for matrix in done.matrices:
        names = " = ".join(matrix.names)
        print(f"{matrix.error:8.4f}{matrix.before:>16,}{matrix.after:>14,}  {names}")
    share = 100 * done.after / done.before
    print(f"{done.error:8.4f}{done.before:>16,}{done.after:>14,}  in all ({share:.1f}% are left)")
    kind = " (of the EMA)" if args.ema else ""
    print(
        f"\n{args.out}{kind}: to fine-tune it,\n  fairseq-train DATA --user-dir "
        f'"$(shapeshifter user-dir)" {shlex.join(done.options)} \\\n'
        f"    --finetune-from-model {shlex.quote(str(args.out))} ..."
    )
