"""Write train, valid and test text of one language pair out of the catalogs in wheels."""

import argparse
import sys
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from catalogs import read_language
from cleaning import clean, fault, is_identifier
from splits import SPLITS, shuffled, split_of

ENGLISH = "en"


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wheels", type=Path, required=True, help="folder with the *.whl files")
    parser.add_argument("--source", required=True, help="source language, for example de")
    parser.add_argument("--target", required=True, help="target language, for example en")
    parser.add_argument("--out", type=Path, required=True, help="folder to write into")
    return parser.parse_args()


def read_pairs(wheel: Path, source: str, target: str) -> Iterator[tuple[str, str, str]]:
    """Yield (English, source, target) of the messages a wheel has in both languages.

    English is always read as well: it names the split, and it is what joins two other languages.
    """
    # An English catalog is mostly empty, but it explains msgids that are identifiers.
    english_catalog = read_language(wheel, ENGLISH)
    sides = [read_language(wheel, language) for language in (source, target) if language != ENGLISH]
    for key, first in sides[0].items():
        found = [side[key] for side in sides if key in side]
        if len(found) < len(sides):
            continue
        english = first.english
        if is_identifier(english) and key in english_catalog:
            english = english_catalog[key].translation
        if is_identifier(english):
            continue
        yield (
            english,
            english if source == ENGLISH else first.translation,
            english if target == ENGLISH else found[-1].translation,
        )


def main() -> None:
    args = parse_args()
    wheels = sorted(args.wheels.glob("*.whl"))
    splits: dict[str, list[tuple[str, str]]] = {split: [] for split in SPLITS}
    seen: set[tuple[str, str]] = set()
    dropped: Counter[str] = Counter()
    for wheel in wheels:
        before = len(seen)
        try:
            raw_pairs = list(read_pairs(wheel, args.source, args.target))
        except zipfile.BadZipFile as error:
            sys.exit(f"{wheel} is no readable wheel: {error}")
        for raw_english, raw_source, raw_target in raw_pairs:
            pair = clean(raw_source), clean(raw_target)
            reason = fault(*pair)
            folded = pair[0].casefold(), pair[1].casefold()
            if reason is None and folded in seen:
                reason = "duplicate"
            if reason:
                dropped[reason] += 1
                continue
            seen.add(folded)
            splits[split_of(clean(raw_english))].append(pair)
        print(f"{wheel.name}: {len(seen) - before} pairs")
    print("dropped:", ", ".join(f"{count} {reason}" for reason, count in dropped.most_common()))

    for split, pairs in splits.items():
        if not pairs:
            sys.exit(
                f"no {split} pairs of {args.source} and {args.target} in the {len(wheels)} wheels"
                f" of {args.wheels}"
            )
        ordered = shuffled(pairs)
        for side, language in enumerate((args.source, args.target)):
            lines = "".join(f"{pair[side]}\n" for pair in ordered)
            (args.out / f"{split}.{language}").write_text(lines, encoding="utf-8")


if __name__ == "__main__":
    main()
