"""All runs of a folder as one table and one plot, as table 3 and figure 3 of Gupta et al."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from tabulate import tabulate

from shapeshifter_fairseq.plots import COLOURS, write_figure
from shapeshifter_fairseq.runs import spread

from ..files import write
from .setting import BATCH, DENSE, SHARED, TOKENS
from .tasks import TASKS

Result = dict[str, Any]
Key = tuple[float, str, bool]  # percent kept, factorization, staged
SCORES = {"mrpc": ("accuracy", "F1")}  # of the others the accuracy alone
WAYS = {False: "at once", True: "staged"}


def report(out: Path) -> str:
    """Write report.md and report.png about the results in a folder; returns the text."""
    results = [json.loads(x.read_text(encoding="utf-8")) for x in sorted(out.glob("*/result.json"))]
    commits = sorted({str(result["git"]) for result in results})
    setting = ", ".join(f"--{name} {results[0][name]}" for name in SHARED)
    text = "\n\n".join(
        [
            "# glue",
            table(results),
            "Dev set, after the last epoch: mean and standard deviation over the runs that have "
            "not failed, in percent. In brackets: how many of the runs have failed, because their "
            "accuracy was not above that of the training set's most frequent class: "
            + ", ".join(f"{x} {y:.1f}" for x, y in _majorities(results).items())
            + ".",
            f"{setting}, batches of {BATCH}, at most {TOKENS} tokens. {results[0]['machine']}. "
            f"Code: {', '.join(commits)}.",
            "![](report.png)",
        ]
    )
    write_figure(plot(results), out / "report.png")
    write(out / "report.md", text)
    return text


def table(results: Sequence[Result]) -> str:
    """A row for each model, as table 3: the dense one, then the largest first."""
    tasks = [task for task in TASKS if task in {result["task"] for result in results}]
    columns = [(task, score) for task in tasks for score in SCORES.get(task, ("accuracy",))]
    rows = []
    for (keep, family, staged), group in _groups(results).items():
        row = ["all" if family == DENSE else f"{keep:g}%", family]
        row += ["" if family == DENSE else WAYS[staged], f"{group[0]['parameters'] / 1e6:.1f} M"]
        rows.append([*row, *(_cell(group, task, score) for task, score in columns)])
    majorities = _majorities(results)
    always = [f"{majorities[x]:.1f}" if y == "accuracy" else "" for x, y in columns]
    rows.append(["", "(most frequent class)", "", "", *always])
    head = ["kept", "factorization", "factorized", "parameters", *(f"{x}, {y}" for x, y in columns)]
    return tabulate(rows, head, tablefmt="github", disable_numparse=True)


def _cell(group: Sequence[Result], task: str, score: str) -> str:
    runs = [result for result in group if result["task"] == task]
    if not runs:
        return "not measured"
    values = [result[score] for result in runs if not result["failed"]]
    mean = spread(values, 1) if values else "-"
    return f"{mean} ({len(runs) - len(values)} of {len(runs)})"


def _groups(results: Sequence[Result]) -> dict[Key, list[Result]]:
    """The results of each model: all tasks, all seeds."""
    groups: dict[Key, list[Result]] = {}
    for result in results:
        key = result["keep"], result["factorization"], result["staged"]
        groups.setdefault(key, []).append(result)
    return dict(sorted(groups.items(), key=lambda item: (-item[0][0], *item[0][1:])))


def _majorities(results: Sequence[Result]) -> dict[str, float]:
    return {result["task"]: result["majority"] for result in results}


def plot(results: Sequence[Result]) -> Figure:
    """Accuracy against size, a panel for each task, and the share of failed runs."""
    majorities, groups = _majorities(results), _groups(results)
    families = sorted({family for _, family, _ in groups if family != DENSE})
    colours = dict(zip(families, COLOURS * len(families)))
    figure = Figure(figsize=(3.4 * len(majorities) + 3.4, 3.8), layout="constrained")
    *panels, last = figure.subplots(1, len(majorities) + 1)
    for axes, (task, majority) in zip(panels, majorities.items()):
        axes.set_title(f"{task}, accuracy", loc="left", fontsize=11)
        axes.set_xlabel("kept of each matrix, %")
        axes.axhline(majority, color="#999999", ls=":", lw=1, label="most frequent class")
        _lines(axes, [x for x in results if x["task"] == task], colours)
    _bars(last, groups, colours)
    for axes in (*panels, last):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
    # Each name once, whichever panel has it.
    named = [axes.get_legend_handles_labels() for axes in panels]
    lines = {name: line for both in named for line, name in zip(*both)}
    columns = {"ncols": 2 * len(panels) + 1, "fontsize": 9}
    figure.legend(lines.values(), lines, loc="outside lower center", frameon=False, **columns)
    return figure


def _lines(axes: Axes, results: Sequence[Result], colours: dict[str, str]) -> None:
    """A dot for each run, a line through the means: solid if at once, dashed if staged."""
    groups = _groups(results)
    axes.set_xticks(sorted({keep for keep, family, _ in groups if family != DENSE}))
    for family, staged in dict.fromkeys(key[1:] for key in groups):
        dots = {
            keep: [run["accuracy"] for run in runs]
            for (keep, *way), runs in groups.items()
            if way == [family, staged]
        }
        if family == DENSE:
            axes.axhline(fmean(dots[100]), color="black", ls="--", lw=1, label=DENSE)
            continue
        means, style = list(map(fmean, dots.values())), "s--" if staged else "o-"
        name, colour = f"{family}, {WAYS[staged]}", colours[family]
        axes.plot(list(dots), means, style[1:], lw=1.6, color=colour, label=name)
        for keep, values in dots.items():
            axes.plot([keep] * len(values), values, style[0], ms=5, color=colour)


def _bars(axes: Axes, groups: dict[Key, list[Result]], colours: dict[str, str]) -> None:
    """How many of all runs have failed, as figure 3: by factorization, at once and staged."""
    failed: dict[tuple[str, bool], list[bool]] = {}
    for (_, family, staged), runs in groups.items():
        failed.setdefault((family, staged), []).extend(run["failed"] for run in runs)
    for (family, staged), ones in failed.items():
        name = DENSE if family == DENSE else f"{family}, {WAYS[staged]}"
        share = 100 * fmean(ones)
        axes.barh(f"{name} ({len(ones)})", share, color=colours.get(family, "black"))
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_title("failed runs, % (of how many)", loc="left", fontsize=11)
