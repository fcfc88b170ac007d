"""A benchmark from training to its report; each file in experiments/ holds the facts of one."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path

from shapeshifter_fairseq.corpus import Corpus

from . import devices
from .commands import ROOT, python
from .console import Failed, Parser, folder, need_modules, number, positive, say
from .devices import Devices
from .engine import Engine, Step
from .evaluation import RESULT, Evaluation
from .files import write
from .results import write_result
from .training import DROPOUT, check_added, train

AVERAGED = 10  # checkpoints, the last ones
OURS, DELIGHT = "shapeshifter_transformer", "delight_transformer_"  # architectures
FAMILIES = {"lowrank": "low_rank", "monarch": "monarch/blocks=4", "phm": "phm"}

OUTPUT = """\
The folder for the results gets result.json, report.md, config.json, commands.sh, train.log,
tensorboard/, averaged.pt and the translations. If interrupted, run the same command again: it
resumes and skips finished steps. The default folders are in the repository."""


@dataclass(frozen=True)
class Experiment:
    """One dataset, and how its models are trained."""

    about: str  # the text for --help
    dataset: str  # a file of data-prep/preparation/datasets
    source: str
    targets: Sequence[str]  # languages; the first one is the default
    arch: str  # what fairseq-train calls the architecture
    updates: int  # how long to train
    tokens_per_update: int  # the batch of an update on all devices together
    save_every: int  # updates from checkpoint to checkpoint
    # Options of fairseq-train that differ from the papers': for all models ({updates} stands for
    # the length), then for factorized ones and for DeLighT alone, which override the first.
    setting: str = ""
    shapeshifter: str = ""
    delight: str = ""
    small: str = "--layer-rank 24 --embed-rank 128"  # about a tenth of the dense model's parameters
    generate: str = ""  # options of fairseq-generate
    split: str = "test"  # these three as in `Evaluation`
    scores: str = "bleu"
    split_compounds: bool = False
    study: str = ""  # before the dataset in the benchmark's name
    variant: str = ""  # after the dataset in it

    # Other kinds of recipes override these (word2ket.py, own.py).
    takes_best = False  # in place of averaging: the checkpoint with the lowest validation loss
    needs_data = False  # a person has to name the corpus

    def add_models(self, parser: Parser) -> None:
        """The options that say which model is trained."""
        parser.add_argument(
            "--model",
            choices=("shapeshifter", "dense", "narrow", "small", *FAMILIES, "delight"),
            default="shapeshifter",
            help="shapeshifter (default); dense: the ordinary Transformer; narrow: a dense one, "
            "so narrow that it has no more parameters than Shapeshifter (with its options after "
            "--), which needs a higher --lr; small: Shapeshifter with about a tenth of the dense "
            "model's parameters; "
            f"{', '.join(FAMILIES)}: other families with as many parameters as Shapeshifter; "
            "delight: DeLighT, as its authors set it for such a corpus",
        )

    def model(self, args: argparse.Namespace, data: Path, more: list[str]) -> tuple[str, list[str]]:
        """Its name in results, and its options of fairseq-train, which follow the common ones.

        Args:
            data: the prepared corpus; the size of some models depends on its dictionaries.
            more: the user's options of fairseq-train.

        Raises:
            ShapeshifterError: if the dictionaries are needed and not there.
        """
        ours, name = shlex.split(self.shapeshifter), args.model
        if name == "shapeshifter":
            return name, ours + more
        if name == "dense":
            return name, ["--factor-plan", "*=dense", *more]
        if name == "delight":
            return name, [*shlex.split(self.delight), *more]
        if name == "small":
            return name, ours + shlex.split(self.small) + more
        import shapeshifter_fairseq.models  # noqa: F401  (registers the architectures)
        from shapeshifter_fairseq.fairseq_side.sizing import Architecture

        sizes = Corpus(self.source, args.target, "sentencepiece").dictionaries(data)
        model = argparse.ArgumentParser(allow_abbrev=False)
        model.add_argument("--tokens-per-update")  # ours; it does not affect the size
        options = [*shlex.split(self._setting(args)), *ours, *model.parse_known_args(more)[1]]
        arch = Architecture(self.arch, *sizes, options)
        parts = arch.parts()
        # Last, because these depend on all the others.
        if name == "narrow":
            return name, [*more, *arch.narrow(sum(parts))]
        return name, [*ours, *more, *arch.as_family(FAMILIES[name], *parts)]

    def _arch_of(self, model: str) -> str:
        if model != "delight":
            return self.arch
        if not self.arch.startswith(OURS):
            raise Failed(
                f"--model delight: --arch {self.arch} has no counterpart in DeLighT; give --arch "
                f"{DELIGHT}iwslt (or _wmt16, _wmt14, _tiny) without --model"
            )
        return self.arch.replace(f"{OURS}_", DELIGHT)

    def _setting(self, args: argparse.Namespace) -> str:
        return self.setting.format(updates=args.max_update)

    def main(self, arguments: Sequence[str]) -> None:
        """Run the recipe with the user's options."""
        args, more = self._parser().split(arguments)
        check_added(more, one_arch=True)
        pair = f"{self.source}-{args.target}"
        data = args.data or ROOT / "data-bin" / f"{self.dataset}.{pair}"
        label, flags = self.model(args, data, more)
        recipe = f"{self.study}{self.dataset}{self.variant}.{pair}"
        out = args.out or ROOT / "runs" / recipe / f"{label}.seed{args.seed}"
        where = Devices.find(args.dry_run)
        evaluation = Evaluation(
            os.environ.get("SPLIT") or self.split,
            self.scores,
            self.split_compounds,
            shlex.split(self.generate),
            cpu=where.device == "cpu",
        )
        if not args.dry_run:
            evaluation.need(data)
            need_modules("tabulate")
        corpus = self.corpus(data, args.target, args.dry_run)
        arch = self._arch_of(args.model)
        train_in = partial(
            train,
            data=data,
            options=["--arch", arch, *self._training(args), *flags],
            devices=where,
            dropout=() if arch.startswith(DELIGHT) else DROPOUT,  # DeLighT's depends on its width
        )

        def after_training(engine: Engine) -> None:
            average(engine, self.takes_best)
            evaluation.run(engine, data, corpus, out / "averaged.pt")
            if report(engine, data, corpus, recipe, label, out / "averaged.pt"):
                say((out / "report.md").read_text(encoding="utf-8"))

        engine = Engine(out, dry=args.dry_run)
        if where.node_rank:  # the first machine does the rest
            out.mkdir(parents=True, exist_ok=True)
            train_in(engine)
            return
        with engine.alone():
            train_in(engine)
            if not args.dry_run:
                # Only now, so that a call that was refused leaves nothing.
                commands: list[str] = []
                dry = Engine(out, dry=True, show=commands.append)
                train_in(dry)
                after_training(dry)
                here = f"cd -- {shlex.quote(os.getcwd())}"  # folders may be relative
                write(out / "commands.sh", "\n".join([here, *commands]))
            after_training(engine)
        if not args.dry_run:
            say(f"results: {out}")

    def _training(self, args: argparse.Namespace) -> list[str]:
        """fairseq-train's options other than those of the model."""
        # A short training has its checkpoints closer together.
        every = max(1, min(args.max_update // AVERAGED, self.save_every))
        return shlex.split(
            f"{self._setting(args)} --seed {args.seed} --max-update {args.max_update} "
            f"--tokens-per-update {self.tokens_per_update} --save-interval-updates {every} "
            f"--keep-interval-updates {AVERAGED} --keep-last-epochs {AVERAGED} "
            f"--validate-interval-updates {every} --validate-interval 1000000"
        )

    def corpus(self, data: Path, target: str, dry: bool = False) -> Corpus:
        """The corpus in a folder; in a dry run without one, what its preparation would make.

        Raises:
            Failed: if it is of other languages.
        """
        if dry and not (data / "corpus.json").exists():
            dataset = import_module(f"preparation.datasets.{self.dataset}").DATASET
            return dataset.corpus(self.source, target)
        corpus = Corpus.read(data)
        if (corpus.source, corpus.target) != (self.source, target):
            raise Failed(
                f"{data} is {corpus.source}-{corpus.target} and this recipe {self.source}-{target};"
                " give another --data, or take recipes/own.sh"
            )
        return corpus

    def _parser(self) -> Parser:
        script = sys.argv[0]
        name = f"{self.dataset}.{self.source}-{self.targets[0]}"
        taken = (
            "take the best checkpoint" if self.takes_best else "average the last ten checkpoints"
        )
        scores = "sacreBLEU of the plain text and of the tokenised text"
        if self.scores == "rouge":
            scores = "ROUGE-1, -2 and -L of the plain text"
        data = "--data DATA " if self.needs_data else ""
        parser = Parser(
            f"{data}[options]",
            f"{self.about}\n\nTrain, {taken}, translate with beam 5, and report:\n{scores}.",
            f"{OUTPUT}\n\n"
            "After -- you may also give this project's --tokens-per-update N, the tokens of an "
            "update on\nall devices together "
            f"(default {self.tokens_per_update:,}). --max-tokens (default 4,096) is the most that\n"
            "a device holds at once; --update-freq follows.\n\n"
            f"environment:\n{devices.HELP}\n"
            f"  SPLIT             the set to score: test or valid (default {self.split})\n"
            "  PYTHON            the Python that has fairseq (default: .venv's, else python3)\n\n"
            f"examples:\n  bash recipes/{script} {data}--dry-run\n"
            f"  bash recipes/{script} {data}--model dense --seed 2 -- --dropout 0.1\n"
            f"  NPROC=2 bash recipes/{script} {data}-- --max-tokens 16384",
            rest="fairseq-train",
        )
        add, target = parser.add_argument, self.targets[0]
        known = argparse.SUPPRESS
        if len(self.targets) > 1:
            known = f"language: {', '.join(self.targets)} (default {target})"
            name = f"{self.dataset}.{self.source}-TARGET"
        add("--target", choices=self.targets, default=target, help=known)
        self.add_models(parser)
        default = "needed" if self.needs_data else f"default data-bin/{name}"
        add("--data", type=folder, metavar="DIR", help=f"prepared corpus ({default})")
        add("--out", type=folder, metavar="DIR", help="results (default runs/NAME/MODEL.seedN)")
        add("--seed", type=number, default=1, metavar="N", help="of the training (default 1)")
        add("--max-update", type=positive, default=self.updates, metavar="N",
            help=f"updates of the training (default {self.updates:,})")  # fmt: skip
        add_dry_run(parser)
        return parser


def average(engine: Engine, takes_best: bool = False) -> None:
    """Make averaged.pt from the last checkpoints, or from the best one alone."""
    run, averaged = engine.folder, engine.folder / "averaged.pt"
    checkpoints = ["--last", str(AVERAGED), run]
    if takes_best:
        checkpoints = [run / "checkpoint_best.pt"]
    command = python("shapeshifter_fairseq", "average", averaged, *checkpoints, "--force")
    made_from = [[path.name, path.stat().st_mtime_ns] for path in sorted(run.glob("checkpoint*"))]
    engine.do(Step("average", averaged, lambda _: engine.run(command, "average"), made_from))


def add_dry_run(parser: Parser) -> None:
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="print the commands and run nothing; this works without fairseq, and without data "
        "unless the model's size depends on the dictionaries",
    )


def report(
    engine: Engine, data: Path, corpus: Corpus, recipe: str, model: str, checkpoint: Path
) -> bool:
    """Write result.json and report.md from what is in the engine's folder.

    Returns:
        whether they were written now
    """
    if engine.dry:
        return False
    run = engine.folder
    made_from = [recipe, model, checkpoint.name, (run / RESULT).stat().st_mtime_ns]

    def make(_: Path) -> None:
        write_result(run, data, corpus, recipe, model, checkpoint)

    return engine.do(Step("report", run / "result.json", make, made_from))
