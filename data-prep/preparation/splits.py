"""Take validation and test pairs out of the training text, by a hash of the sentences of one side.

A sentence often has several translations. Splitting by lines would leave some of a test sentence's
in the training text; here all pairs with one sentence go the same way, in every release of a corpus
and with its languages in either order.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from .lines import open_text


@dataclass(frozen=True)
class Split:
    """Which pairs are taken out of the training text."""

    language: str  # whose sentences are hashed, in lower case
    valid: int  # per mille of them
    test: int
    words: int = 1  # of a sentence that is taken out, at least; of others the pairs are dropped


def write(folder: Path, pair: Sequence[str], rule: Split, note: Callable) -> None:
    """Split train.* of a folder into train, valid and test.

    A sentence is taken out with the first of its translations. Training pairs whose other side
    occurs in a pair that was taken out are dropped.
    """
    side = list(pair).index(rule.language)
    whole = [
        (folder / f"train.{language}").rename(folder / f"whole.{language}") for language in pair
    ]
    seen: set[str] = set()
    held: set[str] = set()
    for lines in _pairs(whole):
        if split_of(lines[side], rule) != "train" and _is_taken(lines[side], rule, seen):
            held.add(lines[1 - side].lower())
    seen.clear()
    count = {"train": 0, "valid": 0, "test": 0}
    with ExitStack() as stack:
        out = {
            split: [stack.enter_context(open_text(folder / f"{split}.{one}", "w")) for one in pair]
            for split in count
        }
        for lines in _pairs(whole):
            split = split_of(lines[side], rule)
            kept = lines[1 - side].lower() not in held
            if split != "train":
                kept = _is_taken(lines[side], rule, seen)
            if kept:
                count[split] += 1
                for file, line in zip(out[split], lines):
                    file.write(line)
    for path in whole:
        path.unlink()
    note(f"split: {', '.join(f'{number} {split}' for split, number in count.items())}")


def split_of(sentence: str, rule: Split) -> str:
    """Train, valid or test."""
    digest = hashlib.sha256(sentence.strip().lower().encode("utf-8")).digest()
    place = int.from_bytes(digest, "big") % 1000
    return "test" if place < rule.test else "valid" if place < rule.test + rule.valid else "train"


def _is_taken(sentence: str, rule: Split, seen: set[str]) -> bool:
    """Whether it is long enough and comes for the first time, which is noted in `seen`."""
    key = sentence.lower()
    taken = key not in seen and len(sentence.split()) >= rule.words
    seen.add(key)
    return taken


def _pairs(files: Sequence[Path]) -> Iterator[tuple[str, str]]:
    with open_text(files[0]) as one, open_text(files[1]) as other:
        yield from zip(one, other)
