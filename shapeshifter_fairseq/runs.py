"""The runs of a benchmark side by side, as a table and as plots, for `shapeshifter compare`.

Reads the result.json files that the recipes write. Runs with the same name make one row: mean and
standard deviation over their seeds. So they must have the same parameters and updates.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullLocator
from tabulate import tabulate

from .errors import ShapeshifterError
from .writing import whole_file

Run = dict[str, Any]  # what recipes/results.py writes
Runs = dict[str, list[Run]]  # by name; a name's runs differ in their seeds only

# What the runs of a table have in common. (Results of earlier releases lack the beam.)
_ALIKE: dict[str, Callable[[Run], str]] = {
    "benchmarks": lambda run: run["recipe"],
    "sets": lambda run: run["split"],
    "beams": lambda run: str(run.get("beam", 5)),
    "lists of scores": lambda run: ", ".join(run["scores"]),
}

# Colours that colour-blind people can tell apart (Okabe and Ito, 2008; the last one is Tol's).
COLOURS = "#0072B2 #D55E00 #009E73 #CC79A7 #56B4E9 #E69F00 #000000 #999999 #882255".split()


def read_runs(arguments: Sequence[str]) -> Runs:
    """Read the runs of one benchmark.

    Args:
        arguments: folders of runs, or result.json files. Each may be named, NAME=PATH; else its
            name is its model, with the number of parameters where a model comes in several sizes,
            and the updates where they differ.

    Raises:
        ShapeshifterError: if a result is missing or cannot be read, if the runs are of several
            benchmarks or were scored in several ways, or if two of one name have the same seed or
            differ in updates or parameters.
    """
    named = [_read(argument) for argument in arguments]
    for what, value_of in _ALIKE.items():
        first_with = {value_of(run): path for path, (_, run) in reversed([*zip(arguments, named)])}
        if len(first_with) > 1:
            one, other, *_ = sorted(f"{value} ({path})" for value, path in first_with.items())
            raise ShapeshifterError(
                f"these runs have several {what}, {one} and {other}: their scores cannot be "
                "compared"
            )
    runs: Runs = {}
    for name, run in named:
        name = name or _name(run, [other for _, other in named])
        group = runs.setdefault(name, [])
        if run["seed"] in (other["seed"] for other in group):
            raise ShapeshifterError(
                f"two runs of {name} have the seed {run['seed']}: give each a name, NAME=RUN"
            )
        for what in ("parameters", "updates"):
            if group and run[what] != group[0][what]:
                raise ShapeshifterError(
                    f"runs of {name} have {group[0][what]:,} and {run[what]:,} {what}, so they do "
                    "not differ in seeds only: give each its own name, NAME=RUN"
                )
        group.append(run)
    return runs


def _name(run: Run, runs: Sequence[Run]) -> str:
    """The model, with its size and updates where runs of this model differ in them."""
    alike = [other for other in runs if other["model"] == run["model"]]
    name = run["model"]
    if len({other["parameters"] for other in alike}) > 1:
        name += f" {run['parameters'] / 1e6:.2f}M"
    if len({other["updates"] for other in alike}) > 1:
        name += f", {run['updates']:,} updates"
    return name


def _read(argument: str) -> tuple[str, Run]:
    name, path = "", Path(argument)
    if "=" in argument and not path.exists():
        name, _, rest = argument.partition("=")
        path = Path(rest)
    if path.is_dir():
        path /= "result.json"
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ShapeshifterError(f"there is no {path}: has the recipe finished?") from error
    except ValueError as error:
        raise ShapeshifterError(f"{path} is not the result of a recipe: {error}") from error
    if not isinstance(run, dict) or not {"recipe", "split", "scores", "validation"} <= run.keys():
        raise ShapeshifterError(f"{path} is not the result of a recipe")
    if not _curve(run, "nll_loss")[0]:
        raise ShapeshifterError(
            f"{path} has no nll_loss: train with --criterion label_smoothed_cross_entropy"
        )
    return name, run


def table(runs: Runs) -> str:
    """The runs as a table in Markdown. Percentages are of the largest dense model; if there
    is no dense one, the largest model has, and the head names it.
    """
    sizes = {name: group[0]["parameters"] for name, group in runs.items()}
    dense = [name for name, group in runs.items() if group[0]["model"] == "dense"]
    whole = max(dense or sizes, key=sizes.__getitem__)
    scores = list(dict.fromkeys(score for run in _all(runs) for score in run["scores"]))
    # No such column if a training was too short to log its loss.
    training = all(run["last_training_nll"] is not None for run in _all(runs))
    rows = [
        [
            name.replace("|", r"\|"),
            f"{sizes[name]:,} ({100 * sizes[name] / sizes[whole]:.1f}%)",
            f"{group[0]['updates']:,}",
            str(len(group)),
            *([spread([run["last_training_nll"] for run in group], 3)] if training else []),
            spread([min(_curve(run, "nll_loss")[1]) for run in group], 3),
            *(spread([_score(run, score) for run in group], 2) for score in scores),
            spread([run["seconds"]["training"] / 60 for run in group], 1),
        ]
        for name, group in runs.items()
    ]
    parameters = "parameters" if dense else f"parameters (% of {whole})"
    head = ["model", parameters, "updates", "seeds", *["last train nll"] * training]
    head += ["best valid nll", *scores, "training, min"]
    return tabulate(rows, head, tablefmt="github", disable_numparse=True)


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
        if all(_curve(run, "bleu")[0] for run in _all(runs))
        else _plot_score(runs),
        "parameters.png": _plot_score_against_parameters(runs),
    }
    if all("seconds" in point for run in _all(runs) for point in run["validation"]):
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
            places, values = _curve(run, key, against)
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
        values = [_score(run, main) for run in group]
        axes.barh(row, statistics.mean(values), height=0.6, color=colour)
        if len(values) > 1:
            axes.plot(values, [row] * len(values), "o", color="white", mec="black", markersize=4)
        _note(axes, spread(values, 2), max(values), row)
    axes.set_yticks(range(len(runs)), list(runs))
    axes.invert_yaxis()
    axes.set_xlim(0, 1.2 * max(_score(run, main) for run in _all(runs)) or 1)
    axes.grid(visible=False, axis="y")
    return figure


def _plot_score_against_parameters(runs: Runs) -> Figure:
    """The score against size on a logarithmic axis: a dot for each name, a bar over its seeds."""
    figure, axes = _axes(runs, "parameters", _score_label(runs))
    axes.set_xscale("log")
    sizes = [group[0]["parameters"] for group in runs.values()]
    axes.set_xlim(min(sizes) / 1.5, max(sizes) * 2.2)  # room for the names
    main = _main_score(runs)
    means = {name: _mean(group, main) for name, group in runs.items()}
    for name, colour, group in _coloured(runs):
        size, values = group[0]["parameters"], [_score(run, main) for run in group]
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
    axes.set_title(next(_all(runs))["recipe"], loc="left", fontsize=11)
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


def _all(runs: Runs) -> Iterator[Run]:
    return (run for group in runs.values() for run in group)


def _curve(run: Run, key: str, against: str = "updates") -> tuple[list[float], list[float]]:
    """Updates (or seconds) and values of one measure on the validation set."""
    points = [point for point in run["validation"] if key in point]
    return [point.get(against, 0) for point in points], [point[key] for point in points]


def _score(run: Run, name: str) -> float:
    return run["scores"][name]["value"]


def _mean(group: list[Run], name: str) -> float:
    return statistics.mean(_score(run, name) for run in group)


def _main_score(runs: Runs) -> str:
    return next(iter(next(_all(runs))["scores"]))


def _score_label(runs: Runs) -> str:
    return f"{_main_score(runs)}, {next(_all(runs))['split']} set"


def spread(values: list[float], digits: int) -> str:
    """The mean, and the standard deviation if there are several values."""
    mean = f"{statistics.mean(values):.{digits}f}"
    return f"{mean} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean
