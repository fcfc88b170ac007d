"""One table about several trained models, with a few of their translations side by side.

    python recipes/report.py --data data-bin/localisation.de-en --out runs/quickstart/report \\
        Transformer=runs/quickstart/dense Shapeshifter=runs/quickstart/shapeshifter

Each folder holds checkpoint_best.pt and what recipes/evaluate.sh made. Writes OUT.md and OUT.json.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
from pathlib import Path

import torch
from corpus import read_corpus
from fairseq.checkpoint_utils import load_checkpoint_to_cpu, load_model_ensemble_and_task
from tabulate import tabulate

import shapeshifter_fairseq.models  # noqa: F401  (registers the architectures)

EXAMPLES = 5
WORDS = 9  # of an example's source: neither a label nor a paragraph


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with the raw test set")
    parser.add_argument("--out", type=Path, required=True, help="path without .md and .json")
    parser.add_argument("models", nargs="+", metavar="NAME=DIR", help="the first is the measure")
    args = parser.parse_args()
    logging.disable(logging.INFO)  # what fairseq says about loading is nobody's question here

    folders = {name: Path(path) for name, _, path in (m.partition("=") for m in args.models)}
    report = {
        "machine": machine(),
        "models": {name: _model(folder, args.data) for name, folder in folders.items()},
        "examples": examples(args.data, folders),
    }
    text = _markdown(report)
    written = {".json": json.dumps(report, indent=2, ensure_ascii=False), ".md": text}
    for suffix, content in written.items():
        part = args.out.with_suffix(suffix + ".part")
        part.write_text(content + "\n", encoding="utf-8")
        part.replace(args.out.with_suffix(suffix))
    print("\n" + text)


def machine() -> str:
    """The device and what runs on it, in one line."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return (
        f"{os.cpu_count()} CPU cores ({platform.machine()}), {device}, "
        f"Python {platform.python_version()}, torch {torch.__version__}"
    )


def _model(folder: Path, data: Path) -> dict:
    checkpoint = folder / "checkpoint_best.pt"
    models, cfg, _ = load_model_ensemble_and_task(
        [str(checkpoint)], arg_overrides={"data": str(data)}
    )
    last = load_checkpoint_to_cpu(str(folder / "checkpoint_last.pt"))
    scores = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    return {
        "parameters": sum(parameter.numel() for parameter in models[0].parameters()),
        "checkpoint_bytes": checkpoint.stat().st_size,
        "training_seconds": round(last["extra_state"]["previous_training_time"]),
        "updates": last["optimizer_history"][-1]["num_updates"],
        "options": {name: str(value) for name, value in sorted(vars(cfg["model"]).items())},
        "scores": {score["name"]: score["score"] for score in scores},
        "signatures": {score["name"]: score["signature"] for score in scores},
    }


def examples(data: Path, folders: dict[str, Path], split: str = "test") -> list[dict[str, str]]:
    """A few sentences of middle length, spread over a set, with what models made of them.

    Each folder holds the hypotheses.txt of recipes/evaluate.sh for that set.
    """
    corpus = read_corpus(data)
    source, target = (
        _lines(data / "raw" / f"{split}.{corpus[side]}") for side in ("source", "target")
    )
    hypotheses = {name: _lines(folder / "hypotheses.txt") for name, folder in folders.items()}
    by_length = sorted(range(len(source)), key=lambda i: abs(len(source[i].split()) - WORDS))
    middling = sorted(by_length[: max(EXAMPLES, len(source) // 10)])
    chosen = middling[:: max(1, len(middling) // EXAMPLES)][:EXAMPLES]
    return [
        {"source": source[i], "reference": target[i]}
        | {name: lines[i] for name, lines in hypotheses.items()}
        for i in chosen
    ]


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def _markdown(report: dict) -> str:
    models = report["models"]
    first = next(iter(models.values()))
    rows = [
        [
            name,
            f"{model['parameters']:,} ({100 * model['parameters'] / first['parameters']:.1f}%)",
            f"{model['checkpoint_bytes'] / 1e6:.1f} MB",
            f"{model['training_seconds'] / 60:.1f} min",
            f"{model['scores']['BLEU']:.1f}",
            f"{model['scores']['chrF2']:.1f}",
        ]
        for name, model in models.items()
    ]
    head = ["model", "parameters", "checkpoint on disk", "training time", "BLEU", "chrF"]
    examples = [list(example.items()) for example in report["examples"]]
    signatures = [f"{name}: {text}" for name, text in first["signatures"].items()]
    return "\n\n".join(
        [
            tabulate(rows, head, tablefmt="github", disable_numparse=True),
            f"{first['updates']} updates each. {report['machine']}. "
            "A checkpoint includes Adam's state.",
            *(f"sacreBLEU {signature}" for signature in signatures),
            *(tabulate(example, ["", ""], tablefmt="github") for example in examples),
        ]
    )


if __name__ == "__main__":
    main()
