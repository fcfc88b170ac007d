"""A corpus of your own, from training to report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from shapeshifter_fairseq.corpus import Corpus

from ..console import Failed, Parser
from ..experiment import Experiment

ABOUT = """\
Train any architecture on any prepared corpus, with the recipe of the papers' experiments.
data-prep/prepare-own.sh, or another script of data-prep/, makes DATA (required). --arch is the name
of an architecture in fairseq-train (default shapeshifter_transformer_iwslt)."""

UPDATES = 50_000


def main(arguments: Sequence[str]) -> None:
    first = Parser("--data DATA [--arch ARCH] [options]", ABOUT)
    first.add_argument("--data", type=Path, required=True, metavar="DATA")
    first.add_argument("--arch", default="shapeshifter_transformer_iwslt", metavar="ARCH")
    if not arguments or arguments[0] in ("-h", "--help"):
        Experiment(ABOUT, "own", "SRC", ["TGT"], "ARCH", UPDATES, 4096, 1000).main(["--help"])
    at = list(arguments).index("--") if "--" in arguments else len(arguments)
    own, others = first.parse_known_args(list(arguments[:at]))
    if not own.data.is_dir():
        raise Failed(f"there is no folder {own.data}; bash data-prep/prepare-own.sh makes one")
    corpus = Corpus.read(own.data)
    Experiment(
        about=ABOUT,
        dataset=own.data.absolute().name.removesuffix(f".{corpus.source}-{corpus.target}"),
        source=corpus.source,
        targets=[corpus.target],
        arch=own.arch,
        updates=UPDATES,
        tokens_per_update=4096,
        save_every=1000,
    ).main(["--data", str(own.data), *others, *arguments[at:]])
