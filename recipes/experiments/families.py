"""Every family of factorizations at about equal parameters: train, score, compare."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from .. import small
from ..commands import ROOT, python
from ..console import Parser, number, positive, say
from ..engine import Engine
from ..experiment import add_dry_run
from ..small import UPDATES, Small
from ..training import check_added

# The ranks are those at which shapeshifter_transformer_tiny with 2,000 types has 297 to 304
# thousand parameters, a fifth of the dense model's (`shapeshifter params` counts). word2ket and
# word2ketXS factorize the embeddings alone; the layers then stay Kronecker products.
FAMILIES = {
    "dense": "--factor-plan *=dense",
    "kronecker": "--factorization kronecker --layer-rank 7 --embed-rank 150",
    "low_rank": "--factorization low_rank --layer-rank 7 --embed-rank 73",
    "block_low_rank": "--factorization block_low_rank/blocks=4 --layer-rank 2 --embed-rank 16",
    "monarch": "--factorization monarch/blocks=4 --layer-rank 2 --embed-rank 16",
    "phm": "--factorization phm --layer-rank 8 --embed-rank 3",
    "tensor_train": "--factorization tensor_train/cores=3 --layer-rank 9 --embed-rank 86",
    "word2ket": "--layer-rank 7 --factor-plan *embed_tokens=word2ket:5/order=4",
    "word2ketxs": "--layer-rank 7 --factor-plan *embed_tokens=word2ketxs:1393/order=4",
}

ABOUT = f"""\
Train a small Transformer in every family of factorizations, all with about the same number of
parameters, and a dense one, with small batches on the quickstart's corpus. Translate the validation
set with beam 5, score it, and write one table with plots. The families:
  {" ".join(FAMILIES)}"""

EPILOG = f"""\
The folder of the results gets compare.md with its plots, and a folder FAMILY.seedN for each
training with result.json, report.md, config.json, train.log and the translations. If interrupted,
run the same command again: it resumes and skips finished steps.

{small.HELP}

examples:
  bash recipes/families.sh
  JOBS=4 bash recipes/families.sh --seed 2 dense kronecker low_rank
  bash recipes/families.sh --max-update 100"""


def main(arguments: Sequence[str]) -> None:
    parser = Parser("[options] [FAMILY ...]", ABOUT, EPILOG, rest="fairseq-train")
    add = parser.add_argument
    add("families", nargs="*", metavar="FAMILY", help="default: all of them")
    add("--max-update", type=positive, default=UPDATES, metavar="N",
        help=f"updates of each training (default {UPDATES:,})")  # fmt: skip
    add("--seed", type=number, default=1, metavar="N", help="of the trainings (default 1); "
        "the table has all seeds that are in the folder of the results")  # fmt: skip
    small.add_folders(parser, "families")
    add("--no-table", action="store_true", help="only train and score (on another machine, say)")
    add_dry_run(parser)
    args, more = parser.split(arguments)
    check_added(more)
    for name in args.families:
        if name not in FAMILIES:
            parser.error(f"there is no family '{name}'; known: {' '.join(FAMILIES)}")
    names = args.families or list(FAMILIES)
    default = "families" if args.max_update == UPDATES else f"families.{args.max_update}"
    out: Path = args.out or ROOT / "runs" / default
    more += ["--seed", str(args.seed)]
    runs = {
        name: (out / f"{name}.seed{args.seed}", shlex.split(FAMILIES[name]) + more)
        for name in names
    }
    trainings = Small.prepare(args.data, args.dry_run)
    trainings.all(f"families, {args.max_update} updates", runs, args.max_update)
    if args.no_table:
        return
    there = {name: sorted(out.glob(f"{name}.seed*/result.json")) for name in names}
    named = [f"{name}={run}" for name in names for run in there[name] or [runs[name][0]]]
    with Engine(out, dry=args.dry_run).alone() as engine:
        engine.run(python("shapeshifter_fairseq", "compare", *named, "--out", out), "compare")
    if not args.dry_run:
        say((out / "compare.md").read_text(encoding="utf-8"))
