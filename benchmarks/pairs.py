"""Two things timed in turn, A B A B ..., and the rows that the benchmarks write.

Machines are shared and noisy: what disturbs one of a pair disturbs the other, so the figure to
quote is the median of the ratios, pair by pair, with the smallest and the largest beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from shapeshifter_fairseq.writing import whole_file

Row = dict[str, Any]  # what was measured, its ratio and its bar; report.py draws the table


def take_turns(
    ours: Callable[[], object],
    theirs: Callable[[], object],
    quick: bool = False,
    pairs: int | None = None,
) -> tuple[list[float], list[float]]:
    """Seconds of both, after a warm-up of two rounds (one if quick).

    At least 7 pairs (3 if quick), and more while they are fast, up to 25; or exactly `pairs`.
    """
    least, patience = (pairs, 0.0) if pairs else (3, 2.0) if quick else (7, 10.0)
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(1 if quick else 2):
        theirs()
        ours()
    begun = time.perf_counter()
    while len(times[0]) < least or (len(times[0]) < 25 and time.perf_counter() - begun < patience):
        for action, taken in ((theirs, times[1]), (ours, times[0])):
            taken.append(seconds(action))
    return times


def seconds(action: Callable[[], object]) -> float:
    """Wall-clock seconds of one call, a GPU's work included."""
    _wait()
    start = time.perf_counter()
    action()
    _wait()
    return time.perf_counter() - start


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def compared(
    what: str,
    ours: list[float],
    theirs: list[float],
    at_most: float | None = None,
    unit: str = "s",
    **more: object,
) -> Row:
    """A row of paired figures; `at_most` is the bar for the median ratio, if there is one."""
    ratios = [a / b for a, b in zip(ours, theirs)]
    return {
        "what": what,
        "ratio": statistics.median(ratios),
        "low": min(ratios),
        "high": max(ratios),
        "pairs": len(ratios),
        "ours": statistics.median(ours),
        "theirs": statistics.median(theirs),
        "unit": unit,
        "at_most": at_most,
        **more,
    }


def timed(
    what: str,
    ours: Callable[[], object],
    theirs: Callable[[], object],
    quick: bool,
    at_most: float | None = None,
    **more: object,
) -> Row:
    """`take_turns` as a row."""
    return compared(what, *take_turns(ours, theirs, quick), at_most, **more)


def not_measured(what: str, why: str, at_most: float | None = None) -> Row:
    return {"what": what, "not_measured": why, "at_most": at_most}


def devices() -> list[tuple[str, torch.dtype]]:
    """Every device at hand, in the precisions that people train in there."""
    gpu = [torch.float32, torch.bfloat16, torch.float16] if torch.cuda.is_available() else []
    return [("cpu", torch.float32), *(("cuda", dtype) for dtype in gpu)]


def missing_gpu(what: str, at_most: float | None = None) -> Iterator[Row]:
    """The row in place of all rows for a GPU, if there is none."""
    if not torch.cuda.is_available():
        yield not_measured(f"{what}, on a GPU in fp32, bf16 and fp16", "no GPU at hand", at_most)


def write(measure: Callable[[bool], Iterable[Row]], about: str) -> None:
    """The command line of a part: run it, show each row as it comes, write them all as JSON.

    The JSON also names the machine, because report.py may join rows of several machines.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--quick", action="store_true", help="fewer settings and pairs")
    parser.add_argument("--out", type=Path, required=True, help="the JSON file to write")
    args = parser.parse_args()
    torch.manual_seed(1)
    rows = []
    for row in tqdm(measure(args.quick), desc=args.out.stem, leave=False):
        rows.append(row)
        tqdm.write(line(row))
    found = {"machine": machine(), "rows": rows}
    with whole_file(args.out) as part:
        part.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def machine() -> str:
    """The machine that absolute times belong to."""
    processor = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [text.partition(":")[2].strip() for text in file if "model name" in text]
        processor = names[0]
    except (OSError, IndexError):
        pass  # no Linux, or a processor without a name
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    malloc = "" if "GLIBC_TUNABLES" in os.environ else "not "
    return (
        f"{platform.node()}: {processor}, {os.cpu_count()} cores, {gpu}; Python "
        f"{platform.python_version()}, torch {torch.__version__}, freed memory {malloc}kept"
    )


def line(row: Row) -> str:
    """A row for the screen."""
    if "not_measured" in row:
        return f"{row['what']}: not measured, {row['not_measured']}"
    if "growth" in row:
        return "{}: exponent {:.2f}, dense {:.2f}".format(row["what"], *row["exponents"])
    return (
        f"{row['what']}: {row['ratio']:.3f} ({row['low']:.3f} to {row['high']:.3f}, "
        f"{row['pairs']} pairs; {row['ours']:.4g} and {row['theirs']:.4g} {row['unit']})"
    )
