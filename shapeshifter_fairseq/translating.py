"""Translate with CTranslate2: what `shapeshifter translate` and the recipe's table run.

If a line and its translation fit, the line is translated as a whole, as in fairseq. If not, it is
halved, at the end of a sentence or else between words, and the translations are joined again.
Nothing is lost, with one exception: the translation of a short part may not end, because the model
has hardly learned. Then it is cut, and the log says so.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import ctranslate2

from .corpus import Corpus, Text
from .errors import ShapeshifterError

BATCH = 256  # lines at a time; they are sorted by length and translated together
CHUNK = 1 << 16  # bytes of input that are read at a time, at most
MAX_LENGTH = 200  # of a translation in subwords, as fairseq has it; of a line as well
ENDLESS = 4  # halving does not help if a translation is this many times longer than its line
BYTE_ORDER_MARK = "\ufeff"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Translation:
    """The best translation of a line."""

    pieces: list[str]
    """Its subwords."""
    parts: int
    """In how many parts the line was translated."""
    cut: bool
    """One of them reached the longest length and lost its end."""

    def __add__(self, other: Translation) -> Translation:
        pieces, parts = self.pieces + other.pieces, self.parts + other.parts
        return Translation(pieces, parts, self.cut or other.cut)


class Translator:
    """A deployed model: plain text in, plain text out.

    Args:
        folder: what `recipes/deploy.sh` or `shapeshifter unpack` made: the model, corpus.json, the
            subword model.
        device: cpu, cuda or auto.
        threads: for each translation; 0 is CTranslate2's choice.
        max_length: most subwords that are translated at once, and most subwords of their
            translation (default `MAX_LENGTH`); less if the model has fewer positions.

    Raises:
        ShapeshifterError: if the folder holds no such model, or the device cannot be used.
    """

    def __init__(
        self,
        folder: Path,
        device: str = "cpu",
        threads: int = 0,
        max_length: int | None = None,
    ) -> None:
        if not (folder / "corpus.json").is_file() or not (folder / "model.bin").is_file():
            way_out = "recipes/deploy.sh or `shapeshifter unpack` makes one"
            raise ShapeshifterError(f"{folder} holds no model to translate with; {way_out}")
        _need("threads", threads, 0)
        most = MAX_LENGTH if max_length is None else max_length
        _need("max-length", most, 1)
        corpus = Corpus.read(folder)
        try:
            self.text = Text(corpus, folder)
            self.model = ctranslate2.Translator(str(folder), device=device, intra_threads=threads)
            self.longest_source, self.longest_target = self._longest(most)
        except ShapeshifterError:
            raise
        except (RuntimeError, ValueError, OSError) as error:
            raise ShapeshifterError(f"{folder}: {error}") from error

    def translate(self, lines: Iterable[str], beam: int = 5, first: int = 1) -> Iterator[str]:
        """The translation of each plain line.

        Args:
            lines: without their ends; they are taken 256 at a time.
            beam: candidates of the search.
            first: the number of the first line, for the log.

        Raises:
            ShapeshifterError: if CTranslate2 cannot translate.
        """
        pieces = (
            self.text.cut(self.text.words(line.removeprefix(BYTE_ORDER_MARK))) for line in lines
        )
        for number, found in enumerate(self.translate_pieces(pieces, beam), first):
            if found.cut:
                most = self.longest_target
                log.warning(
                    "line %d: a part of its translation is cut at %d subwords", number, most
                )
            yield self.text.plain(found.pieces)

    def translate_pieces(self, lines: Iterable[list[str]], beam: int) -> Iterator[Translation]:
        """The best translation of each line of subwords."""
        _need("beam", beam, 1)
        lines = iter(lines)
        while batch := list(islice(lines, BATCH)):
            try:
                yield from self._translate(batch, beam)
            except (RuntimeError, ValueError) as error:
                raise ShapeshifterError(f"CTranslate2 cannot translate: {error}") from error

    def _translate(self, lines: list[list[str]], beam: int) -> list[Translation]:
        """Translate lines as a whole where that fits, else by halves."""
        fits = [len(line) <= self.longest_source for line in lines]
        results = self.model.translate_batch(
            [line for line, whole in zip(lines, fits) if whole],
            beam_size=beam,
            max_input_length=0,  # any
            max_decoding_length=self.longest_target + 1,  # with the end of the sentence
            return_end_token=True,
            max_batch_size=4096,
            batch_type="tokens",
        )
        results = iter(results)
        found = [_read(next(results)) if whole else None for whole in fits]
        again = [
            place
            for place, (line, one) in enumerate(zip(lines, found))
            if one is None or (one.cut and len(line) > max(1, self.longest_target // ENDLESS))
        ]
        if again:
            subwords = self.text.corpus.subwords
            parts = [half for place in again for half in halves(lines[place], subwords)]
            translated = iter(self._translate(parts, beam))
            for place in again:
                found[place] = next(translated) + next(translated)
        return found

    def _longest(self, most: int) -> tuple[int, int]:
        """Most subwords of a line and of its translation: `most`, or the positions of the model."""
        found = []
        for source, target in ((most, 1), (1, most)):
            try:
                self.model.score_batch([["x"] * source], [["x"] * target], max_input_length=0)
                found.append(most)
            except RuntimeError as error:
                # Only this error says how many positions the model has.
                if not (positions := re.search(r"positions >= (\d+)", str(error))):
                    raise
                found.append(int(positions[1]) - 1)  # one is for the end of the sentence
        return found[0], found[1]


def _read(result: ctranslate2.TranslationResult) -> Translation:
    best = result.hypotheses[0]
    ended = not best or best[-1] == "</s>"  # an empty line has no translation
    return Translation(best[:-1], 1, cut=not ended)


def halves(line: list[str], subwords: str) -> tuple[list[str], list[str]]:
    """Two parts of a line of subwords, neither of them empty.

    The line is split as near to its middle as possible: after a sentence, if one ends in the middle
    half of the line, or else between two words, or else between any two subwords.

    Args:
        line: two subwords or more.
        subwords: of a kind in `corpus.SUBWORDS`.
    """
    places = range(1, len(line))
    if subwords == "sentencepiece":
        words = [at for at in places if line[at].startswith("▁")]
    else:
        words = [at for at in places if not line[at - 1].endswith("@@")]
    sentences = [at for at in words if line[at - 1].endswith((".", "!", "?", "…"))]
    # Chinese and Japanese have no space after these.
    sentences += [at for at in places if line[at - 1].endswith(("。", "！", "？"))]
    sentences = [at for at in sentences if len(line) <= 4 * at <= 3 * len(line)]
    middle = min(sentences or words or places, key=lambda at: abs(2 * at - len(line)))
    return line[:middle], line[middle:]


def read_lines(stream: BinaryIO) -> Iterator[list[str]]:
    """The lines of a stream without their ends, as many at a time as have come.

    Only a newline ends a line; carriage returns before it are removed.

    Raises:
        ShapeshifterError: if a line is not UTF-8; the lines before it are returned first.
    """
    number, rest = 1, b""
    # At the end of the stream, a last line without a newline gets one.
    while chunk := stream.read1(CHUNK) or b"\n" * bool(rest):
        *lines, rest = (rest + chunk).split(b"\n")
        texts = []
        for line in lines:
            try:
                texts.append(line.rstrip(b"\r").decode("utf-8"))
            except UnicodeDecodeError as error:
                yield texts
                place = f"line {number + len(texts)}: byte {line[error.start]:#04x}"
                raise ShapeshifterError(f"{place} is not UTF-8; convert it with iconv") from None
        yield texts
        number += len(lines)


def _need(option: str, given: int, least: int, most: int = 10_000) -> None:
    if not least <= given <= most:
        raise ShapeshifterError(f"--{option} {given}: give a number from {least} to {most}")
