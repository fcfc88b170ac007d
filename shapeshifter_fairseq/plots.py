"""The runs of a benchmark as plots, for `shapeshifter compare` and the recipes."""

from __future__ import annotations

import math
import statistics
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullLocator

from .runs import Run, Runs, curve, every, spread, value_of
from .writing import whole_file

# Colours that colour-blind people can tell apart (Okabe and Ito, 2008; the last one is Tol's).
COLOURS = "#0072B2 #D55E00 #009E73 #CC79A7 #56B4E9 #E69F00 #000000 #999999 #882255".split()


def plot(runs: Runs, out: Path) -> list[Path]:
    """Draw validation.png, seconds.png, parameters.png and bleu.png; returns their paths.

    If the first score of a benchmark is not BLEU, that score is drawn instead (rouge-1.png).
    Results of earlier releases lack the seconds, so they get no seconds.png.
    """
    out.mkdir(parents=True, exist_ok=True)
    figures = {
        "validation.png": _plot_curves(runs, "nll_loss", "validation nll, base 2"),
        # Trainings measure BLEU only if told to: fairseq-train --eval-bleu.
        f"{_main_score(runs).lower()}.png": _plot_curves(runs, "bleu", "validation BLEU")
        if all(curve(run, "bleu")[0] for run in every(runs))
        else _plot_score(runs),
        "parameters.png": _plot_score_against_parameters(runs),
    }
    if all("seconds" in point for run in every(runs) for point in run["validation"]):
        label = "validation nll, base 2"
        figures["seconds.png"] = _plot_curves(runs, "nll_loss", label, "seconds")
    for name, figure in figures.items():
        write_figure(figure, out / name)
    return [out / name for name in figures]


def write_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all."""
    with whole_file(path) as part:
        figure.savefig(part, format="png", dpi=160)


def _plot_curves(runs: Runs, key: str, label: str, against: str = "updates") -> Figure:
    """Results on the validation set against updates or seconds; a line for each seed."""
    figure, axes = _axes(runs, against, label)
    late = []
    for name, colour, group in _coloured(runs):
        for seed, run in enumerate(group):
            places, values = curve(run, key, against)
            finite = [point for point in zip(places, values) if math.isfinite(point[1])]
            tenth = places[-1] / 10  # 0 if the whole training took less than a second
            late += [value for at, value in finite if at > tenth or not tenth]
            axes.plot(places, values, color=colour, linewidth=1.6, label=name if not seed else "")
    # The first tenth of a training covers ten times the range of the rest: it may be cut off.
    margin = 0.05 * (max(late) - min(late)) or 0.5
    axes.set_ylim(min(late) - margin, max(late) + margin)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.legend(frameon=False, loc="best")
    return figure


def _plot_score(runs: Runs) -> Figure:
    """The score of each name as a bar, with a dot for each seed."""
    main = _main_score(runs)
    figure, axes = _axes(runs, _score_label(runs), "")
    for row, (_, colour, group) in enumerate(_coloured(runs)):
        values = [value_of(run, main) for run in group]
        axes.barh(row, statistics.mean(values), height=0.6, color=colour)
        if len(values) > 1:
            axes.plot(values, [row] * len(values), "o", color="white", mec="black", markersize=4)
        _note(axes, spread(values, 2), max(values), row)
    axes.set_yticks(range(len(runs)), list(runs))
    axes.invert_yaxis()
    axes.set_xlim(0, 1.2 * max(value_of(run, main) for run in every(runs)) or 1)
    axes.grid(visible=False, axis="y")
    return figure


def _plot_score_against_parameters(runs: Runs) -> Figure:
    """The score against size on a logarithmic axis: a dot for each name, a bar over its seeds."""
    figure, axes = _axes(runs, "parameters", _score_label(runs))
    axes.set_xscale("log")
    sizes = [group[0]["parameters"] for group in runs.values()]
    axes.set_xlim(min(sizes) / 1.5, max(sizes) * 2.2)  # room for the names
    main = _main_score(runs)
    means = {
        name: statistics.mean(value_of(run, main) for run in group) for name, group in runs.items()
    }
    for name, colour, group in _coloured(runs):
        size, values = group[0]["parameters"], [value_of(run, main) for run in group]
        axes.vlines(size, min(values), max(values), color=colour, linewidth=1.6)
        axes.plot(size, means[name], "o", color=colour, markersize=7)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.margins(y=0.15)
    # Place the names of models of similar size below each other.
    low, high = axes.get_ylim()
    line, noted = 0.055 * (high - low), []
    for name, colour, group in sorted(_coloured(runs), key=lambda item: -means[item[0]]):
        size, y = group[0]["parameters"], means[name]
        near = [other for other_size, other in noted if 0.4 < size / other_size < 2.5]
        noted.append((size, min([y, *(other - line for other in near)])))
        _note(axes, name, *noted[-1], colour)
    axes.set_ylim(min(low, *(y - line for _, y in noted)), high)
    return figure


def _axes(runs: Runs, x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axes = figure.add_subplot(xlabel=x, ylabel=y)
    axes.set_title(next(every(runs))["recipe"], loc="left", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    return figure, axes


def _note(axes: Axes, text: str, x: float, y: float, colour: str = "black") -> None:
    place = {"textcoords": "offset points", "va": "center"}
    axes.annotate(text, (x, y), (7, 0), **place, fontsize=9, color=colour)


def _coloured(runs: Runs) -> list[tuple[str, str, list[Run]]]:
    return [
        (name, COLOURS[number % len(COLOURS)], group)
        for number, (name, group) in enumerate(runs.items())
    ]


def _main_score(runs: Runs) -> str:
    return next(iter(next(every(runs))["scores"]))


def _score_label(runs: Runs) -> str:
    return f"{_main_score(runs)}, {next(every(runs))['split']} set"
