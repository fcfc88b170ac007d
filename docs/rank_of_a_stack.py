"""Draw docs/results/rank-of-a-stack.png: what a stack of random layers leaves of the rank.

    python docs/rank_of_a_stack.py

The layers are 256 x 256, drawn as a model's are before training, with nothing between them;
kronecker and low_rank store the same 512 r numbers a layer. Needs matplotlib.
"""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from shapeshifter_fairseq.factorizations import FAMILIES

OUT = Path(__file__).parent / "results" / "rank-of-a-stack.png"
N = 256  # rows and columns
LAYERS = 5  # with more, float64 no longer tells the smallest singular values from rounding
RANKS = (1, 2, 4, 8, 16)
SHOWN, DEPTHS = 8, (1, 3, 5)  # of which the spectra are drawn
COLOURS = {"dense": "#999999", "kronecker": "#0072B2", "low_rank": "#D55E00"}
INLINE = {"ha": "center", "va": "center", "bbox": {"fc": "white", "ec": "none", "pad": 1}}
NOTE = {"textcoords": "offset points", "fontsize": 9}


def stacks(family: str, rank: int) -> list[Tensor]:
    """Singular values, in units of the largest, of the products of 1, 2, ... random layers.

    Returns:
        For each number of layers: shape (N,)
    """
    torch.manual_seed(1)
    product, values = torch.eye(N, dtype=torch.float64), []
    for _ in range(LAYERS):
        product = layer(family, rank) @ product
        found = torch.linalg.svdvals(product)
        values.append(found / found[0])
    return values


def layer(family: str, rank: int) -> Tensor:
    """A random layer's W.  # shape: (N, N)"""
    if family == "dense":
        return torch.randn(N, N, dtype=torch.float64)
    factors = FAMILIES[family](N, N, rank).double()
    factors.initialize_(std=1, gain=1)
    return factors.weight().detach()


def numerical_rank(values: Tensor) -> int:
    return int((values > N * torch.finfo(values.dtype).eps).sum())


def stored(family: str, rank: int) -> int:
    return N * N if family == "dense" else FAMILIES[family].parameter_count(N, N, rank)


def draw_ranks(axes: Axes) -> None:
    """The rank against the number of layers, a line a rank r."""
    depths = range(1, LAYERS + 1)
    for family in ("kronecker", "low_rank"):
        for rank in RANKS:
            ranks = [numerical_rank(values) for values in stacks(family, rank)]
            axes.plot(depths, ranks, "o-", color=COLOURS[family], markersize=4)
            if family == "low_rank":
                text = f"low_rank, r = {rank}: {stored(family, rank):,} numbers a layer"
                axes.annotate(text, (1, rank), (0, 6), color=COLOURS[family], **NOTE)
    least, most = (f"{stored('kronecker', rank):,}" for rank in (RANKS[0], RANKS[-1]))
    text = f"kronecker, r = {RANKS[0]} to {RANKS[-1]}: {least} to {most} numbers a layer"
    axes.annotate(text, (1, N), (0, -14), color=COLOURS["kronecker"], **NOTE)
    axes.set_yscale("log", base=2)
    axes.yaxis.set_major_formatter("{x:.0f}")
    axes.set_ylim(0.8, 1.3 * N)
    axes.set(xlabel="layers", ylabel="rank of the product", xticks=depths)
    axes.set_title(f"Rank of a stack of random {N} x {N} layers", loc="left", fontsize=11)


def draw_spectra(axes: Axes) -> None:
    """All singular values, largest first, a line a number of layers."""
    for family, colour in COLOURS.items():
        for depth in DEPTHS:
            values = stacks(family, SHOWN)[depth - 1]
            values = values[: numerical_rank(values)]
            axes.plot(range(1, len(values) + 1), values, color=colour, alpha=1 / depth**0.5)
            if family == "kronecker":
                text = f"{depth} layer{'s' * (depth > 1)}"
                at = 3 * N // 4
                axes.text(at, values[at], text, color=colour, fontsize=9, **INLINE)
    for row, (family, colour) in enumerate(COLOURS.items()):
        text = f"{family}: {stored(family, SHOWN):,} numbers a layer"
        axes.text(0.1, 0.36 - 0.08 * row, text, color=colour, transform=axes.transAxes, fontsize=9)
    text = f"nothing after the {SHOWN}th"
    axes.annotate(text, (SHOWN, 0.015), (8, 0), color=COLOURS["low_rank"], **NOTE)
    axes.set_yscale("log")
    axes.set_ylim(bottom=1e-7)
    axes.set_xlim(0, N + 4)
    axes.set(xlabel="singular values, largest first", ylabel="in units of the largest")
    axes.set_title(f"Singular values of that product, r = {SHOWN}", loc="left", fontsize=11)


def main() -> None:
    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # fairseq lets all loggers speak
    figure = Figure(figsize=(10.5, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    draw_ranks(left)
    draw_spectra(right)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
    part = OUT.with_name(OUT.name + ".part")
    figure.savefig(part, format="png", dpi=160)
    part.replace(OUT)
    print(f"written: {OUT}")


if __name__ == "__main__":
    main()
