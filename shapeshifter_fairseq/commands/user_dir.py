"""`shapeshifter user-dir`: where this project is, for fairseq."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import Commands, add_command


def add_to(commands: Commands, name: str) -> argparse.ArgumentParser:
    return add_command(
        commands,
        name,
        run,
        help="print the folder to give to fairseq's --user-dir",
        description="Print the folder to give to fairseq's --user-dir.",
    )


def add_options(parser: argparse.ArgumentParser) -> None:
    """This command has no options."""


def run(args: argparse.Namespace) -> None:
    print(Path(__file__).resolve().parents[1])
