"""What a prepared corpus is, and how its text becomes what a model sees and back.

A folder that `data-prep/` makes holds what fairseq-preprocess writes, the subword model, and
`corpus.json`, the fields of `Corpus`. Preparation, scoring, deployment and `shapeshifter translate`
all go through this file. It needs neither fairseq nor torch.
"""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Callable
from contextlib import redirect_stderr
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

from .errors import ShapeshifterError

# The subword models, by fairseq's names: its option for the file, and the file in the folder.
SUBWORDS = {
    "subword_nmt": ("--bpe-codes", "bpecodes"),
    "sentencepiece": ("--sentencepiece-model", "sentencepiece.bpe.model"),
}
# Romanian without its diacritics, as Sennrich et al. (2016) write it for WMT'16: half of the
# Romanian web leaves them out, and a model that learns from both would guess. The s and t with a
# cedilla are a misspelling of those with a comma below.
PLAIN_ROMANIAN = str.maketrans("ȘșȚțŞşŢţĂăÂâÎî", "SsTtSsTtAaAaIi")


@dataclass(frozen=True)
class Moses:
    """Words with a space between them, as the Moses scripts make them (by sacremoses)."""

    normalise: bool = False
    """Give punctuation one spelling."""
    apostrophes: bool = False
    """Write ’ as '."""
    dash_splits: bool = False
    """Write long-term as long @-@ term."""
    lowercase: bool = False

    def words(self, line: str, language: str) -> str:
        """One line of plain text, tokenised by the rules of its language."""
        normaliser, tokeniser, invisible = _moses(language)
        if self.normalise:
            line = invisible.sub(" ", normaliser.normalize(line))
        if self.apostrophes:
            line = line.replace("’", "'")
        line = tokeniser.tokenize(line, aggressive_dash_splits=self.dash_splits, return_str=True)
        return line.lower() if self.lowercase else line


@cache
def _moses(language: str) -> tuple[Any, Any, Any]:
    import regex
    from sacremoses import MosesPunctNormalizer, MosesTokenizer

    return MosesPunctNormalizer(language), MosesTokenizer(language), regex.compile(r"\p{C}")


@dataclass(frozen=True)
class Corpus:
    """A prepared corpus; the fields are those of corpus.json."""

    source: str
    """The languages, as they end the names of the files."""
    target: str
    subwords: str
    """A key of `SUBWORDS`."""
    name: str = ""
    """Of the dataset."""
    tokenizer: str | None = None
    """"moses", or None where subwords were cut from plain text."""
    without_diacritics: bool = False
    """Romanian lost its diacritics."""
    normalised: bool = False
    """Punctuation of the training text was normalised, as `Moses.normalise`."""
    apostrophes: bool = False
    """So was each ’ of the test text, as `Moses.apostrophes`."""
    dash_splits: bool = False
    lowercased: bool = False
    sentences: dict[str, int] = field(default_factory=dict)
    """Their number in train, valid and test."""
    types: dict[str, int] = field(default_factory=dict)
    """Entries of each language's dictionary, with fairseq's four special ones."""

    def __post_init__(self) -> None:
        if self.subwords not in SUBWORDS:
            known = " or ".join(SUBWORDS)
            raise ShapeshifterError(f"'subwords' is '{self.subwords}', but must be {known}")

    @classmethod
    def read(cls, folder: Path) -> Corpus:
        """The corpus in a folder.

        A folder without corpus.json is taken for text without a tokeniser, if it has a subword
        model and a test set that give languages and subwords away.

        Raises:
            ShapeshifterError: if corpus.json cannot be used, or is missing and cannot be guessed.
        """
        path = folder / "corpus.json"
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
            # Early corpus.json files lack this field; nearly all of their text was normalised.
            facts = {"normalised": True, **facts}
            known = {one.name for one in dataclasses.fields(cls)}
            return cls(**{name: value for name, value in facts.items() if name in known})
        except FileNotFoundError:
            return cls._guess(folder)
        except (TypeError, ValueError) as error:
            raise ShapeshifterError(f"{path} does not describe a corpus: {error}") from error

    @classmethod
    def _guess(cls, folder: Path) -> Corpus:
        models = [name for name, (_, file) in SUBWORDS.items() if (folder / file).is_file()]
        pairs = [path.name.split(".")[1] for path in folder.glob("test.*-*.*.idx")]
        if not models or not pairs:
            raise ShapeshifterError(
                f"there is no {folder / 'corpus.json'}, and no subword model or test set beside it;"
                " a script of data-prep/ makes them"
            )
        source, _, target = pairs[0].partition("-")
        return cls(source, target, models[0])

    def write(self, folder: Path) -> None:
        """Write corpus.json into a folder."""
        text = json.dumps(dataclasses.asdict(self), indent=2)
        (folder / "corpus.json").write_text(f"{text}\n", encoding="utf-8")

    @property
    def subword_file(self) -> str:
        """Name of the subword model in the folder."""
        return SUBWORDS[self.subwords][1]

    def dictionaries(self, folder: Path) -> tuple[int, int, bool]:
        """Types of the source and the target dictionary, and whether they are one.

        Raises:
            ShapeshifterError: if one is missing.
        """
        texts = []
        for side in (self.source, self.target):
            try:
                texts.append((folder / f"dict.{side}.txt").read_bytes())
            except FileNotFoundError as error:
                raise ShapeshifterError(
                    f"there is no {error.filename}: it is what fairseq-preprocess makes; a script "
                    "of data-prep/ calls it"
                ) from None
        # With <s>, <pad>, </s> and <unk>.
        source, target = (len(text.removesuffix(b"\n").split(b"\n")) + 4 for text in texts)
        return source, target, texts[0] == texts[1]

    def fairseq_options(self, folder: Path) -> list[str]:
        """Options of fairseq-generate to translate this corpus and print plain text in lines D-N.

        Lines H-N then hold words as the tokeniser made them, where there was one.
        """
        options = ["--source-lang", self.source, "--target-lang", self.target]
        options += ["--bpe", self.subwords, SUBWORDS[self.subwords][0]]
        options.append(str(folder / self.subword_file))
        if self.tokenizer:
            options += ["--tokenizer", self.tokenizer, "--post-process", self.subwords]
        return options


def one_space(line: str) -> str:
    """A line with one plain space between its words, whatever kind of white space was there."""
    return " ".join(line.split())


def spell(line: str, language: str, without_diacritics: bool) -> str:
    """A line with the letters that a corpus has: what is done before anything else."""
    return line.translate(PLAIN_ROMANIAN) if without_diacritics and language == "ro" else line


class Text:
    """The way of a corpus's text: plain, words, subwords, and back.

    Args:
        corpus: how its training text was prepared.
        folder: where the subword model is.
    """

    def __init__(self, corpus: Corpus, folder: Path) -> None:
        self.corpus = corpus
        self.moses = Moses(
            corpus.normalised, corpus.apostrophes, corpus.dash_splits, corpus.lowercased
        )
        self.cut, self.join = load_subwords(corpus.subwords, folder / corpus.subword_file)
        if corpus.tokenizer:
            from sacremoses import MosesDetokenizer

            self.detokenise = MosesDetokenizer(corpus.target).detokenize

    def words(self, line: str) -> str:
        """A plain source line as the training text was before it was cut into subwords."""
        line = one_space(line)
        if self.corpus.tokenizer:
            line = spell(line, self.corpus.source, self.corpus.without_diacritics)
            return self.moses.words(line, self.corpus.source)
        return line.lower() if self.corpus.lowercased else line

    def plain(self, pieces: list[str]) -> str:
        """Plain text of a target line's subwords."""
        line = self.join(pieces)
        return self.detokenise(line.split()) if self.corpus.tokenizer else line


def load_subwords(
    kind: str, file: Path
) -> tuple[Callable[[str], list[str]], Callable[[list[str]], str]]:
    """What cuts a line of words into subwords, and what joins subwords again."""
    if kind == "sentencepiece":
        from sentencepiece import SentencePieceProcessor

        model = SentencePieceProcessor(model_file=str(file))
        return partial(model.encode, out_type=str), model.decode
    from subword_nmt.apply_bpe import BPE

    said = io.StringIO()  # subword-nmt prints what is wrong, and ends the program
    try:
        with file.open(encoding="utf-8", newline="\n") as codes, redirect_stderr(said):
            bpe = BPE(codes)
    except SystemExit:
        line = said.getvalue().partition("\n")[0].removeprefix("Error: ")
        raise ShapeshifterError(f"{file} is damaged: {line}") from None
    return (
        lambda line: bpe.process_line(line).split(),
        lambda pieces: f"{' '.join(pieces)} ".replace("@@ ", "").strip(),
    )
