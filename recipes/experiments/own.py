"""A corpus of your own, from training to report."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from shapeshifter_fairseq.corpus import Corpus

from ..console import Failed, Parser, folder
from ..experiment import OURS, Experiment

ABOUT = """\
Train any architecture on any prepared corpus, with the recipe of the papers' experiments.
data-prep/prepare-own.sh, or another script of data-prep/, makes DATA."""

ARCH = f"{OURS}_iwslt"


class Own(Experiment):
    """Of a corpus that a person names."""

    needs_data = True

    def add_models(self, parser: Parser) -> None:
        parser.add_argument(
            "--arch",
            default=ARCH,
            metavar="ARCH",
            help=f"name of the architecture in fairseq-train (default {ARCH})",
        )
        super().add_models(parser)

    def model(self, args: argparse.Namespace, data: Path, more: list[str]) -> tuple[str, list[str]]:
        """As of every experiment; another kind of architecture is a model by its own name."""
        if args.model == "shapeshifter" and not self.arch.startswith(OURS):
            return self.arch, more
        return super().model(args, data, more)


def main(arguments: Sequence[str]) -> None:
    before = arguments[: arguments.index("--")] if "--" in arguments else arguments
    if not before or {"-h", "--help"} & set(before):
        _experiment("own", Corpus("SRC", "TGT", "sentencepiece"), ARCH).main(["--help"])
    first = Parser("--data DATA [options]", ABOUT, rest="fairseq-train")
    first.add_argument("--data", type=folder, required=True)
    first.add_argument("--arch", default=ARCH)
    own, _ = first.parse_known_args(arguments)
    if not own.data.is_dir():
        raise Failed(f"there is no folder {own.data}; bash data-prep/prepare-own.sh makes one")
    corpus = Corpus.read(own.data)
    name = own.data.resolve().name.removesuffix(f".{corpus.source}-{corpus.target}")
    _experiment(name, corpus, own.arch).main(arguments)


def _experiment(name: str, corpus: Corpus, arch: str) -> Own:
    return Own(
        about=ABOUT,
        dataset=name,
        source=corpus.source,
        targets=[corpus.target],
        arch=arch,
        updates=50_000,
        tokens_per_update=4096,
        save_every=1000,
    )
