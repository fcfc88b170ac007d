"""Drop pairs by length as Moses' clean-corpus-n does, and set some of the training pairs aside.

Lengths are numbers of tokens in the folder `--by`. The same pairs are dropped from the folders
`--along`, of which only valid and test are written: they hold other forms of the same sentences.
Each folder becomes one of the same name in `--out`. The test set is never filtered.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import TextIO

from lines import open_text, run
from tqdm import tqdm


def is_kept(source: str, target: str, max_length: int, ratio: float) -> bool:
    """Tell whether both sides have 1 to `max_length` tokens and neither `ratio` times the other."""
    n, m = len(source.split()), len(target.split())
    return 0 < n <= max_length and 0 < m <= max_length and n <= ratio * m and m <= ratio * n


class Pairs:
    """The files of one split in all folders, read or written line by line."""

    def __init__(self, split: str, folders: list[Path], languages: list[str], mode: str) -> None:
        self.stack = ExitStack()
        self.files: list[TextIO] = []
        for folder in folders:
            if mode == "w":
                folder.mkdir(parents=True, exist_ok=True)
            for language in languages:
                file = open_text(folder / f"{split}.{language}", mode)
                self.files.append(self.stack.enter_context(file))

    def write(self, lines: tuple[str, ...]) -> None:
        for file, line in zip(self.files, lines):
            file.write(line)

    def __enter__(self) -> Pairs:
        return self

    def __exit__(self, *error: object) -> None:
        self.stack.close()


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--languages", nargs=2, required=True, help="endings of the files")
    parser.add_argument("--by", type=Path, required=True, help="folder with the tokens to count")
    parser.add_argument("--along", type=Path, nargs="*", default=[], help="other folders")
    parser.add_argument("--out", type=Path, required=True, help="folder for the new folders")
    parser.add_argument("--max-length", type=int, default=sys.maxsize, help="tokens of a side")
    parser.add_argument("--ratio", type=float, default=float("inf"), help="of the two lengths")
    parser.add_argument("--valid", action="store_true", help="filter the validation set as well")
    parser.add_argument("--every", type=int, help="each Nth training pair goes to valid instead")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    folders = [args.by, *args.along]
    outs = [args.out / folder.name for folder in folders]
    splits = ("train", "test") if args.every else ("train", "valid", "test")
    filtered = {"train", "valid"} if args.valid else {"train"}
    for split in splits:
        count: Counter[str] = Counter()
        # The training text is needed in the one form that is trained on.
        width = 1 if split == "train" and not args.every else len(folders)
        aside = outs if args.every and split == "train" else []
        with (
            Pairs(split, folders[:width], args.languages, "r") as source,
            Pairs(split, outs[: 1 if split == "train" else width], args.languages, "w") as kept,
            Pairs("valid", aside, args.languages, "w") as valid,
        ):
            for lines in tqdm(zip(*source.files), desc=split, unit=" pairs", mininterval=1):
                if split in filtered and not is_kept(*lines[:2], args.max_length, args.ratio):
                    count["dropped"] += 1
                    continue
                count["kept"] += 1
                if aside and count["kept"] % args.every == 0:
                    valid.write(lines)
                else:
                    kept.write(lines)
        print(f"{split}: {count['kept']} kept, {count['dropped']} dropped")
        if count["kept"] < (args.every if aside else 1):
            sys.exit(f"too few {split} pairs are left in {args.by}: {count['kept']}")


if __name__ == "__main__":
    run(main)
