"""Plots of the benchmarks' rows: figures of whole models beside their bars, and growth."""

from __future__ import annotations

import re

from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter, NullLocator
from pairs import Row

OURS, DENSE = "#D55E00", "#0072B2"
REACHED, MISSED = "#009E73", "#D55E00"
# The parts about whole models; single layers and lookups are in the table alone.
GROUPS = {
    "a-training": "Time of a training step",
    "b-generation": "Time of translating",
    "c-memory": "Memory and disk",
    "f-exchange": "Two processes",
}


def with_bars(parts: dict[str, list[Row]]) -> dict[str, list[Row]]:
    """The ratios of whole models to the dense one that have a bar, by their group's title."""
    groups = {
        title: [row for row in parts.get(part, []) if row["at_most"] and "ratio" in row]
        for part, title in GROUPS.items()
    }
    return {title: rows for title, rows in groups.items() if rows}


def draw_bars(groups: dict[str, list[Row]]) -> Figure:
    """Ratios of `with_bars` beside their bars, with the range of their pairs."""
    counts = [len(rows) for rows in groups.values()]
    height = 1.4 + 0.45 * len(groups) + 0.24 * sum(counts)
    figure = Figure(figsize=(8, height), layout="constrained")
    panels = figure.subplots(len(groups), sharex=True, squeeze=False, height_ratios=counts)
    for axes, (title, rows) in zip(panels[:, 0], groups.items()):
        for y, row in enumerate(rows):
            colour = REACHED if row["ratio"] <= row["at_most"] else MISSED
            axes.plot([row["low"], row["high"]], [y, y], color=colour, alpha=0.4, lw=3)
            axes.plot(row["ratio"], y, "o", color=colour, markersize=6)
            axes.plot(row["at_most"], y, "|", color="black", markersize=11)
        axes.axvline(1, color="#999999", linewidth=1, zorder=0)
        axes.set_yticks(range(len(rows)), [_name(row) for row in rows], fontsize=9)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_title(title, loc="left", fontsize=10, fontweight="bold")
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", color="#eeeeee", linewidth=0.6)
        axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_xlim(left=0)
    axes.set_xlabel(
        "factorized / dense, with the range\n"
        "| is the bar, at most this; green reaches it, red misses it"
    )
    return figure


def _name(row: Row) -> str:
    """What was measured, without the device, which is the same for all."""
    name = re.sub(r", (cpu|cuda) \w+|, \d+ threads| \(bar: .*\)", "", row["what"])
    return re.sub(r"\b(iwslt|wmt)(\d*)", lambda found: found[1].upper() + found[2], name)


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
