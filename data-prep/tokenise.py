"""Normalise and tokenise files as words.py does, one line for each line."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from lines import map_files, run
from words import Words


def tokenise(
    lines: list[str],
    language: str,
    normalise: bool,
    apostrophes: bool,
    dash_splits: bool,
    lowercase: bool,
) -> list[str]:
    """Tokenise lines of one language; see words.py."""
    return list(map(Words(language, normalise, apostrophes, dash_splits, lowercase), lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--normalise", action="store_true", help="one spelling of punctuation")
    parser.add_argument("--apostrophes", action="store_true", help="write ’ as '")
    parser.add_argument("--dash-splits", action="store_true", help="split words at hyphens")
    parser.add_argument("--lowercase", action="store_true")
    parser.add_argument("--workers", type=int, default=1, help="processes (default 1)")
    parser.add_argument("--out", type=Path, required=True, help="folder for the tokenised files")
    parser.add_argument("texts", type=Path, nargs="+", help="files that end in their language: .de")
    args = parser.parse_args()
    for text in args.texts:
        work = partial(
            tokenise,
            language=text.suffix[1:],
            normalise=args.normalise,
            apostrophes=args.apostrophes,
            dash_splits=args.dash_splits,
            lowercase=args.lowercase,
        )
        map_files(work, [text], args.out, args.workers)


if __name__ == "__main__":
    run(main)
