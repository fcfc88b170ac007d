"""SQuAD 1.1's JSON files: paragraphs and questions as words, answers as spans of words."""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import regex

# Letters, digits and marks in a row, or one other sign: the simple tokeniser of DrQA's code.
WORD = regex.compile(r"[\p{L}\p{N}\p{M}]+|[^\p{Z}\p{C}]")


class Text:
    """A text, its words, and where each begins and ends."""

    def __init__(self, text: str) -> None:
        self.text, found = text, list(WORD.finditer(text))
        self.words = [word[0] for word in found]
        self.starts, self.ends = ([word.span()[i] for word in found] for i in (0, 1))

    def span(self, start: int, length: int) -> tuple[int, int]:
        """The first and the last word that a piece of the text touches, also in part."""
        return bisect_right(self.ends, start), bisect_left(self.starts, start + length) - 1

    def between(self, first: int, last: int) -> str:
        """The piece of the text from one word to another, both included."""
        return self.text[self.starts[first] : self.ends[last]]


@dataclass(frozen=True)
class Question:
    """A question about a paragraph; its answers are pieces of that."""

    id: str
    words: list[str]
    paragraph: Text
    answers: list[str]
    span: tuple[int, int]  # words of the paragraph that the first answer touches

    @classmethod
    def of(cls, paragraph: Text, asked: dict[str, Any]) -> Question:
        """Make one from its JSON; raises a ValueError if there is no answer to learn."""
        words, answers = Text(asked["question"]).words, asked["answers"]
        if not answers:
            raise ValueError(f"question {asked['id']} has no answer (as some of SQuAD 2.0's)")
        first, last = paragraph.span(answers[0]["answer_start"], len(answers[0]["text"]))
        if not (words and 0 <= first <= last < len(paragraph.words)):
            raise ValueError(f"question {asked['id']}: no word in it, or in its answer")
        return cls(asked["id"], words, paragraph, [x["text"] for x in answers], (first, last))


def read(file: Path) -> list[Question]:
    """All questions of a file; raises a ValueError that names the file."""
    found = []
    try:
        for article in json.loads(file.read_text(encoding="utf-8"))["data"]:
            for each in article["paragraphs"]:
                paragraph = Text(each["context"])
                found += [Question.of(paragraph, asked) for asked in each["qas"]]
        if not found:
            raise ValueError("it holds no question")
    except (LookupError, TypeError, ValueError) as error:
        why = f"there is no {error}" if isinstance(error, KeyError) else error
        raise ValueError(f"{file} is not of SQuAD 1.1's form: {why}") from None
    return found


def vocabulary(questions: Sequence[Question]) -> dict[str, int]:
    """A number for each word of questions and paragraphs, from 1 on, frequent words first."""
    texts = {one.paragraph: one.paragraph.words for one in questions}.values()
    counts = Counter(word for words in texts for word in words)
    counts.update(word for one in questions for word in one.words)
    ordered = sorted(counts, key=lambda word: (-counts[word], word))
    return {word: number for number, word in enumerate(ordered, start=1)}
