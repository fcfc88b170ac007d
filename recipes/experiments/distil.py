"""A corpus whose training targets are a trained model's translations."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from shapeshifter_fairseq.corpus import Corpus

from ..commands import USER_DIR, Progress, python
from ..console import Failed, Parser, is_dry_run, need_modules, say, variable
from ..engine import Engine, Step, refuse_foreign
from ..evaluation import need_checkpoint
from ..files import fingerprint, lines_of
from ..parallel import threads
from ..training import need_data

# In OUT.teacher.
OWN_FILES = r"(lock|steps\.json|binarise\.log|shard\d+\.(txt|log)|train\.[\w@]+)(\.part)?"

ABOUT = """\
Make OUT, a copy of the prepared corpus DATA. In its training set, the target side is replaced with
translations of the source side by the checkpoint TEACHER, with beam 5. A model trained on OUT
learns from the teacher, whose translations are easier to learn than human ones: sequence-level
knowledge distillation (Kim and Rush, EMNLP 2016). Validation and test set, dictionaries and
subwords stay the same, so scores can be compared. Sentences that are too long for the teacher are
left out.

If interrupted, run the same command again: it resumes with the unfinished shard of sentences. Until
it is done, the translations are in the folder OUT.teacher."""

EPILOG = """\
environment:
  SHARD             sentences in a shard, roughly (default 20000); more than a batch holds
  WORKERS           processes that binarise (default: one for each core)
  DEVICE            cuda or cpu (default: cuda where torch sees a GPU)
  DRY_RUN           if not empty: print the commands and run nothing
  PYTHON            the Python that has fairseq (default: .venv's, else python3)

example:
  bash recipes/multi30k.en-de.sh --model dense
  bash recipes/distil.sh data-bin/multi30k.en-de runs/multi30k.en-de/dense.seed1/averaged.pt \\
    data-bin/multi30k.en-de.distilled
  bash recipes/multi30k.en-de.sh --data data-bin/multi30k.en-de.distilled --out runs/distilled"""


def main(arguments: Sequence[str]) -> None:
    parser = Parser("DATA TEACHER OUT [options of fairseq-generate]", ABOUT, EPILOG)
    for name in ("DATA", "TEACHER", "OUT"):
        parser.add_argument(name.lower(), type=Path, metavar=name)
    args = parser.parse_args(arguments[:3])
    if not is_dry_run():
        need_modules("fairseq_cli")
        need_data(args.data)
        need_checkpoint(args.teacher)
        refuse_foreign(args.out)
        if args.out.exists() and args.out.samefile(args.data):
            raise Failed(f"{args.out} is DATA itself; choose another folder")
        if args.data.resolve() in args.out.resolve().parents:
            raise Failed(f"{args.out} is inside DATA; choose another folder")
    out = args.out.absolute()  # "." has no name
    work = out.with_name(f"{out.name}.teacher")
    if not is_dry_run():
        _refuse_others_files(work)
    with Engine(work, "binarise.log", dry=is_dry_run()).alone() as engine:
        Lesson(engine, args.data, args.teacher, arguments[3:]).into(args.out)
    if not is_dry_run():
        shutil.rmtree(work)


def _refuse_others_files(work: Path) -> None:
    """Raise `Failed` if the folder for the translations, which is deleted, holds other files."""
    for path in work.glob("*"):
        if not (path.is_file() and re.fullmatch(OWN_FILES, path.name)):
            raise Failed(
                f"{work}, where the translations are until they are done, holds {path.name}: move "
                "it away, or choose another OUT"
            )


class Lesson:
    """The translations of a training set by a teacher."""

    def __init__(self, engine: Engine, data: Path, teacher: Path, options: Sequence[str]) -> None:
        self.engine, self.data, self.teacher, self.options = engine, data, teacher, options
        self.pair = Corpus.read(data).source, Corpus.read(data).target
        self.languages = ["--source-lang", self.pair[0], "--target-lang", self.pair[1]]
        self.sentences, self.made_from = 1, []
        if not engine.dry:
            train = f"train.{'-'.join(self.pair)}"
            self.sentences = _sentences(data / f"{train}.{self.pair[0]}")
            texts = [*sorted(data.glob(f"{train}.*")), *sorted(data.glob("dict.*"))]
            self.made_from = ["taught", *options, fingerprint(teacher, *texts)]
        self.workers = variable("WORKERS", threads())
        self.shards = -(-self.sentences // variable("SHARD", 20_000))

    def into(self, out: Path) -> None:
        """The corpus with the taught training set."""
        way_out, made_from = "look at the end of the log", self.made_from
        step = Step("binarise", out, self._binarise, made_from, folder=True, way_out=way_out)
        if not self.engine.dry and self.engine.is_done(step):
            say(f"distil: {out} is there, skipped")
            return
        for shard in range(self.shards):
            text = self.engine.folder / f"shard{shard}.txt"
            made_from = [self.shards, self.made_from]
            self.engine.do(Step(f"teach {shard}", text, self._translate, made_from))
        taught = self._side("S", 2, self.pair[0])
        if self._side("H", 3, self.pair[1]) != taught:
            raise Failed(f"not every sentence has a translation; remove {self.engine.folder}")
        self.engine.do(step)
        if not self.engine.dry:
            say(f"{out}: {taught} of {self.sentences} training sentences, taught by {self.teacher}")

    def _translate(self, text: Path) -> None:
        """Translate a shard: S-N is the source of sentence N, H-N its translation, in subwords."""
        log, shard = text.with_suffix(".log"), int(text.stem.removeprefix("shard"))
        command = [
            *python("fairseq_cli.generate", self.data, "--user-dir", USER_DIR),
            *("--path", self.teacher, *self.languages, "--gen-subset", "train", "--beam", "5"),
            *("--max-tokens", "4096", "--required-batch-size-multiple", "1"),
            *("--skip-invalid-size-inputs-valid-test", "--log-format", "none"),
            # fairseq-generate chooses a shard as if it were a device; --num-shards does nothing.
            *("--distributed-world-size", str(self.shards), "--distributed-rank", str(shard)),
            *["--cpu"] * (os.environ.get("DEVICE") == "cpu"),
            *self.options,
        ]
        if not self.engine.dry:
            log.unlink(missing_ok=True)
        bar = Progress(self.sentences // self.shards, "^H-", r"^(BLEU)=([0-9.]+)")
        self.engine.run(command, f"teach, {shard + 1} of {self.shards}", log=log, progress=bar)
        self.engine.into(text, f"grep -aE '^[SH]-' {shlex.quote(str(log))}")

    def _side(self, kind: str, column: int, language: str) -> int:
        """One side of the taught training set; returns its lines."""
        text = self.engine.folder / f"train.{language}"
        # By name: after another SHARD there may be more of them.
        files = [str(self.engine.folder / f"shard{shard}.txt") for shard in range(self.shards)]
        line = f"cat -- {shlex.join(files)} | grep -a '^{kind}-' | cut -c3- | sort -n"
        line += f" | cut -f{column}-"
        self.engine.into(text, line)
        return 0 if self.engine.dry else len(lines_of(text))

    def _binarise(self, folder: Path) -> None:
        """DATA, with the taught training set."""
        without = ("train.*", ".stamp")
        if self.engine.dry:
            there = shlex.quote(str(folder))
            said = f"mkdir -p {there} && cp -r {shlex.quote(str(self.data))}/. {there} && rm -f"
            say(" ".join([said, *(f"{there}/{pattern}" for pattern in without)]))
        else:
            ignored = shutil.ignore_patterns(*without)
            shutil.copytree(self.data, folder, dirs_exist_ok=True, ignore=ignored)
        options = [*self.languages, "--destdir", folder]
        options += ["--trainpref", self.engine.folder / "train", "--workers", self.workers]
        for option, language in zip(("--srcdict", "--tgtdict"), self.pair):
            options += [option, self.data / f"dict.{language}.txt"]
        self.engine.run(python("fairseq_cli.preprocess", *options), "binarise")
        if not self.engine.dry:
            corpus = Corpus.read(folder)
            taught = len(lines_of(self.engine.folder / f"train.{corpus.source}"))
            replace(corpus, sentences={**corpus.sentences, "train": taught}).write(folder)


def _sentences(side: Path) -> int:
    """How many sentences one side of a binarised set has."""
    if not Path(f"{side}.idx").is_file():
        raise Failed(f"there is no {side}.idx; prepare the data first (data-prep/)")
    from fairseq.data.indexed_dataset import infer_dataset_impl, make_dataset

    return len(make_dataset(str(side), infer_dataset_impl(str(side))))
