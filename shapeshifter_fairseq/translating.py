"""Translate with CTranslate2: what `shapeshifter translate` and the recipe's table run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import ctranslate2

from .corpus import Corpus, Text
from .errors import ShapeshifterError

BATCH = 256  # lines read at a time; they are sorted by length and translated together
MAX_LENGTH = 200  # of a translation in subwords, as fairseq has it


class Translator:
    """A deployed model: plain text in, plain text out.

    Args:
        folder: what `recipes/deploy.sh` made: the model, corpus.json, the subword model.
        device: cpu, cuda or auto.
        threads: for each translation; 0 is CTranslate2's choice.

    Raises:
        ShapeshifterError: if the folder is none of those.
    """

    def __init__(self, folder: Path, device: str = "cpu", threads: int = 0) -> None:
        if not (folder / "corpus.json").is_file() or not (folder / "model.bin").is_file():
            raise ShapeshifterError(f"{folder} is not a folder that recipes/deploy.sh made")
        self.text = Text(Corpus.read(folder), folder)
        self.model = ctranslate2.Translator(str(folder), device=device, intra_threads=threads)

    def translate(self, lines: Iterable[str], beam: int = 5) -> Iterator[str]:
        """The translation of each plain line."""
        pieces = (self.text.cut(self.text.words(line)) for line in lines)
        return (self.text.plain(found) for found in self.translate_pieces(pieces, beam))

    def translate_pieces(self, lines: Iterable[list[str]], beam: int) -> Iterator[list[str]]:
        """Subwords of the best translation of each line of subwords."""
        lines = iter(lines)
        while batch := list(islice(lines, BATCH)):
            for result in self.model.translate_batch(
                batch,
                beam_size=beam,
                max_decoding_length=MAX_LENGTH,
                max_batch_size=4096,
                batch_type="tokens",
            ):
                yield result.hypotheses[0]
