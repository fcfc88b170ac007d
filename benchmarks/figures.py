"""Plots of the benchmarks' rows: each figure against its bar, and growth."""

from __future__ import annotations

from itertools import groupby

from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter, NullLocator
from pairs import Row

OURS, DENSE = "#D55E00", "#0072B2"
REACHED, MISSED = "#009E73", "#D55E00"


def draw_bars(parts: dict[str, list[Row]]) -> Figure:
    """Every ratio that has a bar, as a multiple of the bar, with the range of its pairs."""
    rows = [
        (name, row)
        for name, found in parts.items()
        for row in found
        if row.get("at_most") is not None and "ratio" in row
    ]
    figure = Figure(figsize=(9, 1.2 + 0.24 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for y, (_, row) in enumerate(rows):
        bar = row["at_most"]
        colour = REACHED if row["ratio"] <= bar else MISSED
        axes.plot([row["low"] / bar, row["high"] / bar], [y, y], color=colour, alpha=0.4, lw=3)
        axes.plot(row["ratio"] / bar, y, "o", color=colour, markersize=5)
    axes.axvline(1, color="#333333", linewidth=1)
    end = -0.5
    for _, group in groupby(rows, key=lambda pair: pair[0]):
        end += len(list(group))
        axes.axhline(end, color="#dddddd", linewidth=0.8)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_yticks(range(len(rows)), [row["what"] for _, row in rows], fontsize=8)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("measured / bar, with the range")
    axes.grid(axis="x", color="#eeeeee", linewidth=0.6)
    axes.spines[["top", "right", "left"]].set_visible(False)
    return figure


def draw_growth(growth: list[Row]) -> Figure:
    """Cost against each quantity that it grows with, and the fitted exponents."""
    figure = Figure(figsize=(3.2 * len(growth), 3.2), layout="constrained")
    for axes, row in zip(figure.subplots(1, len(growth), squeeze=False)[0], growth):
        for name, exponent, colour in zip(
            ("theirs", "ours"), reversed(row["exponents"]), (DENSE, OURS)
        ):
            label = f"{'dense' if name == 'theirs' else 'ours'}, exponent {exponent:.2f}"
            axes.loglog(row["values"], row[name], "o-", color=colour, label=label)
        axes.set_xlabel(row["growth"])
        axes.set_xticks(row["values"], [f"{value:,}" for value in row["values"]])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(EngFormatter("s"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.legend(frameon=False, fontsize=8)
        axes.grid(color="#dddddd", linewidth=0.6)
    figure.axes[0].set_ylabel("forward and backward")
    return figure
