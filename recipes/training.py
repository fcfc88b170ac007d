"""Train one model with fairseq-train; the papers' flags are here and nowhere else."""

from __future__ import annotations

import argparse
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shapeshifter_fairseq.writing import whole_file

from .commands import USER_DIR, Progress
from .console import Failed, need_modules, positive, say
from .devices import Devices, keep_memory
from .engine import Engine, Step
from .files import fingerprint

_CRITERIA = ("label_smoothed_cross_entropy", "cross_entropy")  # those that log their nll
# Adam (0.9, 0.98), 5e-4 after 15,000 updates, weight decay 1e-4, label smoothing 0.1, dropout 0.3.
PAPERS = [
    *("--optimizer", "adam", "--adam-betas", "(0.9, 0.98)", "--weight-decay", "1e-4"),
    *("--lr", "5e-4", "--lr-scheduler", "inverse_sqrt", "--warmup-updates", "15000"),
    *("--criterion", _CRITERIA[0]),
]
LABEL_SMOOTHING = ("--label-smoothing", "0.1")  # an option of that criterion
DROPOUT = ("--dropout", "0.3")  # theirs too
# A corpus or a checkpoint of the same name may be another one.
_CONTENT, _START = "content of the corpus", "content of --finetune-from-model"
# Options that do not make it another training: how often it saves and validates.
_NO_DIFFERENCE = ("--save-interval-updates", "--validate-interval-updates")
# Options of fairseq-train that the recipes set.
_SET = {"--max-update", "--save-dir", "--seed", "--user-dir"}
_SET |= {"--source-lang", "-s", "--target-lang", "-t"}


def train(
    engine: Engine,
    data: Path,
    options: Sequence[str],
    devices: Devices,
    dropout: Sequence[str] = DROPOUT,
) -> None:
    """Train on `data` into the engine's folder; resume from the last whole checkpoint.

    Args:
        options: of fairseq-train, which override the papers'; --max-update is needed. With
            --tokens-per-update, the batch of an update on all devices together, --max-tokens is
            the most that a device holds at once, and --update-freq follows.
        dropout: the papers' option; empty if the architecture sets it.

    Raises:
        Failed: if an option is missing or cannot be used, or fairseq fails.
    """
    own, others = _own_options(options)
    updates, save = own.max_update, engine.folder
    if not engine.dry:
        need_modules("fairseq_cli")
        if "--wandb-project" in by_name(others):
            need_modules("wandb", way_out="pip install wandb, or leave --wandb-project out")
        need_data(data)
    criterion = by_name(others).get("--criterion", _CRITERIA[0])
    loss = LABEL_SMOOTHING if criterion == _CRITERIA[0] else ()
    batch = ["--max-tokens", str(own.max_tokens)]
    if own.tokens_per_update:
        batch = devices.share(own.tokens_per_update, own.max_tokens)
    begun = any(save.glob("checkpoint*.pt"))
    made_from = _made_from(data, own, others)
    before = engine.made_from("train") if begun else None
    if not engine.dry:
        content = _content(data, made_from.get("--finetune-from-model"))
        if before is not None:  # runs of earlier releases did not note it
            content = {k: content.get(k, before[k]) for k in (_CONTENT, _START) if k in before}
        made_from |= content
    main_node = devices.node_rank == 0
    log = save / ("train.log" if main_node else f"train.node{devices.node_rank}.log")
    on_cpu = devices.device == "cpu"

    def make(_: Path) -> None:
        command = [data, "--user-dir", USER_DIR, "--save-dir", save]
        command += [*PAPERS, *loss, *dropout, *batch]
        newest = None if engine.dry else _newest(save, main_node)
        if newest:
            checkpoint, reached = newest
            if reached >= updates:
                # Killed after the last update: fairseq would make one more.
                say(f"train: {save} has its {updates} updates already")
                return
            command += _for_other_batches(checkpoint, [*batch, *others], devices)
        command += ["--seed", "1", "--update-epoch-batch-itr", "True", "--log-format", "json"]
        # A short training has more lines: they move the bar.
        command += ["--log-interval", max(1, min(20, updates // 50))]
        command += ["--tensorboard-logdir", save / "tensorboard"]
        command += [*["--num-workers", "0"] * on_cpu, *others, "--max-update", updates]
        engine.run(
            devices.launch("fairseq_cli.train", command),
            name=f"train {save.name}",
            log=log,
            progress=Progress(
                updates, r'"num_updates": "(\d+)"', r'"(loss|valid_loss)": "([0-9.]+)"'
            ),
            environment=keep_memory() if on_cpu else {},
        )

    last = save / "checkpoint_last.pt"
    step = Step("train", last, make, made_from, resumes=True, begun=begun, until=updates)
    if main_node:
        engine.do(step)
    elif not engine.is_done(step):  # the first machine records the steps
        make(save)


def _content(data: Path, start: str | None) -> dict[str, str]:
    """Checksums of what a training reads; once it has begun, `start` may be gone."""
    files = [*sorted(data.glob("dict.*.txt")), *sorted(data.glob("train*.idx"))]
    content = {_CONTENT: fingerprint(*files)}
    if start and Path(start).is_file():
        content[_START] = fingerprint(Path(start))
    return content


def _made_from(data: Path, own: argparse.Namespace, others: Sequence[str]) -> dict[str, Any]:
    """What makes it the same training: neither its length nor its devices."""
    size = "--tokens-per-update" if own.tokens_per_update else "--max-tokens"
    all_of_it = {"data": data.resolve().name, **by_name(others)}
    all_of_it[size] = own.tokens_per_update or own.max_tokens
    return {name: value for name, value in all_of_it.items() if name not in _NO_DIFFERENCE}


def _own_options(options: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """What is read here, and the options for fairseq alone."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--max-update", type=positive)
    parser.add_argument("--tokens-per-update", type=positive)
    parser.add_argument("--max-tokens", type=positive, default=4096)
    parser.add_argument("--log-format", default="json")
    parser.add_argument("--disable-validation", action="store_true")
    try:
        own, others = parser.parse_known_args(options)
    except argparse.ArgumentError as error:
        raise Failed(str(error).removeprefix("argument ")) from error
    if own.max_update is None:
        raise Failed("--max-update N is needed: how long to train")
    if own.log_format != "json":
        raise Failed(
            f"--log-format '{own.log_format}': progress and results are read from json; leave it "
            "out"
        )
    if own.disable_validation:
        raise Failed(
            "--disable-validation: checkpoint_best.pt and results need validation; for less of it "
            "give --validate-interval-updates N"
        )
    return own, others


def by_name(options: Sequence[str]) -> dict[str, str]:
    """Options with their values; if one is given twice, the last counts."""
    found: dict[str, str] = {}
    name = ""
    for word in options:
        if re.match("--?[a-z]", word):
            name, _, value = word.partition("=")
            found[name] = value
        elif name:
            found[name] = f"{found[name]} {word}".strip()
    return found


def refuse_taken(
    options: Sequence[str], names: set[str], way_out: str = "see --help for the options before --"
) -> None:
    """Stop now if an option that a person adds after -- is one that the script sets."""
    if theirs := by_name(options).keys() & names:
        raise Failed(f"{min(theirs)} after --: the script sets it; {way_out}")


def check_added(options: Sequence[str], one_arch: bool = False) -> None:
    """Stop now if a recipe cannot use an option of fairseq-train that a person adds after --.

    Args:
        options: those after --.
        one_arch: whether the recipe names its results after its own architecture.
    """
    refuse_taken(
        options,
        _SET | {"--arch", "-a"} if one_arch else _SET,
        "give --seed, --max-update, --out and --data before --, and --arch to recipes/own.sh",
    )
    if (criterion := by_name(options).get("--criterion")) not in (None, *_CRITERIA):
        raise Failed(
            f"--criterion {criterion}: a report needs its nll_loss; choose {' or '.join(_CRITERIA)}"
            ", or train with recipes/train.sh, which makes no report"
        )


def need_data(data: Path) -> None:
    """Stop now if fairseq-preprocess did not make a folder."""
    if not data.is_dir():
        raise Failed(f"there is no folder {data}; prepare the data first (data-prep/)")
    if not list(data.glob("dict.*.txt")):
        raise Failed(
            f"{data} holds no dict.*.txt: fairseq-preprocess did not make it (data-prep/ has "
            "scripts that use it)"
        )


def _newest(save: Path, main_node: bool) -> tuple[Path, int] | None:
    """Let fairseq find the newest whole checkpoint; returns it with its updates.

    fairseq resumes from checkpoint_last.pt (with --restore-file it would refuse
    --finetune-from-model). It writes checkpoint_best.pt only when a better one comes. So both are
    made here, as copies.
    """
    from shapeshifter_fairseq.fairseq_side.checkpoints import newest_checkpoint

    if (newest := newest_checkpoint(save)) is None:
        return None
    latest, reached, is_best = newest
    for name in ["checkpoint_last.pt", *["checkpoint_best.pt"] * is_best]:
        copy = save / name
        if main_node and not (copy.exists() and os.path.samefile(latest, copy)):
            with whole_file(copy) as part:
                shutil.copyfile(latest, part)
    return latest, reached


def _for_other_batches(checkpoint: Path, options: Sequence[str], devices: Devices) -> list[str]:
    """What fairseq-train needs to go on if a device has other batches now than before.

    fairseq counts its place in an epoch in the batches of one device.

    Raises:
        Failed: if fairseq cannot go on.
    """
    from shapeshifter_fairseq.fairseq_side.checkpoints import read_checkpoint

    cfg, now = read_checkpoint(checkpoint)["cfg"], {"--update-freq": "1", **by_name(options)}
    before = cfg["dataset"]["max_tokens"], cfg["distributed_training"]["distributed_world_size"]
    frequency = ",".join(map(str, cfg["optimization"]["update_freq"]))
    if (*before, frequency) == (int(now["--max-tokens"]), devices.count, now["--update-freq"]):
        return []
    if "--finetune-from-model" in now:  # which fairseq refuses beside the option below
        raise Failed(
            f"{checkpoint.parent} was begun with another --max-tokens or number of devices; give "
            "the old ones, or another folder"
        )
    say("train: other batches on a device than before, so the epoch begins again")
    return ["--reset-dataloader"]
