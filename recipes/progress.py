"""Show a long command's progress: its output goes to a log, a bar to the screen.

    fairseq-train ... --log-format json 2>&1 | python recipes/progress.py --log train.log \\
        --total 2000 --done '"num_updates": "(\\d+)"' --note '"(loss)": "([0-9.]+)"'
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from tqdm import tqdm

# Errors that are written for people pass through to the screen.
_FOR_PEOPLE = re.compile(r"error: ")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--log", type=Path, required=True, help="every line is appended to it")
    parser.add_argument("--total", type=int, required=True, help="where the bar ends")
    parser.add_argument(
        "--done",
        type=re.compile,
        required=True,
        metavar="REGEX",
        help="lines that mean progress: the group's number is where it is, without a group each "
        "such line is one more",
    )
    parser.add_argument(
        "--note",
        type=re.compile,
        metavar="REGEX",
        help="name (first group) and value (second group) to show beside the bar",
    )
    parser.add_argument("--name", default="", help="what to write before the bar")
    args = parser.parse_args()

    args.log.parent.mkdir(parents=True, exist_ok=True)
    with (
        args.log.open("a", encoding="utf-8") as log,
        tqdm(total=args.total, desc=args.name, mininterval=1, dynamic_ncols=True) as bar,
    ):
        for line in sys.stdin:
            log.write(line)
            log.flush()
            if found := args.done.search(line):
                bar.update(int(found[1]) - bar.n if args.done.groups else 1)
            if args.note and (found := args.note.search(line)):
                bar.set_postfix_str(f"{found[1]} {found[2]}")
            if _FOR_PEOPLE.search(line):
                bar.write(line.rstrip(), file=sys.stderr)


if __name__ == "__main__":
    main()
