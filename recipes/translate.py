"""Translate standard input, plain text line by line, with a model that recipes/deploy.sh made.

    echo 'Datei speichern' | python recipes/translate.py runs/my-model/deployed/int8

Needs CTranslate2 and what the text was cut into subwords with; no fairseq and no torch. Where there
was a tokeniser it also needs words.py and romanian.py, from ../data-prep or beside this file. The
folder holds the model, corpus.json and the subword model.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import ctranslate2

BATCH = 256  # lines read at a time; they are sorted by length and translated together
MAX_LENGTH = 200  # of a translation in subwords, as fairseq has it
DATA_PREP = Path(__file__).resolve().parent.parent / "data-prep"


class Text:
    """From plain text to the subwords of a corpus and back, as its corpus.json says."""

    def __init__(self, folder: Path) -> None:
        corpus = json.loads((folder / "corpus.json").read_text(encoding="utf-8"))
        self.lowercased = corpus["lowercased"]
        self.moses = corpus["tokenizer"] == "moses"
        if self.moses:
            sys.path.append(str(DATA_PREP))
            from romanian import without_diacritics
            from sacremoses import MosesDetokenizer
            from words import Words

            # .get: the first corpus.json had none of these, and nearly all text was normalised.
            plain = corpus["source"] == "ro" and corpus.get("without_diacritics", False)
            self.spell = without_diacritics if plain else str
            self.tokenise = Words(
                corpus["source"],
                normalise=corpus.get("normalised", True),
                apostrophes=corpus.get("apostrophes", False),
                dash_splits=corpus.get("dash_splits", False),
                lowercase=self.lowercased,
            )
            self.detokenizer = MosesDetokenizer(corpus["target"])
        if corpus["subwords"] == "sentencepiece":
            from sentencepiece import SentencePieceProcessor

            model = SentencePieceProcessor(model_file=str(folder / "sentencepiece.bpe.model"))
            self.cut = lambda line: model.encode(line, out_type=str)
            self.join = model.decode
        else:
            from subword_nmt.apply_bpe import BPE

            with open(folder / "bpecodes", encoding="utf-8") as codes:
                bpe = BPE(codes)
            self.cut = lambda line: bpe.process_line(line).split()
            self.join = lambda pieces: f"{' '.join(pieces)} ".replace("@@ ", "").strip()

    def words(self, line: str) -> str:
        """A line as the training text was before it was cut into subwords."""
        if self.moses:
            return self.tokenise(self.spell(line))
        return line.lower() if self.lowercased else line

    def plain(self, pieces: list[str]) -> str:
        line = self.join(pieces)
        return self.detokenizer.detokenize(line.split()) if self.moses else line


def translate(
    model: ctranslate2.Translator, lines: Iterable[list[str]], beam: int
) -> Iterator[list[str]]:
    """Subwords of the best translation of each line of subwords."""
    lines = iter(lines)
    while batch := list(islice(lines, BATCH)):
        for result in model.translate_batch(
            batch,
            beam_size=beam,
            max_decoding_length=MAX_LENGTH,
            max_batch_size=4096,
            batch_type="tokens",
        ):
            yield result.hypotheses[0]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, help="folder that recipes/deploy.sh made")
    parser.add_argument("--beam", type=int, default=5, help="default 5; 1 is the fastest")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda", "auto"))
    parser.add_argument("--threads", type=int, default=0, help="default: CTranslate2's choice")
    args = parser.parse_args()
    if not (args.model / "corpus.json").is_file():
        sys.exit(f"translate.py: error: {args.model} is no folder that recipes/deploy.sh made")
    text = Text(args.model)
    model = ctranslate2.Translator(str(args.model), device=args.device, intra_threads=args.threads)
    lines = (text.cut(text.words(line.rstrip("\n"))) for line in sys.stdin)
    for pieces in translate(model, lines, args.beam):
        print(text.plain(pieces), flush=True)


if __name__ == "__main__":
    main()
