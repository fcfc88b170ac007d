"""What the recipes of word2ket share (dissertation, section 3.5): models and setting."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from .console import Failed, Parser, positive
from .experiment import Experiment
from .training import refuse_taken


@dataclass(frozen=True)
class Word2KetExperiment(Experiment):
    """An LSTM with embeddings in word2ketXS, in word2ket, or dense ones.

    Dropout is the dissertation's. The dissertation does not name the optimizer; the authors' code
    has Adam at a constant 1e-3, with neither label smoothing nor weight decay.
    """

    setting: str = (
        "--dropout 0.2 --lr 1e-3 --lr-scheduler fixed --warmup-updates 0 "
        "--adam-betas '(0.9, 0.999)' --weight-decay 0 --label-smoothing 0"
    )

    study: str = "word2ket-"
    # The best epoch on validation counts, as in the dissertation. Here that is the one with the
    # lowest loss; the authors' code goes by BLEU or ROUGE.
    takes_best = True

    def add_models(self, parser: Parser) -> None:
        add_embeddings(parser)

    def model(self, args: argparse.Namespace, data: Path, more: list[str]) -> tuple[str, list[str]]:
        refuse_taken(more, {"--factorization", "--embed-rank", "--factor-plan"})
        name, flags = embeddings(args)
        return name, flags + more


# Defaults, table 1: word2ketXS with over 100-fold fewer numbers, word2ket with 16-fold fewer.
WORD2KET = {"order": 4, "rank": 1}


def add_embeddings(parser: Parser, order: int = 2, rank: int = 10) -> None:
    """The options that choose the embeddings; order and rank are word2ketXS's default ones."""
    parser.add_argument(
        "--model",
        choices=("word2ketxs", "word2ket", "dense"),
        default="word2ketxs",
        help="embeddings: word2ketxs (default), word2ket, or dense ones",
    )
    for name, what in (
        ("--order", f"of the tensor products ({_default(order, WORD2KET['order'])})"),
        ("--rank", f"how many of them are summed ({_default(rank, WORD2KET['rank'])})"),
    ):
        parser.add_argument(name, type=positive, metavar="N", help=what)


def _default(of_word2ketxs: int, of_word2ket: int) -> str:
    both = of_word2ketxs == of_word2ket
    return f"default {of_word2ketxs}" + ("" if both else f", for word2ket {of_word2ket}")


def embeddings(args: argparse.Namespace, order: int = 2, rank: int = 10) -> tuple[str, list[str]]:
    """The name of the chosen embeddings, and their flags for a training."""
    if args.model == "dense":
        if args.order or args.rank:
            raise Failed("--order and --rank do not go with --model dense")
        return "dense", ["--embed-rank", "dense"]
    order, rank, family = args.order or order, args.rank or rank, "word2ketxs"
    if args.model == "word2ket":
        # LayerNorm at each node of the tree is the dissertation's (section 3.3.3).
        order, rank = args.order or WORD2KET["order"], args.rank or WORD2KET["rank"]
        family = "word2ket/norm=1"
    flags = ["--factorization", f"{family}/order={order}", "--embed-rank", str(rank)]
    return f"{args.model}-order{order}-rank{rank}", flags
