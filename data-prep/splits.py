"""Decide which split a sentence belongs to by its English words alone.

So no English sentence is in two splits, in whatever direction or language pair, and adding or
updating a package moves no sentence from one split to another.
"""

import hashlib
import re

SPLITS = ("train", "valid", "test")
HELD_OUT = 0.03
"""Share of the English sentences that goes to valid, and again to test."""


def digest(text: str) -> bytes:
    """Hash with a function that is the same on every machine and in every run."""
    return hashlib.sha256(text.encode("utf-8")).digest()


def english_key(english: str) -> str:
    """Reduce a sentence to its words, so that "Delete" and "delete:" count as the same."""
    return " ".join(re.findall(r"\w+", english.casefold()))


def split_of(english: str) -> str:
    """Choose train, valid or test for every pair with this English side."""
    place = int.from_bytes(digest(english_key(english))[:8], "big") / 2**64
    if place < HELD_OUT:
        return "test"
    return "valid" if place < 2 * HELD_OUT else "train"


def shuffled(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Order pairs by hash: mixed over the packages, yet the same in every run."""
    return sorted(pairs, key=lambda pair: digest("\n".join(pair)))
