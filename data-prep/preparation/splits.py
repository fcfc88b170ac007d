"""Take validation and test pairs out of the training text, by a hash of the sentences of one side.

A sentence often has several translations. Splitting by lines would leave some of a test sentence's
in the training text; here all pairs with one sentence go the same way, with the languages in either
order.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from heapq import nsmallest
from pathlib import Path

from .dataset import Split
from .lines import open_text


def write(folder: Path, pair: Sequence[str], rule: Split, note: Callable) -> None:
    """Split train.* of a folder into train, valid and test.

    A sentence is taken out with the first of its translations. Training pairs whose other side
    occurs in a pair that was taken out are dropped.

    Raises:
        ValueError: if there are too few sentences.
    """
    side = list(pair).index(rule.language)
    whole = [
        (folder / f"train.{language}").rename(folder / f"whole.{language}") for language in pair
    ]
    split_of = _per_mille(rule) if rule.per_mille else _exactly(rule, whole[side])
    seen: set[str] = set()

    def take_once(sentence: str) -> bool:
        taken = sentence not in seen and len(sentence.split()) >= rule.words
        seen.add(sentence)
        return taken

    held: set[str] = set()
    for lines in _pairs(whole):
        key = lines[side].lower()
        if split_of(key) != "train" and take_once(key):
            held.add(lines[1 - side].lower())
    seen.clear()
    count = {"train": 0, "valid": 0, "test": 0}
    with ExitStack() as stack:
        out = {
            split: [stack.enter_context(open_text(folder / f"{split}.{one}", "w")) for one in pair]
            for split in count
        }
        for lines in _pairs(whole):
            key = lines[side].lower()
            split = split_of(key)
            keep = lines[1 - side].lower() not in held if split == "train" else take_once(key)
            if keep:
                count[split] += 1
                for file, line in zip(out[split], lines):
                    file.write(line)
    for path in whole:
        path.unlink()
    note(f"split: {', '.join(f'{number} {split}' for split, number in count.items())}")
    if not all(count.values()):
        raise ValueError(f"a set would be empty: {count}; give more text or smaller sets")


def _per_mille(rule: Split) -> Callable[[str], str]:
    def split_of(sentence: str) -> str:
        place = _digest(sentence) % 1000
        if place < rule.test:
            return "test"
        return "valid" if place < rule.test + rule.valid else "train"

    return split_of


def _exactly(rule: Split, text: Path) -> Callable[[str], str]:
    """The sentences with the smallest hashes."""
    with open_text(text) as lines:
        sentences = {line.lower() for line in lines if len(line.split()) >= rule.words}
    chosen = nsmallest(rule.test + rule.valid, sentences, key=_digest)
    split = dict.fromkeys(chosen[: rule.test], "test")
    split |= dict.fromkeys(chosen[rule.test :], "valid")
    return lambda sentence: split.get(sentence, "train")


def _digest(sentence: str) -> int:
    return int.from_bytes(hashlib.sha256(sentence.strip().encode("utf-8")).digest(), "big")


def _pairs(files: Sequence[Path]) -> Iterator[tuple[str, str]]:
    with open_text(files[0]) as one, open_text(files[1]) as other:
        yield from zip(one, other)
