"""Work side by side on the cores of one machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait

from .console import variable


def side_by_side(
    jobs: int,
    chains: Sequence[Callable[[], None]],
    interrupted: Callable[[], object] = lambda: None,
) -> None:
    """Run chains of steps, `jobs` at a time. If one fails, the others still run to their ends.

    Args:
        interrupted: ends what is running after Ctrl-C, if the terminal has not; what has not begun
            is left out.

    Raises:
        Failed: the error of the first one that failed.
    """
    with ThreadPoolExecutor(jobs) as pool:
        try:
            running = [pool.submit(chain) for chain in chains]
            wait(running)
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            interrupted()
            raise
    for chain in running:
        chain.result()


def threads() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def share_threads(jobs: int = 1) -> None:
    """Let each of several processes use its share of the cores, unless OMP_NUM_THREADS is set."""
    os.environ["OMP_NUM_THREADS"] = str(variable("OMP_NUM_THREADS", -(-threads() // jobs)))
