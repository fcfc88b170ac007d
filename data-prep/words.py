"""From plain text to words with a space between them, as the Moses scripts do (with sacremoses).

Training text goes through it in tokenise.py, and text for a trained model in recipes/translate.py.
"""

from __future__ import annotations

import regex
from sacremoses import MosesPunctNormalizer, MosesTokenizer

INVISIBLE = regex.compile(r"\p{C}")


class Words:
    """Call it with a line of its language.

    `normalise` gives punctuation one spelling, `apostrophes` writes ’ as ', and `dash_splits`
    writes long-term as long @-@ term.
    """

    def __init__(
        self,
        language: str,
        normalise: bool,
        apostrophes: bool,
        dash_splits: bool,
        lowercase: bool,
    ) -> None:
        self.normaliser, self.tokeniser = MosesPunctNormalizer(language), MosesTokenizer(language)
        self.normalise, self.apostrophes = normalise, apostrophes
        self.dash_splits, self.lowercase = dash_splits, lowercase

    def __call__(self, line: str) -> str:
        if self.normalise:
            line = INVISIBLE.sub(" ", self.normaliser.normalize(line))
        if self.apostrophes:
            line = line.replace("’", "'")
        line = self.tokeniser.tokenize(
            line, aggressive_dash_splits=self.dash_splits, return_str=True
        )
        return line.lower() if self.lowercase else line
