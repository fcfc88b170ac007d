"""The runs of a benchmark side by side, as a table, for `shapeshifter compare`.

Reads the result.json files that the recipes write. Runs with the same name make one row: mean and
standard deviation over their seeds. So they must have the same parameters, updates and options.
"""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from .errors import ShapeshifterError

Run = dict[str, Any]  # what recipes/results.py writes
Runs = dict[str, list[Run]]  # by name; a name's runs differ in their seeds only

# What the runs of a table have in common. (Results of earlier releases lack the beam.)
_ALIKE: dict[str, Callable[[Run], str]] = {
    "benchmarks": lambda run: run["recipe"],
    "sets": lambda run: run["split"],
    "beams": lambda run: str(run.get("beam", 5)),
    "lists of scores": lambda run: ", ".join(run["scores"]),
    "signatures of scores": lambda run: ", ".join(
        re.sub(r"\|version:.*", "", score.get("signature", "")) for score in run["scores"].values()
    ),
}
# Options of fairseq-train in which the runs of a name may differ: the seed, and what does not
# change the training. (For the first two see `_setting`.)
_FREE = re.compile(
    r"--(max-tokens|update-freq|seed|cpu|fp16|num-workers|finetune-from-model|no-epoch-checkpoints"
    r"|(log|save|keep|validate|tensorboard|distributed|ddp)-.*)"
)


def read_runs(arguments: Sequence[str]) -> Runs:
    """Read the runs of one benchmark.

    Args:
        arguments: folders of runs, or result.json files. Each may be named, NAME=PATH; else its
            name is its model, with the number of parameters where a model comes in several sizes,
            and the updates where they differ.

    Raises:
        ShapeshifterError: if a result is missing or cannot be read, if the runs are of several
            benchmarks or were scored in several ways, or if two of one name have the same seed or
            differ in updates, parameters or options of fairseq-train.
    """
    named = [_read(argument) for argument in arguments]
    for what, fact_of in _ALIKE.items():
        first_with = {fact_of(run): path for path, (_, run) in reversed([*zip(arguments, named)])}
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
        if group and (odd := _difference(_setting(group[0]), _setting(run))):
            raise ShapeshifterError(
                f"runs of {name} differ in {odd}, so they do not differ in seeds only: give each "
                "its own name, NAME=RUN"
            )
        group.append(run)
    return runs


def _setting(run: Run) -> dict[str, str]:
    """The options of a training that have to be alike; empty for results of earlier releases."""
    if not (options := run.get("options")):
        return {}
    setting = {name: value for name, value in options.items() if not _FREE.fullmatch(name)}
    tokens, frequency = (options.get(name, "1") for name in ("--max-tokens", "--update-freq"))
    if tokens.isdecimal() and frequency.isdecimal():
        # On several devices each holds a part of the batch.
        setting["tokens an update"] = str(
            int(tokens) * int(frequency) * (run.get("processes") or 1)
        )
    return setting


def _difference(one: dict[str, str], other: dict[str, str]) -> str:
    """The first option in which two settings differ, with both values; "" if there is none."""
    for name in sorted(one.keys() | other.keys()) if one and other else ():
        values = [setting.get(name, "not given") for setting in (one, other)]
        if values[0] != values[1]:
            return f"{name} ({' and '.join(values)})"
    return ""


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
    if not curve(run, "nll_loss")[0]:
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
    scores = list(dict.fromkeys(score for run in every(runs) for score in run["scores"]))
    # No such column if a training was too short to log its loss.
    training = all(run["last_training_nll"] is not None for run in every(runs))
    rows = [
        [
            name.replace("|", r"\|"),
            f"{sizes[name]:,} ({100 * sizes[name] / sizes[whole]:.1f}%)",
            f"{group[0]['updates']:,}",
            str(len(group)),
            *([spread([run["last_training_nll"] for run in group], 3)] if training else []),
            spread([min(curve(run, "nll_loss")[1]) for run in group], 3),
            *(spread([value_of(run, score) for run in group], 2) for score in scores),
            spread([run["seconds"]["training"] / 60 for run in group], 1),
        ]
        for name, group in runs.items()
    ]
    parameters = "parameters" if dense else f"parameters (% of {whole})"
    head = ["model", parameters, "updates", "seeds", *["last train nll"] * training]
    head += ["best valid nll", *scores, "training, min"]
    return tabulate(rows, head, tablefmt="github", disable_numparse=True)


def every(runs: Runs) -> Iterator[Run]:
    """All runs, whatever their name."""
    return (run for group in runs.values() for run in group)


def curve(run: Run, key: str, against: str = "updates") -> tuple[list[float], list[float]]:
    """Updates (or seconds) and values of one measure on the validation set."""
    points = [point for point in run["validation"] if key in point]
    return [point.get(against, 0) for point in points], [point[key] for point in points]


def value_of(run: Run, score: str) -> float:
    """The value of a score."""
    return run["scores"][score]["value"]


def spread(values: list[float], digits: int) -> str:
    """The mean, and the standard deviation if there are several values."""
    mean = f"{statistics.mean(values):.{digits}f}"
    return f"{mean} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean
