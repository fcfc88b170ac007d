"""Print the table of recipes/staged.sh, before and after fine-tuning, and draw its plot.

python recipes/staged.py runs/staged >runs/staged/staged.md                    all that is there
python recipes/staged.py runs/staged dense.seed1 low_rank-50-before.seed1 ...  these runs
"""

from __future__ import annotations

import argparse
import json
import logging
import re
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from tabulate import tabulate

from shapeshifter_fairseq.runs import COLOURS, read_runs, spread, write_figure

WAYS = {  # the folder's name, and what the table calls it
    "before": "before",
    "at-once": "at once",
    "staged": "staged",
    "scratch": "from scratch",
}
TOLERANCE = 1.5  # percentage points between a model's size and what its folder's name says


@dataclass
class Way:
    """What became of one model in one of `WAYS`, over the seeds."""

    nll: dict[int, float] = field(default_factory=dict)  # at the end, by seed
    bleu: dict[int, float] = field(default_factory=dict)
    diverged: set[int] = field(default_factory=set)  # seeds without the above
    results: list[dict] = field(default_factory=list)  # what recipes/result.py wrote

    def failed(self, before: Way) -> set[int]:
        """The seeds that diverged, or whose loss is not below that before fine-tuning."""
        # Of a checkpoint that was given there is one projection for all seeds.
        start = {seed: before.nll.get(seed, next(iter(before.nll.values()))) for seed in self.nll}
        return self.diverged | {seed for seed, nll in self.nll.items() if nll >= start[seed]}


@dataclass
class Model:
    """A family at one size."""

    family: str
    size: int  # percent of the dense model's parameters, about
    parameters: int
    of: int  # the dense model's
    ways: dict[str, Way]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="folder that recipes/staged.sh wrote")
    parser.add_argument("runs", nargs="*", help="its folders (default: all)")
    args = parser.parse_args()
    out = args.out
    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # fairseq lets all loggers speak
    models, dense = read(out, args.runs or [path.name for path in out.glob("*.*")])
    write_figure(plot(models, dense), out / "staged.png")
    print(report(models, dense))
    print("\n![](staged.png)")


def read(out: Path, runs: Iterable[str]) -> tuple[list[Model], Way]:
    """The models of runs in a folder, by family and falling size, and the dense one.

    A folder may hold more, which a killed call has left half made.
    """
    folders = [out / run for run in sorted(runs)]
    dense = Way()
    for folder in _of(folders, "dense."):
        _read_checkpoint(folder, dense)
    names = {
        path.name.partition("-before.seed")[0] for path in folders if "-before.seed" in path.name
    }
    if not names or not dense.nll:
        raise SystemExit(f"{out} holds no results; run recipes/staged.sh")
    models = [_read_model(folders, name) for name in names]
    return sorted(models, key=lambda model: (model.family, -model.size)), dense


def _of(folders: list[Path], begin: str) -> list[Path]:
    return [path for path in folders if path.name.startswith(begin)]


def _read_model(folders: list[Path], name: str) -> Model:
    family, _, size = name.rpartition("-")
    ways = {way: Way() for way in WAYS}
    for folder in _of(folders, f"{name}-before.seed"):
        _read_checkpoint(folder, ways["before"])
    said = (folder / "project.txt").read_text(encoding="utf-8")
    total = re.search(r"([\d,]+) +([\d,]+)  in all", said)
    before, after = (int(number.replace(",", "")) for number in total.groups())
    if abs(100 * after / before - int(size)) > TOLERANCE:
        raise SystemExit(f"{name} has {100 * after / before:.1f}% of the dense model's parameters")
    for way in list(WAYS)[1:]:
        of_way = _of(folders, f"{name}-{way}.seed")
        ways[way].diverged = {_seed(path) for path in of_way if (path / "diverged").exists()}
        there = [f"{name}={path}" for path in of_way if _seed(path) not in ways[way].diverged]
        for result in read_runs(there).get(name, []):
            seed, nll = result["seed"], result["validation"][-1]["nll_loss"]
            ways[way].results.append(result)
            if isfinite(nll):
                ways[way].nll[seed], ways[way].bleu[seed] = nll, result["scores"]["BLEU"]["value"]
            else:
                ways[way].diverged.add(seed)
    return Model(family, int(size), after, before, ways)


def _read_checkpoint(folder: Path, way: Way) -> None:
    """What staged.sh's score_checkpoint made."""
    seed = _seed(folder)
    log = (folder / "validate.log").read_text(encoding="utf-8")
    way.nll[seed] = float(re.search(r'"valid_nll_loss": "([^"]+)"', log)[1])
    scores = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    way.bleu[seed] = next(score["score"] for score in scores if score["name"] == "BLEU")


def _seed(folder: Path) -> int:
    name, _, seed = folder.name.rpartition(".seed")
    return int(seed) if name else 1  # dense.given


def report(models: list[Model], dense: Way) -> str:
    """The table, and what its numbers are."""
    head = ["model", "parameters"]
    for way, label in WAYS.items():
        head += [f"{label}: nll", "BLEU"] + ["failed"] * (way != "before")
    rows = []
    for model in models:
        share = 100 * model.parameters / model.of
        rows.append([f"{model.family}, {model.size}%", f"{model.parameters:,} ({share:.1f}%)"])
        for way, found in model.ways.items():
            rows[-1] += [_spread(found.nll, 3), _spread(found.bleu, 2)]
            if way != "before":
                # A model from scratch has nothing behind it that it could be worse than.
                failed = found.failed(model.ways["before"]) if way != "scratch" else found.diverged
                rows[-1].append(f"{len(failed)} of {len(found.nll) + len(found.diverged)}")
    results = [result for model in models for way in model.ways.values() for result in way.results]
    if not results:
        raise SystemExit("every run has diverged: there is nothing to compare")
    first = results[0]
    updates = ", ".join(
        f"{label} {_numbers(r['updates'] for model in models for r in model.ways[way].results)}"
        for way, label in WAYS.items()
        if way != "before"
    )
    return "\n\n".join(
        [
            f"# {first['recipe']}",
            tabulate(rows, head, tablefmt="github", disable_numparse=True),
            f"The dense model: {models[0].of:,} parameters, nll {_spread(dense.nll, 3)}, BLEU "
            f"{_spread(dense.bleu, 2)}.",
            "Validation set, after the last update of each training, mean and standard deviation "
            f"over the seeds; nll in bits a subword. Updates: {updates}. Failed: the gradients "
            "became NaN, or (fine-tuned) the loss is not below that before fine-tuning. A mean is "
            "of all runs that have a loss.",
            f"`{first['scores']['BLEU']['signature']}`. {first['machine']}. Code: "
            f"{first['git'] or 'no git checkout'}.",
        ]
    )


def plot(models: list[Model], dense: Way) -> Figure:
    """BLEU against size, a panel a family: a line a way, a dot a seed, a cross a failed one."""
    families = list(dict.fromkeys(model.family for model in models))
    figure = Figure(figsize=(1.2 + 2.9 * len(families), 3.6), layout="constrained")
    panels = figure.subplots(1, len(families), sharey=True, squeeze=False)[0]
    for panel, family in zip(panels, families):
        _draw(panel, [model for model in models if model.family == family], dense)
        panel.set_title(family, loc="left", fontsize=11)
    panels[0].set_ylabel("BLEU, validation set")
    panels[0].set_ylim(bottom=0)
    lines, labels = panels[0].get_legend_handles_labels()
    figure.legend(lines, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    return figure


def _draw(axes: Axes, models: list[Model], dense: Way) -> None:
    axes.axhline(statistics.mean(dense.bleu.values()), color="black", ls="--", lw=1, label="dense")
    colours = dict(zip(WAYS, (COLOURS[7], *COLOURS)))
    for way, label in WAYS.items():
        of_way = [(model, model.ways[way]) for model in models if model.ways[way].bleu]
        sizes = [100 * model.parameters / model.of for model, _ in of_way]
        means = [statistics.mean(found.bleu.values()) for _, found in of_way]
        axes.plot(sizes, means, color=colours[way], linewidth=1.6, label=label)
        for size, (model, found) in zip(sizes, of_way):
            fine_tuned = way in ("at-once", "staged")
            failed = found.failed(model.ways["before"]) if fine_tuned else set()
            for seed, bleu in found.bleu.items():
                marker = "x" if seed in failed else "o"
                axes.plot(size, bleu, marker, color=colours[way], markersize=5)
    axes.set_xlabel("parameters, % of dense")
    axes.set_xticks(sorted(model.size for model in models))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)


def _spread(values: dict[int, float], digits: int) -> str:
    return spread(list(values.values()), digits) if values else "none"


def _numbers(values: Iterable[int]) -> str:
    return " or ".join(f"{value:,}" for value in sorted(set(values))) or "none"


if __name__ == "__main__":
    main()
