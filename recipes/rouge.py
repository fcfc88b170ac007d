"""ROUGE-1, -2 and -L of a text, line by line, in the JSON that sacreBLEU prints its scores in.

    python -m recipes.rouge data-bin/gigaword.article-headline/raw/test.headline hypotheses.txt

The scores are F1, the mean over the lines. Words are split at spaces: rouge-score's own tokeniser
keeps letters and digits only, so it would drop the # that stands for a digit in Gigaword.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path
from statistics import fmean

from rouge_score.rouge_scorer import RougeScorer

from .files import lines_of

NAMES = {"rouge1": "ROUGE-1", "rouge2": "ROUGE-2", "rougeL": "ROUGE-L"}


class Words:
    """A tokeniser, as rouge-score wants one, for text that is tokenised."""

    def tokenize(self, text: str) -> list[str]:
        return text.split()


def rouge(references: list[str], hypotheses: list[str]) -> list[dict]:
    """Name, score (0 to 100) and signature of each, the mean over all lines.

    Raises:
        ValueError: if there are not as many references as hypotheses, or none.
    """
    if len(references) != len(hypotheses) or not references:
        raise ValueError(f"{len(hypotheses)} hypotheses for {len(references)} references")
    scorer = RougeScorer(list(NAMES), tokenizer=Words())
    lines = [scorer.score(*pair) for pair in zip(references, hypotheses)]
    signature = f"nrefs:1|measure:f1|case:mixed|tok:none|stem:no|version:{version('rouge-score')}"
    return [
        {
            "name": name,
            "score": round(100 * fmean(line[key].fmeasure for line in lines), 2),
            "signature": signature,
        }
        for key, name in NAMES.items()
    ]


if __name__ == "__main__":
    texts = [lines_of(Path(name)) for name in sys.argv[1:3]]
    try:
        print(json.dumps(rouge(*texts), indent=1))
    except ValueError as error:
        sys.exit(f"rouge: error: {sys.argv[2]}: {error}")
