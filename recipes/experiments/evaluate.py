"""Translate a test set with a checkpoint and score it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from shapeshifter_fairseq.corpus import Corpus

from ..console import Failed, Parser, is_dry_run
from ..engine import Engine
from ..evaluation import Evaluation

ABOUT = """\
Translate the test set of DATA with beam 5 and score it with sacreBLEU: the detokenised text against
DATA/raw (BLEU, chrF), and, if there is a DATA/tokenised, the tokenised text against that, as papers
do that report tokenised BLEU. A script of data-prep/ makes DATA. The files in OUT_DIR:

  generate.log            the output of fairseq-generate
  hypotheses.txt          one translation a line, in the order of the test set
  scores.json             the scores with sacreBLEU's signatures (or ROUGE's)
  hypotheses.tokenised.txt, scores.tokenised.json
                          the same of the tokenised text
  evaluation.json         all scores, and how they were made

A file is made again only if the checkpoint, the set or the options have changed."""

EPILOG = """\
environment:
  SPLIT             the set to score: test or valid (default test)
  SCORES            bleu (default), or rouge: ROUGE-1, -2 and -L of the plain text, nothing else
  SPLIT_COMPOUNDS   if not empty: the tokenised text is scored with compounds in parts, a-b as
                    a ##AT##-##AT## b, as is usual for WMT'14 En-De
  DEVICE            cuda or cpu (default: cuda where torch sees a GPU)
  DRY_RUN           if not empty: print the commands and run nothing
  PYTHON            the Python that has fairseq (default: .venv's, else python3)

example:
  bash recipes/evaluate.sh data-bin/my-corpus runs/my-model/checkpoint_best.pt runs/my-model"""


def main(arguments: Sequence[str]) -> None:
    parser = Parser("DATA CHECKPOINT OUT_DIR [options of fairseq-generate]", ABOUT, EPILOG)
    for name in ("DATA", "CHECKPOINT", "OUT_DIR"):
        parser.add_argument(name.lower(), type=Path, metavar=name)
    args = parser.parse_args(arguments[:3])
    said = os.environ.get
    evaluation = Evaluation(
        said("SPLIT") or "test",
        said("SCORES") or "bleu",
        bool(said("SPLIT_COMPOUNDS")),
        arguments[3:],
        cpu=said("DEVICE") == "cpu",
    )
    if evaluation.scores not in ("bleu", "rouge"):
        raise Failed(f"SCORES={evaluation.scores}: choose bleu or rouge")
    engine = Engine(args.out_dir, dry=is_dry_run())
    data = args.data
    corpus = Corpus.read(data) if engine.dry else evaluation.need(data, args.checkpoint)
    with engine.alone():
        evaluation.run(engine, data, corpus, args.checkpoint)
