"""Learn one byte-pair encoding for two languages with subword-nmt, or cut a text with it."""

from __future__ import annotations

import argparse
from collections import Counter
from functools import partial
from pathlib import Path

from lines import map_batches, map_files, open_text, run
from subword_nmt.apply_bpe import BPE
from subword_nmt.learn_bpe import learn_bpe


def count_words(lines: list[str]) -> Counter[str]:
    return Counter(word for line in lines for word in line.split(" ") if word)


def learn(files: list[Path], codes: Path, merges: int, workers: int) -> None:
    """Learn from the words of all files together, so that names and numbers share their pieces."""
    words: Counter[str] = Counter()
    for file in files:
        for _, counts in map_batches(count_words, file, workers):
            words.update(counts)
    with open_text(codes, "w") as out:
        learn_bpe((f"{word} {n}" for word, n in words.items()), out, merges, is_dict=True)


def segment(lines: list[str], codes: Path) -> list[str]:
    # subword-nmt's own parallel mode would lose the errors of its processes, and lines with them.
    with open_text(codes) as file:
        bpe = BPE(file)
    return [bpe.process_line(line) for line in lines]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--codes", type=Path, required=True, help="file of merges")
    common.add_argument("--workers", type=int, default=1, help="processes (default 1)")
    learner = commands.add_parser("learn", parents=[common], help="learn merges from text files")
    learner.add_argument("--merges", type=int, required=True, help="number of merges")
    learner.add_argument("text", type=Path, nargs="+", help="one tokenised sentence per line")
    cut = commands.add_parser("apply", parents=[common], help="cut text files into pieces")
    cut.add_argument("--out", type=Path, required=True, help="folder for files of the same names")
    cut.add_argument("text", type=Path, nargs="+", help="one tokenised sentence per line")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    if args.command == "learn":
        learn(args.text, args.codes, args.merges, args.workers)
    else:
        map_files(partial(segment, codes=args.codes), args.text, args.out, args.workers)


if __name__ == "__main__":
    run(main)
