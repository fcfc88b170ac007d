"""Projecting a large table: how long it takes, in how much memory, and how near it gets.

    python benchmarks/project.py

The table is random, with singular values that fall slowly, from 1 to 0.2: the hard case, because
all of them are needed. Each family projects it as shipped and with whole decompositions.
"""

from __future__ import annotations

import argparse
import resource
import time

import torch

from shapeshifter_fairseq.factorizations import family_named, svd


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=44512)
    parser.add_argument("--columns", type=int, default=512)
    parser.add_argument("--rank", type=int, default=256)
    parser.add_argument("--families", nargs="+", default=["low_rank", "kronecker"])
    args = parser.parse_args()
    torch.manual_seed(0)
    size = (args.rows, args.columns)
    rotation = torch.linalg.qr(torch.randn(args.columns, args.columns))[0]
    weight = torch.randn(size) @ torch.linspace(1, 0.2, args.columns).diag() @ rotation
    weight[1] = 0  # the padding token
    print(f"{size[0]} x {size[1]}, rank {args.rank}, {torch.get_num_threads()} threads")
    for name in args.families:
        for way, large in (("as shipped", svd.LARGE), ("whole SVD", 10**9)):
            svd.LARGE, kept = large, svd.LARGE
            factors = family_named(name)(*size, args.rank, zero_row=1)
            began, busy = time.perf_counter(), time.process_time()
            factors.project_(weight, gain=6.0)
            seconds, busy = time.perf_counter() - began, time.process_time() - busy
            svd.LARGE = kept
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
            print(
                f"{name:<16}{way:<12}{seconds:7.1f} s ({busy:.1f} s of CPU)  relative error "
                f"{factors.relative_error(weight):.5f}  peak memory so far {peak:.1f} GB",
                flush=True,
            )


if __name__ == "__main__":
    main()
