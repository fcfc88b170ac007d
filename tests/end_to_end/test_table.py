"""recipes/table.sh: several models of a recipe side by side, whole and cut off by the time."""

from __future__ import annotations

import fcntl
import json
import signal
import subprocess
import time
from functools import partial

import pytest

from .test_experiment_runs import TINY, in_words_of, moses_data  # noqa: F401  (a fixture)
from .test_experiments import ROOT, dry_run, environment, options, script


def test_a_table_whole_and_cut_off(moses_data, tmp_path):  # noqa: F811
    out = tmp_path / "the table"
    call = ["multi30k.en-de", "--models", "dense,narrow,monarch", "--max-update", "2"]
    call += ["--data", moses_data, "--out", out]
    said = script("table.sh", *call, "--minutes", "0.05", "--", *TINY, DEVICE="cpu")
    assert "Not measured: dense.seed1, narrow.seed1, monarch.seed1." in said
    said = script("table.sh", *call, "--", *TINY, DEVICE="cpu")
    text = (out / "compare.md").read_text(encoding="utf-8")
    assert text.strip() in said and "Not measured" not in text
    rows = {line.split("|")[1].strip(): line for line in text.splitlines() if line[:2] == "| "}
    assert {"dense", "narrow", "monarch"} < set(rows)
    assert {path.stem for path in out.glob("*.png")} >= {"validation", "parameters"}
    result = {
        name: json.loads((out / f"{name}.seed1" / "result.json").read_text())
        for name in ("dense", "narrow", "monarch")
    }
    assert result["narrow"]["parameters"] < 0.5 * result["dense"]["parameters"]
    seconds = [point["seconds"] for point in result["dense"]["validation"]]  # whole ones
    assert seconds == sorted(seconds) and result["dense"]["seconds"]["training"] > 0

    # A model that fails takes no table from the others, and a shorter training is no result.
    where = ["multi30k.en-de", "--data", moses_data, "--out", out, "--max-update"]
    more = ["2", "--models", "dense,denser", "--", *TINY]
    error = script("table.sh", *where, *more, DEVICE="cpu", fails=True)
    assert "denser.seed1 failed: " in error
    text = (out / "compare.md").read_text(encoding="utf-8")
    assert "| dense " in text and "Not measured: denser.seed1." in text
    more = ["3", "--models", "dense", "--minutes", "0.01", "--", *TINY]
    assert "Not measured: dense.seed1." in script("table.sh", *where, *more, DEVICE="cpu")


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_all_trainings(end, moses_data, tmp_path):  # noqa: F811
    call = [
        "bash",
        ROOT / "recipes" / "table.sh",
        "multi30k.en-de",
        "--models",
        "dense,narrow,small",
    ]
    call += ["--data", moses_data, "--out", tmp_path, "--max-update", "90000", "--", *TINY]
    # A shell's background jobs, and so what they start, ignore Ctrl-C.
    listens = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    how = {
        "env": environment(DEVICE="cpu", JOBS="2"),
        "stderr": subprocess.PIPE,
        "preexec_fn": listens,
    }
    with subprocess.Popen(call, **how) as table:
        while len(logs := list(tmp_path.glob("*/train.log"))) < 2:
            assert table.poll() is None
            time.sleep(0.1)
        table.send_signal(end)
        try:
            said = table.communicate(timeout=120)[1].decode()
        finally:
            table.kill()
    assert "interrupted; run the same command again" in said
    assert {log.parent.name for log in logs} == {"dense.seed1", "narrow.seed1"}
    for log in logs:  # each process of a training holds this lock
        with (log.parent / "lock").open("a") as lock:
            deadline = time.monotonic() + 60
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    assert time.monotonic() < deadline
                    time.sleep(0.2)
    assert not (tmp_path / "small.seed1").exists()


def test_models_of_a_recipe(moses_data, tmp_path):  # noqa: F811
    data = in_words_of(moses_data, tmp_path / "data", "de", "en")
    found = {
        model: options(
            dry_run("tatoeba.de-en.sh", "--model", model, "--data", str(data))["fairseq-train"]
        )
        for model in ("shapeshifter", "small", "lowrank", "phm")
    }
    assert "--layer-rank" not in found["shapeshifter"]  # the architecture's
    assert (found["small"]["--layer-rank"], found["small"]["--embed-rank"]) == ("24", "128")
    assert found["lowrank"]["--factorization"] == "low_rank"
    assert found["phm"]["--factorization"] == "phm"
    assert found["small"]["--total-num-update"] == found["small"]["--max-update"] == "12000"
    nothing = tmp_path / "no data"
    narrow = ["--dry-run", "--model", "narrow", "--data", nothing]
    error = script("tatoeba.de-en.sh", *narrow, fails=True)
    assert f"{nothing}/dict.de.txt" in error
    error = script("table.sh", "no-such", fails=True)
    assert "there is no recipes/no-such.sh" in error
    error = script("table.sh", "tatoeba.de-en", "--models", "denser", "--dry-run", fails=True)
    assert error.splitlines()[-1] == "table.sh: error: the recipe refuses denser.seed1"
