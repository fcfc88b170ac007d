"""Facts of a training from its log and checkpoints: a part of a recipe's result.json."""

from __future__ import annotations

import json
import logging
import re
import threading
from datetime import datetime
from pathlib import Path
from statistics import fmean
from typing import Any

from fairseq.checkpoint_utils import load_checkpoint_to_cpu, load_model_ensemble_and_task
from omegaconf import OmegaConf

_one_at_a_time = threading.Lock()  # fairseq builds models through hydra's global state


def facts_of_run(run: Path, data: Path, checkpoint: Path) -> dict[str, Any]:
    """Facts of a training as `runs` reads them, and fairseq's configuration as `config`.

    For a model that was not trained there, fairseq-validate's loss replaces the curve.

    Args:
        run: its folder, with checkpoint_last.pt and train.log, or validate.log.
        data: what fairseq-preprocess made.
        checkpoint: the file that translates; its parameters are counted.
    """
    logging.disable(logging.INFO)  # no messages of fairseq's about loading
    path, newest = str(checkpoint), run / "checkpoint_last.pt"
    last = load_checkpoint_to_cpu(str(newest) if newest.exists() else path)
    with _one_at_a_time:
        models, cfg, _ = load_model_ensemble_and_task([path], arg_overrides={"data": str(data)})
    logs = [run / f"{name}.log" for name in ("train", "validate")]
    log = next(each for each in logs if each.exists()).read_text(encoding="utf-8")
    # The loss of plain cross entropy is the nll, and has no other name in the log.
    if getattr(cfg["criterion"], "_name", "") == "cross_entropy":
        log = re.sub(r'"((?:valid_)?)loss": ("[^"]*")', r'\g<0>, "\1nll_loss": \2', log)
    trained = _logged(log, "train_inner")[-5:]  # each covers --log-interval updates
    validation = _validation(log)
    return {
        "seed": cfg["common"]["seed"],
        "updates": last["optimizer_history"][-1]["num_updates"],
        "parameters": sum(parameter.numel() for parameter in models[0].parameters()),
        "averaged": load_checkpoint_to_cpu(path)["extra_state"].get("averaged", []),
        "validation": validation,
        "last_training_nll": _mean_nll(trained),
        "seconds": {"training": _seconds(validation, last["extra_state"])},
        "processes": cfg["distributed_training"]["distributed_world_size"],
        "config": _plain(cfg),
    }


def _seconds(validation: list[dict[str, float]], extra_state: dict[str, Any]) -> float:
    """How long the training took, to its last validation.

    fairseq's own count includes the training of a checkpoint that a fine-tuning begins from. It
    serves if the log has no times: for a model that was not trained there.
    """
    logged = validation[-1]["seconds"] if validation else 0.0
    return logged or round(extra_state.get("previous_training_time", 0.0), 1)


def _mean_nll(logged: list[dict[str, str]]) -> float | None:
    """None if a training was too short to log it, or its criterion does not."""
    found = [float(each["nll_loss"]) for each in logged if "nll_loss" in each]
    return fmean(found) if found else None


def _logged(log: str, kind: str) -> list[dict[str, str]]:
    """fairseq's log entries of one kind under `--log-format json`.

    A line may be cut: by a full disk, or by a kill.
    """
    found = [line for line in log.splitlines() if f"| {kind} | {{" in line and line[-1] == "}"]
    return [json.loads(line[line.index("{") :]) for line in found]


def _validation(log: str) -> list[dict[str, float]]:
    """fairseq's results on the validation set, with their updates and seconds of training.

    After a restart both go on from those of the checkpoint. (The seconds are taken from the times
    of the lines, because fairseq's own count, "wall", stays 0 after a restart.)
    """
    found, seconds_at = {}, {0: 0.0}
    begun, first = None, 0
    for line in log.splitlines():
        if "| fairseq_cli.train | training on " in line:  # a process starts
            begun, first = None, 0
        elif loaded := re.search(r"Loaded checkpoint .* @ (\d+) updates", line):
            first = int(loaded[1])
        elif begun is None and "| begin training epoch " in line:
            begun = _time_of(line)
            # What is later than the checkpoint was lost, or is of a training that was deleted.
            found = {at: values for at, values in found.items() if at <= first}
            seconds_at = {at: seconds for at, seconds in seconds_at.items() if at <= first}
            before = seconds_at[max(seconds_at)]
        elif "| valid | {" in line and line[-1] == "}":
            values = json.loads(line[line.index("{") :])
            updates = int(values.get("valid_num_updates", 0))
            if begun is not None:  # fairseq-validate's log has no training
                seconds_at[updates] = before + (_time_of(line) - begun).total_seconds()
            found[updates] = {"updates": updates, "seconds": seconds_at.get(updates, 0.0)} | {
                name.removeprefix("valid_"): float(values[name])
                for name in ("valid_loss", "valid_nll_loss", "valid_bleu")
                if name in values
            }
    return [found[updates] for updates in sorted(found)]


def _time_of(line: str) -> datetime:
    return datetime.fromisoformat(line[: len("2000-01-01 00:00:00")])


def _plain(cfg: Any) -> Any:
    """fairseq's configuration as plain containers."""
    if OmegaConf.is_config(cfg):
        cfg = OmegaConf.to_container(cfg)
    if hasattr(cfg, "__dict__"):  # an argparse.Namespace
        cfg = vars(cfg)
    if isinstance(cfg, dict):
        return {name: _plain(value) for name, value in cfg.items()}
    return cfg if isinstance(cfg, (str, int, float, bool, list, type(None))) else str(cfg)
