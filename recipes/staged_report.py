"""The table and the plot of staged.sh."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from .files import write
from .results import read_result

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WAYS = {  # the folder's name, and what the table calls it
    "before": "before",
    "at-once": "at once",
    "staged": "staged",
    "scratch": "from scratch",
}


@dataclass(frozen=True)
class Run:
    """One model that is scored: the dense one, or a family at one size in one of `WAYS`."""

    way: str
    model: str = ""
    seed: int = 1

    @property
    def folder(self) -> str:
        return f"{self.model}{'-' * bool(self.model)}{self.way}.seed{self.seed}"

    @property
    def name(self) -> str:
        """In the table."""
        return f"{self.model.replace('-', ', ')}%, {WAYS[self.way]}" if self.model else "dense"


def compare(out: Path, runs: Sequence[Run]) -> str:
    """Write staged.md and staged.png, about runs in a folder; returns the text."""
    from shapeshifter_fairseq.plots import write_figure
    from shapeshifter_fairseq.runs import read_runs, table

    diverged = [run.folder for run in runs if (out / run.folder / "diverged").exists()]
    there = [run for run in runs if run.folder not in diverged]
    found = read_runs([f"{run.name}={out / run.folder}" for run in there])
    curves = {run: read_result(out / run.folder)["validation"] for run in there}
    best = {run: min(point["nll_loss"] for point in curve) for run, curve in curves.items()}
    lost = [
        run.folder
        for run in there
        if run.way in ("at-once", "staged") and not best[run] < best[Run("before", run.model)]
    ]
    text = "\n\n".join(
        [
            f"# {found['dense'][0]['recipe']}",
            table(found),
            "Validation set, mean and standard deviation over the seeds; nll in bits a subword.",
            f"Gradients became NaN: {', '.join(diverged) or 'none'}. No better than before "
            f"fine-tuning: {', '.join(lost) or 'none'}.",
            "![](staged.png)",
        ]
    )
    write_figure(plot(found, there), out / "staged.png")
    write(out / "staged.md", text)
    return text


def plot(found: Mapping[str, list[dict[str, Any]]], runs: Sequence[Run]) -> Figure:
    """BLEU against size: a panel for each family, a line for each way, a dot for each seed."""
    from matplotlib.figure import Figure

    from shapeshifter_fairseq.plots import COLOURS

    families = list(dict.fromkeys(run.model.rpartition("-")[0] for run in runs if run.model))
    figure = Figure(figsize=(1.2 + 2.9 * len(families), 3.6), layout="constrained")
    panels = figure.subplots(1, len(families), sharey=True, squeeze=False)[0]
    whole = found["dense"][0]
    for axes, family in zip(panels, families):
        dense = whole["scores"]["BLEU"]["value"]
        axes.axhline(dense, color="black", ls="--", lw=1, label="dense")
        for way, colour in zip(WAYS, (COLOURS[7], *COLOURS)):
            of_way = [run for run in runs if run.way == way and run.model.startswith(f"{family}-")]
            bleu = {
                100 * group[0]["parameters"] / whole["parameters"]: [
                    result["scores"]["BLEU"]["value"] for result in group
                ]
                for group in (found[name] for name in {run.name for run in of_way})
            }
            means = [fmean(bleu[size]) for size in sorted(bleu)]
            axes.plot(sorted(bleu), means, color=colour, linewidth=1.6, label=WAYS[way])
            for size, values in bleu.items():
                axes.plot([size] * len(values), values, "o", color=colour, markersize=5)
        axes.set_title(family, loc="left", fontsize=11)
        axes.set_xlabel("parameters, % of dense")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#dddddd", linewidth=0.6)
    panels[0].set_ylabel("BLEU, validation set")
    panels[0].set_ylim(bottom=0)
    lines, labels = panels[0].get_legend_handles_labels()
    figure.legend(lines, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    return figure
