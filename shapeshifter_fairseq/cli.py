"""`shapeshifter` and `python -m shapeshifter_fairseq`: small questions answered on the shell."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from .errors import ShapeshifterError

PARAMS_EPILOG = """\
examples:
  shapeshifter params --arch shapeshifter_transformer_iwslt --source-vocab 8848 --target-vocab 6632
  shapeshifter params --arch shapeshifter_transformer_wmt14 --vocab 44512 --json
  shapeshifter params --arch shapeshifter_transformer_tiny --vocab 4000 --layer-rank 8

Every model option of fairseq-train may follow. Sizes count the special symbols of the dictionary.
"""

AVERAGE_EPILOG = """\
examples:
  shapeshifter average averaged.pt --last 10 runs/my-model
  shapeshifter average averaged.pt runs/my-model/checkpoint8.pt runs/my-model/checkpoint9.pt

The result is a checkpoint for fairseq-generate and for --finetune-from-model; it holds no state of
the optimizer.
"""

COMPARE_EPILOG = """\
examples:
  shapeshifter compare runs/multi30k.en-de/dense.seed1 runs/multi30k.en-de/shapeshifter.seed1
  shapeshifter compare Dense=a/result.json 'Rank 7'=b/result.json --out docs/results

Runs of one name and different seeds are one row, mean and standard deviation.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    parser = _parser()
    args, fairseq_options = parser.parse_known_args(argv)
    if fairseq_options and args.run is not _params:
        parser.error(f"unrecognized arguments: {' '.join(fairseq_options)}")
    try:
        return args.run(args, fairseq_options)
    except ShapeshifterError as error:
        if args.debug:
            raise
        print(f"shapeshifter: error: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="shapeshifter", description=__doc__)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    user_dir = commands.add_parser(
        "user-dir",
        help="print the folder to give to fairseq's --user-dir",
        description="Print the folder to give to fairseq's --user-dir.",
    )
    user_dir.set_defaults(run=_user_dir)

    params = commands.add_parser(
        "params",
        help="count the parameters of an architecture, and of its dense counterpart",
        description="Count the parameters of an architecture, and of its dense counterpart.",
        epilog=PARAMS_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    params.add_argument("--arch", required=True, help="as for fairseq-train")
    params.add_argument("--vocab", type=int, metavar="N", help="types of a joined dictionary")
    params.add_argument("--source-vocab", type=int, metavar="N", help="types of the source side")
    params.add_argument("--target-vocab", type=int, metavar="N", help="types of the target side")
    params.add_argument("--json", action="store_true", help="print one line of JSON")
    params.set_defaults(run=_params)

    average = commands.add_parser(
        "average",
        help="average the weights of several checkpoints of one run",
        description="Write a checkpoint whose weights are the mean of several of one run.",
        epilog=AVERAGE_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    average.add_argument("out", type=Path, metavar="OUT", help="checkpoint to write")
    average.add_argument("checkpoints", type=Path, nargs="*", metavar="CHECKPOINT")
    average.add_argument(
        "--last",
        nargs=2,
        metavar=("N", "DIR"),
        help="the last N checkpoints in DIR (or as many as there are), in place of CHECKPOINT ...",
    )
    average.set_defaults(run=_average)

    compare = commands.add_parser(
        "compare",
        help="put runs of a recipe side by side: a table and plots",
        description="Put runs of a recipe side by side: print a table, and with --out write it as "
        "compare.md with plots of the validation loss and of BLEU (or ROUGE-1) against updates and "
        "parameters.",
        epilog=COMPARE_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    compare.add_argument(
        "runs", nargs="+", metavar="[NAME=]RUN", help="folder of a run, or its result.json"
    )
    compare.add_argument("--out", type=Path, metavar="DIR", help="folder for compare.md and plots")
    compare.set_defaults(run=_compare)
    return parser


def _user_dir(args: argparse.Namespace, fairseq_options: list[str]) -> int:
    print(Path(__file__).resolve().parent)
    return 0


def _params(args: argparse.Namespace, fairseq_options: list[str]) -> int:
    if args.vocab is not None and (args.source_vocab or args.target_vocab):
        raise ShapeshifterError("give --vocab, or --source-vocab and --target-vocab, not both")
    source, target = args.source_vocab or args.vocab, args.target_vocab or args.vocab
    if source is None or target is None:
        raise ShapeshifterError(
            "give --vocab N for a joined dictionary, or --source-vocab N and --target-vocab N"
        )
    from .models.counting import count  # fairseq takes seconds to import

    counts = count(args.arch, source, target, args.vocab is not None, fairseq_options)
    if args.json:
        print(json.dumps(counts))
    else:
        for name, value in counts.items():
            print(f"{name.replace('_', '/' if 'coder' in name else ' '):<16}{value:>12,}")
    return 0


def _average(args: argparse.Namespace, fairseq_options: list[str]) -> int:
    if bool(args.checkpoints) == bool(args.last):
        raise ShapeshifterError("give the checkpoints to average, or --last N DIR")
    from .averaging import average, last_checkpoints

    checkpoints = args.checkpoints
    if args.last:
        count, folder = args.last
        if not count.isdecimal():
            raise ShapeshifterError(
                f"--last {count}: give a number of checkpoints, then the folder"
            )
        checkpoints = last_checkpoints(Path(folder), int(count))
    average(checkpoints, args.out)
    print(f"{args.out}: the mean of {', '.join(path.name for path in checkpoints)}")
    return 0


def _compare(args: argparse.Namespace, fairseq_options: list[str]) -> int:
    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # fairseq lets all loggers speak
    try:
        from . import compare
    except ImportError as error:
        raise ShapeshifterError(
            f"compare needs {error.name}: pip install 'shapeshifter-fairseq[recipes]'"
        ) from error
    runs = compare.read_runs(args.runs)
    text = compare.table(runs)
    print(text)
    if args.out:
        plots = compare.plot(runs, args.out)
        images = "\n\n".join(f"![]({path.name})" for path in plots)
        (args.out / "compare.md").write_text(f"{text}\n\n{images}\n", encoding="utf-8")
        print(f"\nwritten: {', '.join(map(str, [args.out / 'compare.md', *plots]))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
