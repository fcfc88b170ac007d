"""F1 and exact match by the rules of SQuAD 1.1's own script.

No library fits: evaluate fetches this metric from the network, and torchmetrics (1.9) has the rules
of SQuAD 2.0, in which two answers that are only an article have an F1 of 1, not 0.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from statistics import fmean

_PUNCTUATION = str.maketrans("", "", string.punctuation)


def words(answer: str) -> list[str]:
    """The words that count: in lower case, without ASCII's punctuation and English articles."""
    return re.sub(r"\b(a|an|the)\b", " ", answer.lower().translate(_PUNCTUATION)).split()


def f1(answer: list[str], reference: list[str]) -> float:
    """The harmonic mean of precision and recall, 0 to 1."""
    common = (Counter(answer) & Counter(reference)).total()
    return 2 * common / (len(answer) + len(reference)) if common else 0


def score(answers: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
    """The mean over all questions, in percent; the best of a question's references counts."""
    pairs = [(words(x), [*map(words, y)]) for x, y in zip(answers, references, strict=True)]
    rules = {"F1": f1, "exact match": lambda x, y: x == y}
    return {
        name: 100 * fmean(max(rule(x, each) for each in y) for x, y in pairs)
        for name, rule in rules.items()
    }
