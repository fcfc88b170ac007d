"""`shapeshifter unpack`: from the one small file to what `shapeshifter translate` runs."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from . import Commands, add_command

EXTRAS = "deploy"
EPILOG = """\
example:
  shapeshifter unpack my-model.pack my-model
  echo 'Datei speichern' | shapeshifter translate my-model

Needs torch, safetensors and CTranslate2 (the extra "deploy"), but no fairseq.
"""


def add_to(commands: Commands, name: str) -> argparse.ArgumentParser:
    return add_command(
        commands,
        name,
        run,
        help="turn a packed model into a folder for `shapeshifter translate`",
        description="Multiply out a packed model's factors, and write a folder for CTranslate2.",
        epilog=EPILOG,
    )


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="from `shapeshifter pack`")
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder to make")
    parser.add_argument(
        "--quantization",
        default="int8",
        choices=("int8", "int8_float16", "float16", "bfloat16", "float32"),
        help="precision in which CTranslate2 translates, whatever that of the file (default int8)",
    )


def run(args: argparse.Namespace) -> None:
    from ..packing import unpack

    unpack(args.file, args.folder, args.quantization)
    print(f"{args.folder}: for `shapeshifter translate {shlex.quote(str(args.folder))}`")
