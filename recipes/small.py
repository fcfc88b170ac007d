"""Trainings of minutes, on the quickstart's corpus."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from shapeshifter_fairseq.corpus import Corpus

from .commands import ROOT
from .console import Parser, folder, need_modules, say, variable
from .devices import Devices
from .engine import Engine
from .evaluation import Evaluation
from .experiment import report
from .parallel import share_threads, side_by_side
from .training import train

UPDATES = 2800
ARCH = "shapeshifter_transformer_tiny"
CORPUS = "localisation.de-en"

HELP = """\
environment:
  JOBS              trainings side by side (default 2)
  OMP_NUM_THREADS   threads of a training (default: its share of the cores)
  DEVICE            cuda or cpu (default: cuda where torch sees a GPU)
  PYTHON            the Python that has fairseq (default: .venv's, else python3)"""


def setting(updates: int, tokens: int = 1024) -> list[str]:
    """Options for a training of a few minutes, with `tokens` tokens per update.

    It needs another setting than the papers': a higher rate that falls to zero, no dropout. Chosen
    on the validation set, one setting for all models (docs/tries.md).
    """
    seventh = -(-updates // 7)  # 400 of the 2,800
    return shlex.split(
        f"--arch {ARCH} --max-update {updates} --total-num-update {updates} --max-tokens {tokens} "
        f"--lr-scheduler polynomial_decay --lr 1.5e-3 --warmup-updates {seventh} --dropout 0 "
        f"--weight-decay 0 --no-epoch-checkpoints --save-interval-updates {seventh} "
        f"--keep-interval-updates 1 --validate-interval 1000 "
        f"--validate-interval-updates {seventh} --num-workers 0"
    )


def add_folders(parser: Parser, name: str) -> None:
    """The options for the corpus of a study and for its results, in runs/ under its name."""
    parser.add_argument("--data", type=folder, metavar="DIR",
        help="prepared corpus (default: the quickstart's, which is made)")  # fmt: skip
    parser.add_argument("--out", type=folder, metavar="DIR",
        help=f"results (default runs/{name}, or runs/{name}.N with --max-update N)")  # fmt: skip


@dataclass(frozen=True)
class Small:
    """A corpus, and how many trainings run side by side on what device."""

    data: Path
    corpus: Corpus
    devices: Devices
    jobs: int
    dry: bool

    @classmethod
    def prepare(cls, data: Path | None, dry: bool) -> Small:
        """Check that nothing is missing, and make the quickstart's corpus unless one is given.

        Two trainings run at once by default, because such small batches gain little from a second
        core. Side by side they take three quarters of the time that they take in sequence.
        """
        jobs = variable("JOBS", 2)
        share_threads(jobs)
        if not dry:
            need_modules("fairseq_cli", "matplotlib", "sacrebleu", "sentencepiece", "tabulate")
        from preparation.datasets import localisation

        if data is None:
            data = ROOT / "data-bin" / CORPUS
            if dry:
                say(f"bash {ROOT / 'data-prep' / 'prepare-localisation.sh'} de en")
            else:
                localisation.main(["de", "en"])
        made = (data / "corpus.json").exists() or not dry
        corpus = Corpus.read(data) if made else localisation.DATASET.corpus("de", "en")
        # With several GPUs each training takes one, and keeps its batch.
        return cls(data, corpus, Devices.find(dry, nproc=1), 1 if dry else jobs, dry)

    @property
    def on_cpu(self) -> bool:
        return self.devices.device == "cpu"

    def train(
        self, engine: Engine, updates: int, options: Sequence[str], tokens: int = 1024
    ) -> None:
        """Train for `updates` updates, into the engine's folder."""
        train(engine, self.data, [*setting(updates, tokens), *options], self.devices)

    def score(
        self, engine: Engine, checkpoint: Path, options: Sequence[str] = (), split: str = "valid"
    ) -> None:
        """Translate a set with beam 5, unless options say otherwise, and score it."""
        evaluation = Evaluation(split, options=options, cpu=self.on_cpu)
        evaluation.run(engine, self.data, self.corpus, checkpoint)

    def all(
        self,
        recipe: str,
        runs: Mapping[str, tuple[Path, Sequence[str]]],
        updates: int,
        tokens: int = 1024,
        split: str = "valid",
    ) -> None:
        """Train, score and report several models, side by side.

        Args:
            recipe: name of the benchmark.
            runs: folder and options of fairseq-train, by the model's name.
            updates, tokens: of each training, as in `setting`.
            split: the set that is translated.
        """

        def one(name: str) -> None:
            run, options = runs[name]
            with Engine(run, dry=self.dry).alone() as engine:
                self.train(engine, updates, options, tokens)
                best = run / "checkpoint_best.pt"
                self.score(engine, best, split=split)
                report(engine, self.data, self.corpus, recipe, name, best)

        if not self.dry:
            Evaluation(split).need(self.data)
        side_by_side(self.jobs, [partial(one, name) for name in runs])
