"""Stream the lines of large files through several processes, a bounded number at a time."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TextIO, TypeVar

from joblib import Parallel, delayed
from tqdm import tqdm

BATCH = 5_000
"""Lines that one process works on at a time: about a second of tokenisation."""

Result = TypeVar("Result")


def run(main: Callable[[], None]) -> None:
    """Run a script's main(); what a user can do something about ends it with one line."""
    try:
        main()
    except OSError as error:
        if error.errno == errno.EFBIG:
            sys.exit("a file became larger than this shell allows (ulimit -f)")
        if error.errno == errno.ENOSPC:
            sys.exit("no room is left on the disk")
        sys.exit(str(error))
    except ValueError as error:
        sys.exit(str(error))


def open_text(path: Path, mode: str = "r") -> TextIO:
    """Open UTF-8 text in which the newline, and nothing else, ends a line.

    Python's default would also end a line at a carriage return.
    """
    return path.open(mode, encoding="utf-8", newline="\n")


def count_lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))


def batches(lines: Iterable[str]) -> Iterator[list[str]]:
    iterator = iter(lines)
    while batch := list(islice(iterator, BATCH)):
        yield batch


def map_batches(
    work: Callable[[list[str]], Result], path: Path, workers: int
) -> Iterator[tuple[int, Result]]:
    """Yield (number of lines, work(lines without their newlines)) in the order of the file.

    `work` runs in other processes, so it must be a function of a module (or a partial of one).
    joblib reads no further ahead than two batches a process, so memory stays bounded.
    """
    total = count_lines(path)
    workers = min(workers, -(-total // BATCH))
    with (
        open_text(path) as lines,
        tqdm(total=total, desc=path.name, unit=" lines", unit_scale=True, mininterval=1) as bar,
    ):
        plain = batches(line.rstrip("\n") for line in lines)
        if workers > 1:
            jobs = (delayed(counted)(work, batch) for batch in plain)
            results = Parallel(n_jobs=workers, return_as="generator")(jobs)
        else:
            results = (counted(work, batch) for batch in plain)
        for size, result in results:
            bar.update(size)
            yield size, result


def counted(work: Callable[[list[str]], Result], batch: list[str]) -> tuple[int, Result]:
    return len(batch), work(batch)


def map_files(
    work: Callable[[list[str]], list[str]], sources: list[Path], out: Path, workers: int
) -> None:
    """Write work(lines) of each file to a file of its name in `out`, one line for each line."""
    for source in sources:
        with open_text(out / source.name, "w") as file:
            for size, lines in map_batches(work, source, workers):
                if len(lines) != size:
                    raise ValueError(f"{source}: {size} lines became {len(lines)}")
                file.writelines(f"{line}\n" for line in lines)
