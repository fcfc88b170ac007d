"""word2ket on SQuAD, answers to questions about a paragraph, table 3."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..commands import ROOT, Progress, python
from ..console import Parser, folder, need_modules, number, positive, say
from ..devices import Devices
from ..engine import Engine, Step
from ..experiment import add_dry_run
from ..files import fingerprint
from ..training import by_name, refuse_taken
from ..word2ket import add_embeddings, embeddings

WEB = "https://rajpurkar.github.io/SQuAD-explorer/dataset"
FILES = {
    "train-v1.1.json": "981b29407e0affa3b1b156f72073b945",
    "dev-v1.1.json": "3e85deb501d4e538b6bc56f786231552",
}
TABLE_3 = {"order": 4, "rank": 1}  # "almost 10^5-fold"; "1,000-fold" is order 2, rank 2

ABOUT = """\
Embeddings in word2ket and word2ketXS: answers to SQuAD 1.1's questions by a DrQA-style reader. It
learns from train-v1.1.json and answers dev-v1.1.json after each epoch. The scores are those of
the last epoch: F1 and exact match by SQuAD's own rules."""

EPILOG = """\
The folder for the results gets result.json, report.md, predictions.json, checkpoint.pt and
train.log. If interrupted, run the same command again: it resumes after the last whole epoch.
Options of the reader are --width, --hidden, --layers, --dropout, --lr and --batch.

environment:
  DEVICE            cuda or cpu (default: cuda where torch sees a GPU; it takes one)
  PYTHON            the Python that has this project (default: .venv's, else python3)

examples:
  bash recipes/word2ket-squad.sh --order 2 --rank 2
  bash recipes/word2ket-squad.sh --model dense --from FOLDER -- --dropout 0.3
  shapeshifter compare runs/word2ket-squad/* --out plots"""


def main(arguments: Sequence[str]) -> None:
    args, more = _parser().split(arguments)
    ours = {"--factorization", "--embed-rank", "--model", "--seed", "--epochs", "--device"}
    refuse_taken(more, ours)
    model, flags = embeddings(args, **TABLE_3)
    run = args.out or ROOT / "runs" / "word2ket-squad" / f"{model}.seed{args.seed}"
    files = [(args.source or ROOT / "data" / "squad" / "download") / name for name in FILES]
    options = [*flags, "--model", model, "--seed", str(args.seed), *more]
    command = [*python("recipes.squad.train", *files, run), *options, "--epochs", str(args.epochs)]
    command += ["--device", Devices.find(args.dry_run, nproc=1).device]
    engine, name = Engine(run, dry=args.dry_run), f"train {run.name}"
    if args.dry_run:
        engine.run(command, name)
        return
    need_modules("regex", "tabulate", "torch", "tqdm")
    _fetch(args.source)
    made_from = {**by_name(options), **{file.name: fingerprint(file) for file in files}}
    bar = Progress(100, r'"percent": (\d+)', r'"(loss|F1)": ([0-9.]+)')
    begun = (run / "checkpoint.pt").exists()

    def make(_: Path) -> None:
        engine.run(command, name, log=run / "train.log", progress=bar)

    train = Step("train", run / "result.json", make, made_from, resumes=True, begun=begun,
                 until=args.epochs)  # fmt: skip
    with engine.alone():
        if engine.do(train):
            say((run / "report.md").read_text(encoding="utf-8"))
    say(f"results: {run}")


def _fetch(source: Path | None) -> None:
    """Have both files, in `source` or fetched once for all runs."""
    from preparation.download import have

    # A folder of the user's own is only read, so it needs no lock.
    with Engine(ROOT / "data" / "squad", dry=bool(source)).alone() as engine:
        have([f"{WEB}/{name}#md5={md5}" for name, md5 in FILES.items()], engine.folder, source)


def _parser() -> Parser:
    parser = Parser("[options]", ABOUT, EPILOG, rest="the reader")
    add_embeddings(parser, **TABLE_3)
    add = parser.add_argument
    add("--from", dest="source", type=folder, metavar="DIR",
        help="use the two files in DIR; download nothing")  # fmt: skip
    add("--out", type=folder, metavar="DIR", help="results (default runs/NAME/MODEL.seedN)")
    add("--seed", type=number, default=1, metavar="N", help="of the training (default 1)")
    add("--epochs", type=positive, default=40, metavar="N", help="of the training (default 40)")
    add_dry_run(parser)
    return parser
