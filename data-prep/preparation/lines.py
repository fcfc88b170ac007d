"""Stream the lines of large files through several processes, a bounded number at a time."""

from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from pathlib import Path
from typing import TextIO, TypeVar

from joblib import Parallel, delayed
from tqdm import tqdm

from shapeshifter_fairseq.corpus import Moses

BATCH = 5_000  # lines that one process works on at a time: about a second of tokenisation
T = TypeVar("T")


def open_text(path: Path, mode: str = "r") -> TextIO:
    """Open a UTF-8 text in which only \\n ends a line; Python's default takes \\r as well."""
    return path.open(mode, encoding="utf-8", newline="\n")


def map_batches(work: Callable[[list[str]], T], path: Path, workers: int) -> Iterator[T]:
    """What work(lines without their newlines) returns for each batch, in the file's order."""
    # joblib reads no further ahead than two batches a process, so memory stays bounded.
    with path.open("rb") as file:
        total = sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
    workers = max(1, min(workers, -(-total // BATCH)))
    how = {"desc": path.name, "unit": " lines", "unit_scale": True, "disable": None}
    with open_text(path) as lines, tqdm(total=total, **how) as bar:
        plain = (line.rstrip("\n") for line in lines)
        batches = iter(lambda: list(islice(plain, BATCH)), [])
        jobs = (delayed(work)(batch) for batch in batches)
        try:
            for result in Parallel(n_jobs=workers, return_as="generator")(jobs):
                bar.update(min(BATCH, total - bar.n))
                yield result
        except BrokenProcessPool as error:
            raise ValueError("a process was killed; fewer --workers need less memory") from error


def map_file(work: Callable[[list[str]], list[str]], path: Path, out: Path, workers: int) -> None:
    """Write work(lines) of a file to a file of its name in `out`."""
    with open_text(out / path.name, "w") as file:
        for lines in map_batches(work, path, workers):
            file.writelines(f"{line}\n" for line in lines)


def tokenise(lines: list[str], moses: Moses, language: str) -> list[str]:
    """Lines of one language with a space between their words."""
    return [moses.words(line, language) for line in lines]
