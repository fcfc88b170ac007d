"""The results of one training: result.json for programs, report.md for people."""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from shapeshifter_fairseq.corpus import Corpus

from .commands import ROOT
from .evaluation import read_evaluation
from .files import lines_of, write
from .training import by_name

PACKAGES = (
    *("torch", "numpy", "ve-fairseq", "fairseq", "rouge-score", "sacrebleu", "sacremoses"),
    *("sentencepiece", "subword-nmt", "transformers", "accelerate", "scikit-learn"),
)
FOLDERS = ("--user-dir", "--save-dir", "--tensorboard-logdir")
EXAMPLES = 5
WORDS = 9  # of an example's source: neither a label nor a paragraph
LONGEST = 200  # characters of it in a report: a model that has learned nothing repeats itself


def write_result(
    run: Path, data: Path, corpus: Corpus, recipe: str, model: str, checkpoint: Path
) -> None:
    """Write result.json, report.md and config.json into the folder of a training.

    Args:
        run: the folder, with the files of training and evaluation.
        data: the prepared corpus.
        recipe: name of the benchmark.
        model: name of the model.
        checkpoint: the file that translated.
    """
    import shapeshifter_fairseq.models  # noqa: F401  (registers the architectures)
    from shapeshifter_fairseq.fairseq_side.run_facts import facts_of_run

    facts, evaluation = facts_of_run(run, data, checkpoint), read_evaluation(run)
    write(run / "config.json", json.dumps(facts.pop("config"), indent=2, sort_keys=True))
    facts["seconds"]["translation"] = evaluation.pop("seconds")
    result = {"recipe": recipe, "model": model, "options": _options(run), **facts, **evaluation}
    result |= {"corpus": vars(corpus), **made_with()}
    text = report({model: result}, examples(data, corpus, {model: run}, evaluation["split"]))
    write(run / "report.md", text)
    write(run / "result.json", json.dumps(result, indent=2, ensure_ascii=False))


def _options(run: Path) -> dict[str, str]:
    """fairseq-train's options in the last call of a training, without those that name its folders.

    Empty for a model that was not trained in this folder.
    """
    log = run / "train.log"
    said = log.read_text(encoding="utf-8") if log.exists() else ""
    calls = re.findall(r"^=== train .*\n.* -m fairseq_cli\.train (.*)$", said, re.MULTILINE)
    options = by_name(shlex.split(calls[-1])) if calls else {}
    return {name: value for name, value in options.items() if name not in FOLDERS}


def made_with() -> dict[str, Any]:
    """What a result was made with: the machine, the packages, the commit of this checkout."""
    return {"machine": machine(), "versions": _versions(), "git": _git_revision()}


def read_result(run: Path) -> dict[str, Any]:
    """The result.json of a training."""
    return json.loads((run / "result.json").read_text(encoding="utf-8"))


def machine() -> str:
    """The device and what runs on it, in one line."""
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return (
        f"{os.cpu_count()} CPU cores ({platform.machine()}), {device}, "
        f"Python {platform.python_version()}, torch {torch.__version__}"
    )


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    return versions


def _git_revision() -> str | None:
    """The commit of this checkout, "+" where files were changed; None outside of git."""

    def git(*words: str) -> subprocess.CompletedProcess[str]:
        call = ["git", "-C", str(ROOT), *words]
        return subprocess.run(call, capture_output=True, text=True, check=False)

    try:
        commit, changed = git("rev-parse", "HEAD"), git("status", "--porcelain", "-uno")
    except FileNotFoundError:  # no git
        return None
    if commit.returncode != 0:
        return None
    return commit.stdout.strip() + ("+" if changed.stdout.strip() else "")


def examples(
    data: Path, corpus: Corpus, runs: Mapping[str, Path], split: str
) -> list[dict[str, str]]:
    """A few sentences of middle length, spread over a set, with the models' translations."""
    source, target = (
        lines_of(data / "raw" / f"{split}.{side}") for side in (corpus.source, corpus.target)
    )
    hypotheses = {name: lines_of(run / "hypotheses.txt") for name, run in runs.items()}
    by_length = sorted(range(len(source)), key=lambda i: abs(len(source[i].split()) - WORDS))
    middling = sorted(by_length[: max(EXAMPLES, len(source) // 10)])
    chosen = middling[:: max(1, len(middling) // EXAMPLES)][:EXAMPLES]
    return [
        {"source": source[i], "reference": target[i]}
        | {name: lines[i] for name, lines in hypotheses.items()}
        for i in chosen
    ]


def _beginning(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} ..."


def report(results: Mapping[str, dict[str, Any]], sentences: list[dict[str, str]]) -> str:
    """The table of `shapeshifter compare` about one or several models, with translations."""
    from tabulate import tabulate

    from shapeshifter_fairseq.runs import table

    first = next(iter(results.values()))
    commits = dict.fromkeys(result["git"] or "no git checkout" for result in results.values())
    averaged = f", the mean of {len(first['averaged'])} checkpoints" if first["averaged"] else ""
    return "\n\n".join(
        [
            f"# {first['recipe']}",
            table({name: [result] for name, result in results.items()}),
            f"{first['split']} set, beam {first['beam']}, {first['checkpoint']}{averaged}. "
            f"{first['machine']}. Code: {', '.join(commits)}.",
            "\n".join(f"- {name}: `{x['signature']}`" for name, x in first["scores"].items()),
            *(
                tabulate(
                    [(name, _beginning(text)) for name, text in each.items()],
                    ["", ""],
                    tablefmt="github",
                )
                for each in sentences
            ),
        ]
    )
