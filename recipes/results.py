"""What came out of one training: result.json for programs, report.md for people."""

from __future__ import annotations

import json
import logging
import os
import platform
import subprocess
import threading
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import fmean
from typing import Any

from shapeshifter_fairseq.corpus import Corpus

from .engine import ROOT, lines_of, write
from .evaluation import read_evaluation

PACKAGES = (
    *("torch", "numpy", "ve-fairseq", "fairseq", "rouge-score", "sacrebleu", "sacremoses"),
    *("sentencepiece", "subword-nmt"),
)
EXAMPLES = 5
WORDS = 9  # of an example's source: neither a label nor a paragraph
_one_at_a_time = threading.Lock()  # fairseq builds models through hydra's global state


def write_result(
    run: Path, data: Path, corpus: Corpus, recipe: str, model: str, checkpoint: Path
) -> None:
    """Write result.json, report.md and config.json into the folder of a training.

    Of a model that was not trained there fairseq-validate's loss stands in for the curve.

    Of a model that was not trained there fairseq-validate's loss stands in for the curve.

    Args:
        run: with what training and evaluation made.
        data: the prepared corpus.
        recipe: name of the benchmark.
        model: name of the model.
        checkpoint: the file that translated.
    """
    with _one_at_a_time:
        model_facts, cfg = _of_model(run, data, checkpoint)
    evaluation = read_evaluation(run)
    log = next(path for name in ("train", "validate") if (path := run / f"{name}.log").exists())
    log = log.read_text(encoding="utf-8")
    result = {
        "recipe": recipe,
        "model": model,
        **model_facts,
        "checkpoint": checkpoint.name,
        "split": evaluation["split"],
        "scores": evaluation["scores"],
        "validation": _validation(log),
        "last_training_nll": _last_training_nll(log),
        "beam": evaluation["beam"],
        "corpus": vars(corpus),
        "machine": machine(),
        "versions": _versions(),
        "git": _git_revision(),
    }
    result["seconds"]["translation"] = evaluation["seconds"]
    text = report({model: result}, examples(data, corpus, {model: run}, evaluation["split"]))
    write(run / "config.json", json.dumps(_plain(cfg), indent=2, sort_keys=True))
    write(run / "report.md", text)
    write(run / "result.json", json.dumps(result, indent=2, ensure_ascii=False))


def read_result(run: Path) -> dict[str, Any]:
    """The result.json of a training."""
    return json.loads((run / "result.json").read_text(encoding="utf-8"))


def _of_model(run: Path, data: Path, checkpoint: Path) -> tuple[dict[str, Any], Any]:
    """What the checkpoints of a training say, and fairseq's configuration."""
    from fairseq.checkpoint_utils import load_checkpoint_to_cpu, load_model_ensemble_and_task

    import shapeshifter_fairseq.models  # noqa: F401  (registers the architectures)

    logging.disable(logging.INFO)  # what fairseq says about loading is nobody's question here
    path, last = str(checkpoint), run / "checkpoint_last.pt"
    last = load_checkpoint_to_cpu(str(last if last.exists() else path))
    models, cfg, _ = load_model_ensemble_and_task([path], arg_overrides={"data": str(data)})
    facts = {
        "seed": cfg["common"]["seed"],
        "updates": last["optimizer_history"][-1]["num_updates"],
        "parameters": sum(parameter.numel() for parameter in models[0].parameters()),
        "averaged": load_checkpoint_to_cpu(path)["extra_state"].get("averaged", []),
        "seconds": {"training": round(last["extra_state"].get("previous_training_time", 0), 1)},
        "processes": cfg["distributed_training"]["distributed_world_size"],
    }
    return facts, cfg


def machine() -> str:
    """The device and what runs on it, in one line."""
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return (
        f"{os.cpu_count()} CPU cores ({platform.machine()}), {device}, "
        f"Python {platform.python_version()}, torch {torch.__version__}"
    )


def logged(log: str, kind: str) -> list[dict[str, str]]:
    """What fairseq said of a kind, as JSON."""
    found = [line for line in log.splitlines() if f"| {kind} | {{" in line]
    return [json.loads(line[line.index("{") :]) for line in found]


def _validation(log: str) -> list[dict[str, float]]:
    """What fairseq measured on the validation set, by updates.

    After a kill the log holds some updates twice; the later one counts.
    """
    found = {}
    for values in logged(log, "valid"):
        updates = int(values.get("valid_num_updates", 0))
        found[updates] = {"updates": updates} | {
            name.removeprefix("valid_"): float(values[name])
            for name in ("valid_loss", "valid_nll_loss", "valid_bleu")
            if name in values
        }
    return [found[updates] for updates in sorted(found)]


def _last_training_nll(log: str) -> float | None:
    """Mean of the last five lines that fairseq logged, each of 20 updates; None without any."""
    last = logged(log, "train_inner")[-5:]
    return fmean(float(values["nll_loss"]) for values in last) if last else None


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


def _plain(cfg: Any) -> Any:
    """fairseq's configuration as plain containers."""
    from omegaconf import OmegaConf

    if OmegaConf.is_config(cfg):
        cfg = OmegaConf.to_container(cfg)
    if hasattr(cfg, "__dict__"):  # an argparse.Namespace
        cfg = vars(cfg)
    if isinstance(cfg, dict):
        return {name: _plain(value) for name, value in cfg.items()}
    return cfg if isinstance(cfg, (str, int, float, bool, list, type(None))) else str(cfg)


def examples(
    data: Path, corpus: Corpus, runs: Mapping[str, Path], split: str
) -> list[dict[str, str]]:
    """A few sentences of middle length, spread over a set, with what models made of them."""
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


def report(results: Mapping[str, dict[str, Any]], sentences: list[dict[str, str]]) -> str:
    """The table of `shapeshifter compare` about one or several models, with translations."""
    from tabulate import tabulate

    from shapeshifter_fairseq.runs import table

    first = next(iter(results.values()))
    averaged = f", the mean of {len(first['averaged'])}" if first["averaged"] else ""
    return "\n\n".join(
        [
            f"# {first['recipe']}",
            table({name: [result] for name, result in results.items()}),
            f"{first['split']} set, beam {first['beam']}, {first['checkpoint']}{averaged}. "
            f"{first['machine']}. Code: {first['git'] or 'no git checkout'}.",
            "\n".join(f"- {name}: `{x['signature']}`" for name, x in first["scores"].items()),
            *(tabulate(list(each.items()), ["", ""], tablefmt="github") for each in sentences),
        ]
    )
