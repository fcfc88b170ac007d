"""What the recipes of word2ket share (dissertation, section 3.5): models and setting."""

from __future__ import annotations

import argparse
import shlex
from dataclasses import dataclass
from pathlib import Path

from .console import Failed, Parser, positive
from .experiment import Experiment


@dataclass(frozen=True)
class Word2KetExperiment(Experiment):
    """An LSTM with embeddings in word2ketXS, in word2ket, or dense ones.

    Dropout is the dissertation's. It does not name the optimizer: Adam at a constant 1e-3, with
    neither label smoothing nor weight decay, is what the authors' code has.
    """

    setting: str = (
        "--dropout 0.2 --lr 1e-3 --lr-scheduler fixed --warmup-updates 0 "
        "--adam-betas '(0.9, 0.999)' --weight-decay 0 --label-smoothing 0"
    )

    study: str = "word2ket-"
    # The best epoch on validation counts, as in the dissertation; by its loss, where the authors'
    # code goes by BLEU or ROUGE.
    takes_best = True

    def add_models(self, parser: Parser) -> None:
        parser.add_argument(
            "--model",
            choices=("word2ketxs", "word2ket", "dense"),
            default="word2ketxs",
            help="embeddings: word2ketxs (default), word2ket, or dense with the very same flags",
        )
        # The defaults are those of table 1 for "over 100-fold" and for 16-fold less.
        for name, what in (
            ("--order", "of the tensor products (default 2; word2ket 4)"),
            ("--rank", "how many of them are summed (default 10; word2ket 1)"),
        ):
            parser.add_argument(name, type=positive, metavar="N", help=what)

    def model(self, args: argparse.Namespace, data: Path, more: list[str]) -> tuple[str, list[str]]:
        if args.model == "dense":
            if args.order or args.rank:
                raise Failed("--order and --rank are no options of --model dense")
            return "dense", ["--embed-rank", "dense", *more]
        order, rank, family = args.order or 2, args.rank or 10, "word2ketxs"
        if args.model == "word2ket":
            # LayerNorm at each node of the tree is the dissertation's (section 3.3.3).
            order, rank, family = args.order or 4, args.rank or 1, "word2ket/norm=1"
        flags = f"--factorization {family}/order={order} --embed-rank {rank}"
        return f"{args.model}-order{order}-rank{rank}", shlex.split(flags) + more
