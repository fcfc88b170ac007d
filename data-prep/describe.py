"""Write corpus.json: what a binarised corpus is, for programs (and recipes) that use it."""

from __future__ import annotations

import argparse
import json
import struct
from pathlib import Path

from lines import run

HEADER = struct.Struct("<9sQBQ")
"""Of fairseq's .idx files: magic, version, type of the numbers, number of sentences."""


def count_sentences(index: Path) -> int:
    """Read from a fairseq index how many sentences were binarised; raises ValueError."""
    with index.open("rb") as file:
        header = file.read(HEADER.size)
    if not header.startswith(b"MMIDIDX\0\0"):
        raise ValueError(f"{index} is no index of fairseq")
    return HEADER.unpack(header)[3]


def count_types(dictionary: Path) -> int:
    """Count as fairseq does: it adds <s>, <pad>, </s> and <unk> to those in the file."""
    with dictionary.open("rb") as file:
        return sum(1 for _ in file) + 4


def describe(folder: Path, source: str, target: str) -> dict[str, dict[str, int]]:
    """Count sentences and types; raises ValueError if the two sides do not match."""
    sentences = {}
    for split in ("train", "valid", "test"):
        counts = {
            language: count_sentences(folder / f"{split}.{source}-{target}.{language}.idx")
            for language in (source, target)
        }
        if counts[source] != counts[target]:
            raise ValueError(f"{folder}: {split} sets of different sizes, {counts}")
        sentences[split] = counts[source]
    types = {
        language: count_types(folder / f"dict.{language}.txt") for language in (source, target)
    }
    return {"sentences": sentences, "types": types}


def dictionaries(folder: Path, source: str, target: str, types: dict[str, int]) -> str:
    """Say how many types there are, once if both languages share them."""
    if (folder / f"dict.{source}.txt").read_bytes() == (folder / f"dict.{target}.txt").read_bytes():
        return f"dictionary of {types[source]} types"
    return f"dictionaries of {types[source]} {source} and {types[target]} {target} types"


def show(folder: Path) -> str:
    """Say what a corpus holds, without its folder; raises ValueError if it is no longer whole."""
    facts = json.loads((folder / "corpus.json").read_text(encoding="utf-8"))
    source, target = facts["source"], facts["target"]
    counted = describe(folder, source, target)
    if any(facts[name] != value for name, value in counted.items()):
        raise ValueError(f"{folder}: corpus.json does not fit the data")
    sentences = ", ".join(f"{count} {split}" for split, count in counted["sentences"].items())
    types = dictionaries(folder, source, target, counted["types"])
    return f"{sentences} sentences; {types}"


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("folder", type=Path, help="what fairseq-preprocess made")
    writer = commands.add_parser("write", parents=[common], help="write corpus.json")
    writer.add_argument("--name", required=True, help="name of the dataset")
    writer.add_argument("--source", required=True, help="source language")
    writer.add_argument("--target", required=True, help="target language")
    writer.add_argument("--subwords", required=True, choices=("subword_nmt", "sentencepiece"))
    writer.add_argument("--tokenizer", choices=("moses",), help="none unless given")
    writer.add_argument("--without-diacritics", action="store_true", help="Romanian has none")
    writer.add_argument("--normalised", action="store_true", help="so was training punctuation")
    writer.add_argument("--apostrophes", action="store_true", help="’ was made ' in the test set")
    writer.add_argument("--dash-splits", action="store_true", help="words were cut at hyphens")
    writer.add_argument("--lowercased", action="store_true")
    commands.add_parser("show", parents=[common], help="say what corpus.json holds")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    if args.command == "show":
        print(show(args.folder))
        return
    facts = {
        "name": args.name,
        "source": args.source,
        "target": args.target,
        "subwords": args.subwords,
        "tokenizer": args.tokenizer,
        "without_diacritics": args.without_diacritics,
        "normalised": args.normalised,
        "apostrophes": args.apostrophes,
        "dash_splits": args.dash_splits,
        "lowercased": args.lowercased,
    }
    facts |= describe(args.folder, args.source, args.target)
    (args.folder / "corpus.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run(main)
