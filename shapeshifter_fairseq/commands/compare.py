"""`shapeshifter compare`: runs side by side."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import Commands, add_command

EXTRAS = "recipes"
EPILOG = """\
examples:
  shapeshifter compare runs/multi30k.en-de/dense.seed1 runs/multi30k.en-de/shapeshifter.seed1
  shapeshifter compare Dense=a/result.json 'Rank 7'=b/result.json --out docs/results

Runs of one name and different seeds are one row, mean and standard deviation. Without a NAME a run
is named by its model, with its size and its updates where these differ.
"""


def add_to(commands: Commands, name: str) -> argparse.ArgumentParser:
    return add_command(
        commands,
        name,
        run,
        help="put runs of a recipe side by side: a table and plots",
        description="Put runs of a recipe side by side: print a table, and with --out write it as "
        "compare.md with plots of the validation loss and of BLEU (or ROUGE-1) against updates and "
        "parameters.",
        epilog=EPILOG,
    )


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "runs", nargs="+", metavar="[NAME=]RUN", help="folder of a run, or its result.json"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for compare.md and plots")


def run(args: argparse.Namespace) -> None:
    from ..plots import plot
    from ..runs import read_runs, table
    from ..writing import whole_file

    runs = read_runs(args.runs)
    text = table(runs)
    print(text)
    if args.out:
        plots = plot(runs, args.out)
        images = "\n\n".join(f"![]({path.name})" for path in plots)
        with whole_file(args.out / "compare.md") as part:
            part.write_text(f"{text}\n\n{images}\n", encoding="utf-8")
        print(f"\nwritten: {', '.join(map(str, [args.out / 'compare.md', *plots]))}")
