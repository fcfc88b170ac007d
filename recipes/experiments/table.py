"""Several models of a recipe and several seeds side by side, and one table of them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from math import inf
from pathlib import Path

from ..commands import ROOT, python
from ..console import Failed, Parser, folder, numbers, positive, say, variable
from ..devices import Devices
from ..engine import Engine
from ..experiment import add_dry_run
from ..files import write
from ..parallel import share_threads, side_by_side
from ..training import check_added

MODELS = "dense,shapeshifter,narrow,small"

ABOUT = """\
Train several models of one recipe with several seeds, side by side on one machine, score each when
it ends, and write one table with plots: validation loss against updates and against seconds, BLEU
against parameters. RECIPE is the name of a script, such as tatoeba.de-en.

With --minutes N, trainings that are still running N minutes after the start are stopped, and the
table says that they were not measured. Run the same command again on the same machine to finish
them."""

EPILOG = """\
The folder of the results gets compare.md with its plots, and a folder MODEL.seedN for each
training, as the recipe makes it.

environment:
  JOBS              trainings at once (default: all on a GPU, else 2). They share a GPU well under
                    NVIDIA's multi-process service: first start nvidia-cuda-mps-control -d
  DEVICE            cuda or cpu (default: cuda where torch sees a GPU)
  OMP_NUM_THREADS   threads of a training (default: its share of the cores)
  PYTHON            the Python that has fairseq (default: .venv's, else python3)

examples:
  bash recipes/table.sh tatoeba.de-en --minutes 25 --max-update 6000
  bash recipes/table.sh tatoeba.de-en --models dense,shapeshifter,monarch --seeds 1-3
  bash recipes/table.sh multi30k-iwslt.en-de -- --dropout 0.1"""


def main(arguments: Sequence[str]) -> None:
    parser = Parser("RECIPE [options]", ABOUT, EPILOG, rest="fairseq-train")
    add = parser.add_argument
    add("recipe", metavar="RECIPE")
    add("--models", default=MODELS, metavar="LIST", help=f"of the recipe (default {MODELS})")
    add("--seeds", type=numbers, default="1", metavar="LIST", help="such as 1,2 or 1-3 (default 1)")
    add("--minutes", type=float, default=inf, metavar="N",
        help="stop after so many minutes (default: when all are done)")  # fmt: skip
    add(
        "--max-update",
        type=positive,
        metavar="N",
        help="updates of each training (default: the recipe's)",
    )
    add("--data", type=folder, metavar="DIR", help="prepared corpus (default: the recipe's)")
    add("--out", type=folder, metavar="DIR", help="results (default runs/table.RECIPE)")
    add_dry_run(parser)
    args, more = parser.split(arguments)
    check_added(more, one_arch=True)
    recipe = args.recipe.removesuffix(".sh")
    module = re.sub("[.-]", "_", recipe)
    if not (ROOT / "recipes" / "experiments" / f"{module}.py").is_file():
        parser.error(f"there is no recipes/{recipe}.sh")
    out = args.out or ROOT / "runs" / f"table.{recipe}"
    given = ["--max-update", str(args.max_update)] * bool(args.max_update)
    given += ["--data", str(args.data)] * bool(args.data) + ["--dry-run"] * args.dry_run
    runs = {
        out / f"{model}.seed{seed}": [
            *python("recipes", f"{recipe}.sh", "--model", model, "--seed", str(seed)),
            *(*given, "--out", str(out / f"{model}.seed{seed}"), "--", *more),
        ]
        for seed in args.seeds
        for model in args.models.split(",")
    }
    on_gpu = Devices.find(args.dry_run).device == "cuda"
    jobs = variable("JOBS", len(runs) if on_gpu else 2)
    share_threads(jobs)
    os.environ["NPROC"] = "1"
    if args.dry_run:
        for run, command in runs.items():
            if subprocess.run(command, check=False).returncode:
                raise Failed(f"the recipe refuses {run.name}")
        return
    trainings = Trainings(time.monotonic() + 60 * args.minutes)
    for end in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(end) is not signal.SIG_IGN:  # nohup
            signal.signal(end, signal.default_int_handler)  # the trainings would go on
    # Those that an earlier call finished come first: they are skipped in seconds.
    order = sorted(runs, key=lambda run: not (run / "result.json").exists())
    chains = [partial(trainings.run, run, runs[run]) for run in order]
    failed = None
    try:
        side_by_side(jobs, chains, interrupted=trainings.stop)
    except Failed as error:
        failed = error
    _compare(out, [run for run in runs if run in trainings.done], list(runs))
    if failed:
        raise failed


@dataclass
class Trainings:
    """Recipes that run side by side."""

    end: float
    """When their time is over, by time.monotonic()."""
    done: set[Path] = field(default_factory=set)
    """Folders of those that ran to their ends."""
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def run(self, run: Path, command: list[str]) -> None:
        """Train and score one model, or stop it when the time is over."""
        if (left := self.end - time.monotonic()) <= 0:
            return
        run.mkdir(parents=True, exist_ok=True)
        path, status = run / "recipe.log", None
        say(f"{run.name} ... (log: {path})")
        # A session of its own, so that fairseq's processes end with it.
        with (
            path.open("a", encoding="utf-8") as log,
            subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True) as process,
        ):
            self.running.append(process)
            with suppress(subprocess.TimeoutExpired):  # the end may have come nearer: `stop`
                status = process.wait(max(0, min(left, self.end - time.monotonic())))
            _end(process)
            self.running.remove(process)
        if status:
            last = path.read_text(encoding="utf-8", errors="replace").strip().rpartition("\n")[2]
            raise Failed(f"{run.name} failed: {last} (log: {path})")
        if status == 0:
            self.done.add(run)
        say(f"{run.name}: {'done' if status == 0 else 'stopped, the time is over'}")

    def stop(self) -> None:
        """Stop those that are running, and let no more begin."""
        self.end = -inf
        for process in list(self.running):
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and those that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)


def _compare(out: Path, there: Sequence[Path], runs: Sequence[Path]) -> None:
    """Write the table of the trainings that are done, and name the others."""
    missing = [run.name for run in runs if run not in there]
    text = f"Not measured: {', '.join(missing)}." if missing else ""
    if there:
        named = [f"{run.name.partition('.seed')[0]}={run}" for run in there]
        with Engine(out).alone() as engine:
            engine.run(python("shapeshifter_fairseq", "compare", *named, "--out", out), "compare")
        text = f"{(out / 'compare.md').read_text(encoding='utf-8')}\n{text}".strip()
    write(out / "compare.md", text)
    say(f"{text}\nresults: {out}")
