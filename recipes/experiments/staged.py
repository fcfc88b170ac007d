"""What staged factorization gains over factorizing at once and over training from scratch."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from .. import small
from ..commands import ROOT, USER_DIR, python
from ..console import Failed, Parser, folder, numbers, positive, say
from ..engine import Engine, Step
from ..experiment import add_dry_run, report
from ..files import fingerprint, write
from ..parallel import side_by_side
from ..small import UPDATES, Small
from ..staged_report import WAYS, Run, compare
from ..training import check_added

# With these options shapeshifter_transformer_tiny with 2,000 types keeps 50, 30 or 15% of the dense
# model's parameters, about as much of the blocks as of the table (shapeshifter params --arch
# shapeshifter_transformer_tiny --vocab 2000 ...). Monarch has two blocks: four at rank 2 or 3 are
# 11 or 17% of a matrix, with nothing in between.
MODELS = {
    "low_rank-50": "--factorization low_rank --layer-rank 35 --embed-rank 61",
    "low_rank-30": "--factorization low_rank --layer-rank 21 --embed-rank 34",
    "low_rank-15": "--factorization low_rank --layer-rank 10 --embed-rank 18",
    "monarch-50": "--factorization monarch/blocks=2 --layer-rank 18 --embed-rank 27",
    "monarch-30": "--factorization monarch/blocks=2 --layer-rank 10 --embed-rank 21",
    "monarch-15": "--factorization monarch/blocks=2 --layer-rank 5 --embed-rank 9",
    "kronecker-50": "--factorization kronecker --layer-rank 35 --embed-rank 126",
    "kronecker-30": "--factorization kronecker --layer-rank 21 --embed-rank 70",
    "kronecker-15": "--factorization kronecker --layer-rank 10 --embed-rank 37",
}
FAMILIES = ("low_rank", "monarch", "kronecker")
# Updates of the published results (docs/results.md).
DEFAULT = 200

ABOUT = f"""\
Compress a trained dense Transformer of the quickstart's size to 50%, 30% and 15% of its parameters
with each FAMILY ({" ".join(FAMILIES)}), and compare on the validation set of the
quickstart's corpus:

  before     its projection, without fine-tuning
  at-once    its projection, fine-tuned
  staged     the dense model, factorized block after block while it is fine-tuned for as many
             updates (fairseq-train --stage-updates)
  scratch    a model of the same size, factorized from the start

A run has failed if its gradients became NaN, or if its best validation loss is not below that of
its projection before fine-tuning."""

EPILOG = f"""\
The folder of the results gets staged.md, staged.png, and a folder for each run with its log,
checkpoints and translations. If interrupted, run the same command again: it resumes and skips
finished steps.

{small.HELP}

examples:
  bash recipes/staged.sh
  bash recipes/staged.sh --dense runs/quickstart/dense/checkpoint_best.pt
  bash recipes/staged.sh --sizes 30 low_rank                  # one size of one family"""


def _parser() -> Parser:
    parser = Parser("[options] [FAMILY ...]", ABOUT, EPILOG, rest="fairseq-train")
    add = parser.add_argument
    add("families", nargs="*", metavar="FAMILY", help="default: all three")

    def count(name: str, default: int | None, what: str) -> None:
        add(name, type=positive, default=default, metavar="N", help=what)

    count(
        "--max-update", DEFAULT, f"updates of a fine-tuning, at once and staged (default {DEFAULT})"
    )
    count("--stage-updates", None, "updates between stages (default: a sixteenth of --max-update, "
          "so that the last of the 9 stages, one for the embeddings and one for each block, begins "
          "at half of them)")  # fmt: skip
    add(
        "--lr",
        default="5e-4",
        help="of the fine-tuning (default 5e-4, a third of the quickstart's)",
    )
    count("--scratch-updates", 1000, "of a training from scratch (default 1000)")
    add("--scratch-lr", default="7.5e-4", help="its learning rate (default 7.5e-4)")
    add("--dense", type=folder, metavar="CHECKPOINT",
        help="the dense model, such as the quickstart's: shapeshifter_transformer_tiny with "
        "--factor-plan '*=dense' (default: one is trained)")  # fmt: skip
    count("--dense-updates", UPDATES, f"of the dense training (default {UPDATES})")
    add("--seeds", type=numbers, default="1-3", metavar="LIST",
        help="of the fine-tunings, such as 1,2 or 1-3 (default 1-3)")  # fmt: skip
    add("--scratch-seeds", type=numbers, default="1", metavar="LIST",
        help="of the trainings from scratch, which take longest (default 1)")  # fmt: skip
    add("--sizes", default="50,30,15", metavar="LIST", help="percentages (default 50,30,15)")
    count("--beam", 5, "of the translations (default 5)")
    small.add_folders(parser, "staged")
    add("--only", metavar="RUN", help="do one run alone, such as low_rank-50-staged.seed1 (on "
        "another machine, say); the runs that it starts from must have finished")  # fmt: skip
    add_dry_run(parser)
    return parser


def main(arguments: Sequence[str]) -> None:
    parser = _parser()
    args, more = parser.split(arguments)
    check_added(more)
    families = args.families or FAMILIES
    for family in families:
        if family not in FAMILIES:
            parser.error(f"there is no family '{family}' here; known: {' '.join(FAMILIES)}")
    models = [f"{family}-{size}" for family in families for size in args.sizes.split(",")]
    for model in models:
        if model not in MODELS:
            parser.error(f"--sizes: '{model.rpartition('-')[2]}' is not 50, 30 or 15")
    before = [Run("before", model) for model in models]
    tuned = [
        Run(way, model, seed)
        for seed in sorted({*args.seeds, *args.scratch_seeds})
        for model in models
        for way in list(WAYS)[1:]
        if seed in (args.scratch_seeds if way == "scratch" else args.seeds)
    ]
    runs = [Run("dense"), *before, *tuned]
    if args.only and args.only not in [run.folder for run in runs]:
        parser.error(f"--only: there is no run '{args.only}'")
    if args.dense and not args.dry_run and not args.dense.is_file():
        raise Failed(f"there is no checkpoint {args.dense}")
    default = "staged" if args.max_update == DEFAULT else f"staged.{args.max_update}"
    out: Path = args.out or ROOT / "runs" / default
    study = Staged(Small.prepare(args.data, args.dry_run), args, more, out)
    for phase in ([Run("dense")], before, tuned):
        chains = [partial(study.do, run) for run in phase if args.only in (None, run.folder)]
        side_by_side(study.trainings.jobs, chains)
    if not args.only and not args.dry_run:
        say(f"{compare(out, runs)}\nresults: {out}")


class Staged:
    """The runs of one call."""

    def __init__(
        self, trainings: Small, args: argparse.Namespace, more: list[str], out: Path
    ) -> None:
        self.trainings, self.args, self.more, self.out = trainings, args, more, out
        self.dense = args.dense or out / Run("dense").folder / "checkpoint_best.pt"

    def do(self, run: Run) -> None:
        """Train one run, if it is trained, score and report it."""
        with Engine(self.out / run.folder, dry=self.trainings.dry).alone() as engine:
            checkpoint = engine.folder / "checkpoint_best.pt"
            if run.way == "before":
                checkpoint = engine.folder / "projected.pt"
                self._project(engine, run, checkpoint)
                self._validate(engine, checkpoint)
            elif run.way == "dense" and self.args.dense:
                checkpoint = self.dense
                self._validate(engine, checkpoint)
            elif run.way == "dense":
                options = ["--factor-plan", "*=dense", "--seed", "1", *self.more]
                self.trainings.train(engine, self.args.dense_updates, options)
            elif not self._train(engine, run):
                return
            # A model that lost too much does not end its sentences: they are cut at a little over
            # twice the source.
            search = ["--beam", str(self.args.beam), "--max-len-a", "2", "--max-len-b", "10"]
            self.trainings.score(engine, checkpoint, search)
            facts = f"staged, {self.args.max_update} updates", run.name
            trainings = self.trainings
            report(engine, trainings.data, trainings.corpus, *facts, checkpoint)

    def _project(self, engine: Engine, run: Run, result: Path) -> None:
        self._need(self.dense, Run("dense"))
        command = python("shapeshifter_fairseq", "project", self.dense, result, "--force")
        command += shlex.split(MODELS[run.model])
        made_from = [command, "" if engine.dry else fingerprint(self.dense)]
        engine.do(Step("project", result, lambda _: engine.run(command, "project"), made_from))

    def _need(self, checkpoint: Path, run: Run) -> None:
        """Stop now if a run that comes first is missing."""
        if not self.trainings.dry and not checkpoint.is_file():
            raise Failed(f"there is no {checkpoint}: first give --only {run.folder}")

    def _validate(self, engine: Engine, checkpoint: Path) -> None:
        """The loss of a model that was not trained here.

        The batches are those of the trainings' validation: fairseq leaves out those whose sentences
        are not a multiple of 8.
        """
        log = engine.folder / "validate.log"
        command = python("fairseq_cli.validate", self.trainings.data, "--task", "translation")
        command += ["--user-dir", str(USER_DIR), "--path", str(checkpoint), "--max-tokens", "1024"]
        command += ["--num-workers", "0", "--log-format", "json"]
        command += ["--cpu"] * self.trainings.on_cpu
        name = f"validate {engine.folder.name}"
        made_from = "" if engine.dry else fingerprint(checkpoint)
        engine.do(Step("validate", log, lambda _: engine.run(command, name, log=log), made_from))

    def _train(self, engine: Engine, run: Run) -> bool:
        """Train; returns False if it diverged, which is a result and not an error."""
        args, updates = self.args, self.args.max_update
        stage = args.stage_updates or -(-updates // 16)
        projection = self.out / Run("before", run.model).folder / "projected.pt"
        begin = ["--lr", args.lr, "--finetune-from-model"]
        if run.way == "at-once":
            self._need(projection, Run("before", run.model))
            begin.append(str(projection))
        elif run.way == "staged":
            self._need(self.dense, Run("dense"))
            begin += [str(self.dense), "--stage-updates", str(stage)]
        else:
            # At the quickstart's rate, the larger low_rank and monarch models learn only how
            # frequent each type is. With half of it, a warm-up of a seventh of 1,000 updates is
            # worse than one of 400 (docs/tries.md).
            begin = ["--lr", args.scratch_lr, "--warmup-updates", str(UPDATES // 7)]
            updates = args.scratch_updates
        options = [*shlex.split(MODELS[run.model]), *begin, "--seed", str(run.seed), *self.more]
        mark, call = engine.folder / "diverged", json.dumps([updates, *options])
        if not engine.dry and mark.exists() and mark.read_text(encoding="utf-8").strip() == call:
            say(f"train: {engine.folder} has diverged, skipped")
            return False
        known = _divergences(engine.folder)  # with other options, or an earlier try
        try:
            self.trainings.train(engine, updates, options)
        except Failed:
            if _divergences(engine.folder) == known:
                raise
            write(mark, call)
            say(f"train: {engine.folder} has diverged, which counts as failed")
            return False
        if not engine.dry:
            mark.unlink(missing_ok=True)
        return True


def _divergences(run: Path) -> int:
    """How often fairseq ended a training because its gradients became NaN."""
    log = run / "train.log"
    text = log.read_text(encoding="utf-8") if log.exists() else ""
    return text.count("\nFloatingPointError: ")
