"""Files of text, read and written whole; checksums of files."""

from __future__ import annotations

import hashlib
from pathlib import Path

from shapeshifter_fairseq.writing import whole_file


def write(path: Path, text: str) -> None:
    """Write a text, whole or not at all."""
    with whole_file(path) as part:
        part.write_text(f"{text}\n", encoding="utf-8")


def lines_of(path: Path) -> list[str]:
    """The lines of a UTF-8 text; only a newline ends a line."""
    return path.read_bytes().decode("utf-8").split("\n")[:-1]


def fingerprint(*files: Path) -> str:
    """A checksum of the content of files. It stays the same if they are moved."""
    state = hashlib.blake2b(digest_size=16)
    for path in files:
        with path.open("rb") as file:
            state.update(hashlib.file_digest(file, "blake2b").digest())
    return state.hexdigest()
