"""The results of a training: result.json, report.md, and predictions.json for SQuAD's script."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

from tabulate import tabulate
from torch import nn

from shapeshifter_fairseq.runs import table

from ..files import write
from ..results import EXAMPLES, made_with
from .questions import Question

RECIPE = "word2ket-squad"


def report(
    args: argparse.Namespace,
    model: nn.Module,
    epochs: Sequence[dict[str, float]],
    asked: Sequence[Question],
    answers: Sequence[str],
) -> None:
    """Write all three into the folder of the training; `shapeshifter compare` reads the first."""
    last, rule = epochs[-1], "as SQuAD 1.1's own script, the best of a question's answers"
    sizes = {
        name: sum(each.numel() for each in part.parameters())
        for name, part in {"parameters": model, "embeddings": model.embed}.items()
    }
    result = {"recipe": RECIPE, "model": args.model, "seed": args.seed, **sizes}
    result |= {"updates": last["updates"], "seconds": {"training": last["seconds"]}}
    result |= {"last_training_nll": last["train_nll_loss"], "validation": epochs, "split": "dev"}
    scores = {name: {"value": last[name], "signature": rule} for name in ("F1", "exact match")}
    result |= {"scores": scores, **made_with()}
    step = -(-len(asked) // EXAMPLES)
    rows = [[" ".join(x.words), x.answers[0], y] for x, y in zip(asked[::step], answers[::step])]
    text = [
        f"# {RECIPE}",
        table({args.model: [result]}),
        f"{args.dev.name} after {len(epochs)} epochs. The embeddings hold {sizes['embeddings']:,} "
        f"numbers. {result['machine']}. Code: {result['git'] or 'no git checkout'}.",
        tabulate(rows, ["question", "answer", "given"], tablefmt="github"),
    ]
    predictions = {one.id: answer for one, answer in zip(asked, answers)}
    write(args.run / "predictions.json", json.dumps(predictions, ensure_ascii=False))
    write(args.run / "report.md", "\n\n".join(text))
    write(args.run / "result.json", json.dumps(result, indent=2))
