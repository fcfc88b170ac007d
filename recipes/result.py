"""What came out of one training: result.json for programs, report.md for people.

    python recipes/result.py runs/multi30k.en-de/dense.seed1 --data data-bin/multi30k.en-de \\
        --recipe multi30k.en-de --model dense

The folder holds what recipes/train.sh, `shapeshifter average` and recipes/evaluate.sh made.
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
import re
import subprocess
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import mean

from corpus import read_corpus
from fairseq.checkpoint_utils import load_checkpoint_to_cpu, load_model_ensemble_and_task
from omegaconf import OmegaConf
from report import examples, machine
from tabulate import tabulate

import shapeshifter_fairseq.models  # noqa: F401  (registers the architectures)

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = (
    *("torch", "numpy", "ve-fairseq", "fairseq", "rouge-score", "sacrebleu", "sacremoses"),
    *("sentencepiece", "subword-nmt"),
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="folder of the training")
    parser.add_argument("--data", type=Path, required=True, help="the prepared corpus")
    parser.add_argument("--recipe", required=True, help="name of the benchmark")
    parser.add_argument("--model", required=True, help="name of the model")
    parser.add_argument("--checkpoint", default="averaged.pt", help="the one that translated")
    parser.add_argument("--split", default="test", help="the set that was translated")
    args = parser.parse_args()
    logging.disable(logging.INFO)  # what fairseq says about loading is nobody's question here

    checkpoint = args.run / args.checkpoint
    last = load_checkpoint_to_cpu(str(args.run / "checkpoint_last.pt"))
    models, cfg, _ = load_model_ensemble_and_task(
        [str(checkpoint)], arg_overrides={"data": str(args.data)}
    )
    seconds, beam = _translation(args.run / "generate.log")
    result = {
        "recipe": args.recipe,
        "model": args.model,
        "seed": cfg["common"]["seed"],
        "updates": last["optimizer_history"][-1]["num_updates"],
        "parameters": sum(parameter.numel() for parameter in models[0].parameters()),
        "checkpoint": args.checkpoint,
        "averaged": load_checkpoint_to_cpu(str(checkpoint))["extra_state"].get("averaged", []),
        "split": args.split,
        "scores": _scores(args.run),
        "validation": _validation(args.run / "train.log"),
        "last_training_nll": _last_training_nll(args.run / "train.log"),
        "seconds": {
            "training": round(last["extra_state"]["previous_training_time"], 1),
            "translation": seconds,
        },
        "beam": beam,
        "corpus": read_corpus(args.data),
        "machine": machine(),
        "processes": cfg["distributed_training"]["distributed_world_size"],
        "versions": _versions(),
        "git": _git_revision(),
    }
    report = _markdown(result, examples(args.data, {args.model: args.run}, args.split))
    _write(args.run / "config.json", json.dumps(_plain(cfg), indent=2, sort_keys=True))
    _write(args.run / "report.md", report)
    _write(args.run / "result.json", json.dumps(result, indent=2, ensure_ascii=False))
    print("\n" + report)


def _scores(run: Path) -> dict[str, dict]:
    """Value and signature by the name of the score."""
    scores = {
        score["name"]: score for score in json.loads((run / "scores.json").read_text("utf-8"))
    }
    tokenised = run / "scores.tokenised.json"
    if tokenised.exists():
        scores["tokenised BLEU"] = json.loads(tokenised.read_text("utf-8"))
    return {
        name: {"value": score["score"], "signature": score["signature"]}
        for name, score in scores.items()
    }


def _validation(log: Path) -> list[dict[str, float]]:
    """What fairseq measured on the validation set, by updates.

    After a kill the log holds some updates twice; the later one counts.
    """
    found = {}
    for line in log.read_text(encoding="utf-8").splitlines():
        if "| valid | {" in line:
            values = json.loads(line[line.index("{") :])
            updates = int(values["valid_num_updates"])
            found[updates] = {"updates": updates} | {
                name.removeprefix("valid_"): float(values[name])
                for name in ("valid_loss", "valid_nll_loss", "valid_bleu")
                if name in values
            }
    return [found[updates] for updates in sorted(found)]


def _last_training_nll(log: Path) -> float | None:
    """Mean of the last five lines that fairseq logged, each of 20 updates; None without any."""
    lines = log.read_text(encoding="utf-8").splitlines()
    logged = [json.loads(line[line.index("{") :]) for line in lines if "| train_inner | {" in line]
    return mean(float(values["nll_loss"]) for values in logged[-5:]) if logged else None


def _translation(log: Path) -> tuple[float, int]:
    """Seconds and beam of the search."""
    said = log.read_text(encoding="utf-8")
    seconds = re.search(r"Translated .* in ([\d.]+)s", said)[1]
    return float(seconds), int(re.search(r"^Generate \S+ with beam=(\d+):", said, re.M)[1])


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    return versions


def _git_revision() -> str | None:
    """The commit of this checkout, "+" where files were changed; None outside of git."""
    git = ["git", "-C", str(ROOT)]
    try:
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True)
        changed = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no"], capture_output=True, text=True
        )
    except FileNotFoundError:  # no git
        return None
    if commit.returncode != 0:
        return None
    return commit.stdout.strip() + ("+" if changed.stdout.strip() else "")


def _plain(cfg: object) -> object:
    """fairseq's configuration as plain containers."""
    if OmegaConf.is_config(cfg):
        cfg = OmegaConf.to_container(cfg)
    if isinstance(cfg, argparse.Namespace):
        cfg = vars(cfg)
    if isinstance(cfg, dict):
        return {name: _plain(value) for name, value in cfg.items()}
    return cfg if isinstance(cfg, (str, int, float, bool, list, type(None))) else str(cfg)


def _markdown(result: dict, sentences: list[dict[str, str]]) -> str:
    averaged = result["averaged"] or [result["checkpoint"]]
    translated = f"The mean of {len(averaged)} checkpoints" if averaged[1:] else averaged[0]
    best = min(result["validation"], key=lambda point: point["nll_loss"])
    rows = [
        ["parameters", f"{result['parameters']:,}"],
        ["updates, seed", f"{result['updates']:,}, {result['seed']}"],
        ["training", f"{result['seconds']['training'] / 60:.1f} min"],
        ["best validation nll", f"{best['nll_loss']:.3f} after {best['updates']:,} updates"],
        *([name, f"{score['value']:.2f}"] for name, score in result["scores"].items()),
    ]
    signatures = "\n".join(
        f"- {name}: `{score['signature']}`" for name, score in result["scores"].items()
    )
    return "\n\n".join(
        [
            f"# {result['recipe']}, {result['model']}",
            tabulate(
                rows, ["", f"{result['split']} set"], tablefmt="github", disable_numparse=True
            ),
            f"{translated}, beam {result['beam']}. Signatures of the scores:",
            signatures,
            f"{result['machine']}. Code: {result['git'] or 'no git checkout'}.",
            *(tabulate(list(each.items()), ["", ""], tablefmt="github") for each in sentences),
        ]
    )


def _write(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(text + "\n", encoding="utf-8")
    part.replace(path)


if __name__ == "__main__":
    main()
