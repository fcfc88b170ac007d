"""Normalise and tokenise text as the Moses scripts do (with sacremoses), one line for each line."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import regex
from lines import map_files, run
from sacremoses import MosesPunctNormalizer, MosesTokenizer

# Romanian s and t with a cedilla are a misspelling of those with a comma below.
ROMANIAN = str.maketrans("ŞşŢţ", "ȘșȚț")
# Sennrich et al. (2016): half of the Romanian web writes without diacritics, so all text does.
WITHOUT_DIACRITICS = str.maketrans("ȘșȚțĂăÂâÎî", "SsTtAaAaIi")
INVISIBLE = regex.compile(r"\p{C}")


def tokenise(
    lines: list[str],
    language: str,
    normalise: bool,
    apostrophes: bool,
    dash_splits: bool,
    lowercase: bool,
) -> list[str]:
    """Tokenise lines of one language; `dash_splits` writes long-term as long @-@ term."""
    normaliser, tokeniser = MosesPunctNormalizer(language), MosesTokenizer(language)
    tokenised = []
    for line in lines:
        if normalise:
            line = INVISIBLE.sub(" ", normaliser.normalize(line))
        if apostrophes:
            line = line.replace("’", "'")
        if language == "ro":
            line = line.translate(ROMANIAN).translate(WITHOUT_DIACRITICS)
        line = tokeniser.tokenize(line, aggressive_dash_splits=dash_splits, return_str=True)
        tokenised.append(line.lower() if lowercase else line)
    return tokenised


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
