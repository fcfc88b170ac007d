"""`shapeshifter translate`: standard input through a deployed model."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..errors import ShapeshifterError
from . import Commands, add_command

EXTRAS = "deploy"
EPILOG = """\
examples:
  bash recipes/deploy.sh runs/my-model/averaged.pt                       # once, where fairseq is
  echo 'Datei speichern' | shapeshifter translate runs/my-model/deployed/int8
  shapeshifter translate int8 --beam 1 <input.txt >output.txt

MODEL is a folder for CTranslate2 with its corpus.json and subword model. Text is normalised, cut
into subwords and joined again as it was for training. Each line is translated as soon as it comes,
so a program can send a line and wait for the answer.

A line is translated in parts if it or its translation has more than N subwords (--max-length). It
is split at the end of a sentence or else between words. If a translation is also four times longer
than its line, it is cut off, and standard error names the line.

Needs CTranslate2 (the extra "deploy") and, depending on the corpus, sentencepiece, or subword-nmt
with sacremoses. Needs neither fairseq nor torch.
"""


def add_to(commands: Commands, name: str) -> argparse.ArgumentParser:
    return add_command(
        commands,
        name,
        run,
        help="translate standard input with an unpacked or deployed model",
        description="Translate standard input, plain text line by line, with a model that "
        "`shapeshifter unpack` or recipes/deploy.sh made.",
        epilog=EPILOG,
    )


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, metavar="MODEL", help="folder of the model")
    parser.add_argument("--beam", type=int, default=5, help="default 5; 1 is the fastest")
    parser.add_argument(
        "--max-length",
        type=int,
        metavar="N",
        help="most subwords that are translated at once, and most subwords of their translation "
        "(default 200, or less if the model has fewer positions)",
    )
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda", "auto"))
    parser.add_argument("--threads", type=int, default=0, help="default: CTranslate2's choice")


def run(args: argparse.Namespace) -> None:
    from ..translating import Translator, read_lines

    for name, stream in (("input", sys.stdin), ("output", sys.stdout)):
        if stream is None:
            raise ShapeshifterError(f"standard {name} is closed")
    translator = Translator(args.model, args.device, args.threads, args.max_length)
    sys.stdout.reconfigure(encoding="utf-8")
    first = 1
    for lines in read_lines(sys.stdin.buffer):
        for translation in translator.translate(lines, args.beam, first):
            print(translation, flush=True)
        first += len(lines)
