"""Write parallel texts as two plain UTF-8 files of equally many lines.

    clean.py --out train.de train.en  CORPUS.de.gz CORPUS.en.gz  OTHER.tgz::x.de OTHER.tgz::x.en

The sentences stay as they were written. What goes: byte order marks, carriage returns and the
other characters that some programs take for the end of a line, space at both ends, and pairs with
an empty side (`--held-out` keeps those: a test set is never filtered). Bytes that are not UTF-8
are an error that names file and sentence; in crawled text (`--crawled`) the pair is dropped and
counted. `--markup` reads texts that are not plain; see markup.py. `--without-diacritics` is the one
option that changes letters, those of files that end in .ro; see romanian.py.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

from archives import read_lines
from lines import open_text, run
from markup import READERS
from romanian import without_diacritics
from tqdm import tqdm

BOM = b"\xef\xbb\xbf"
# What str.splitlines() takes for the end of a line, beside the newline itself.
LINE_ENDS = re.compile("[\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")


def decode(line: bytes) -> str:
    """Decode a line and take off its end; raises UnicodeDecodeError."""
    return LINE_ENDS.sub(" ", line.decode("utf-8")).strip()


def clean_pairs(
    source: str, target: str, markup: str, crawled: bool, held_out: bool, count: Counter[str]
) -> Iterator[tuple[str, str]]:
    """Yield the clean pairs of two texts (named as archives.py does), counting what was dropped.

    Raises ValueError if the texts differ in length or hold bytes that are not UTF-8.
    """
    sides = [READERS[markup](read_lines(name)) for name in (source, target)]
    for number, raw in enumerate(zip_longest(*sides), 1):
        if None in raw:
            shorter, longer = (source, target) if raw[0] is None else (target, source)
            rest = sum(1 for _ in READERS[markup](read_lines(longer)))
            raise ValueError(f"{shorter} has {number - 1} sentences, but {longer} has {rest}")
        pair = []
        for name, line in zip((source, target), raw):
            try:
                pair.append(decode(line.removeprefix(BOM) if number == 1 else line))
            except UnicodeDecodeError as error:
                if not crawled:
                    raise ValueError(
                        f"{name}, sentence {number}: byte {error.object[error.start]:#04x}"
                        " is not UTF-8; convert the file with iconv"
                    ) from None
        if len(pair) < 2:
            count["not UTF-8"] += 1
        elif all(pair) or held_out:
            count["kept"] += 1
            count["empty but kept"] += not all(pair)
            yield pair[0], pair[1]
        else:
            count["empty"] += 1


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, nargs=2, required=True, help="the two files to write")
    parser.add_argument("--crawled", action="store_true", help="drop lines that are not UTF-8")
    parser.add_argument("--held-out", action="store_true", help="keep pairs with an empty side")
    parser.add_argument("--markup", choices=READERS, default="plain", help="see markup.py")
    parser.add_argument("--without-diacritics", action="store_true", help="of Romanian (.ro)")
    parser.add_argument("texts", nargs="+", help="source and target text, in turn")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    count: Counter[str] = Counter()
    spell = [
        without_diacritics if args.without_diacritics and out.suffix == ".ro" else str
        for out in args.out
    ]
    with open_text(args.out[0], "w") as source, open_text(args.out[1], "w") as target:
        for names in zip(args.texts[::2], args.texts[1::2]):
            pairs = clean_pairs(*names, args.markup, args.crawled, args.held_out, count)
            for pair in tqdm(pairs, desc=names[0], unit=" pairs", unit_scale=True, mininterval=1):
                source.write(spell[0](pair[0]) + "\n")
                target.write(spell[1](pair[1]) + "\n")
    print(f"{args.out[0].stem}:", ", ".join(f"{n} {what}" for what, n in count.items() if n))
    if not count["kept"]:
        sys.exit(f"{args.texts[0]} and {args.texts[1]} hold no pair of sentences")


if __name__ == "__main__":
    run(main)
