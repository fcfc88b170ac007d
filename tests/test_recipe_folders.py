"""What the recipes make of folders that other calls left; these are made up, nothing trains."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch

from tests.end_to_end.test_experiments import ROOT, environment, script

pytestmark = pytest.mark.slow

ARCH = ("--arch", "x", "--max-update", "4")


def checkpoint(path: Path, updates: int, loss: float | None, best: float | None = 1.5) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    history, extra = [{"num_updates": updates}], {"val_loss": loss, "best": best}
    torch.save({"model": {}, "optimizer_history": history, "extra_state": extra}, path)


def updates_of(path: Path) -> int:
    return torch.load(path, weights_only=True)["optimizer_history"][-1]["num_updates"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A corpus of two sentences, as far as the scripts look at it themselves."""
    folder = tmp_path / "the data"
    (folder / "raw").mkdir(parents=True)
    names = ("dict.de.txt", "dict.en.txt", "test.de-en.de.bin", "test.de-en.en.idx")
    for name in (*names, "sentencepiece.bpe.model", "raw/test.de"):
        (folder / name).write_text(name)
    (folder / "raw" / "test.en").write_text("a b c d e\nf g h i j\n")
    facts = {"source": "de", "target": "en", "subwords": "sentencepiece"}
    facts |= {"tokenizer": None, "lowercased": False}
    (folder / "corpus.json").write_text(json.dumps(facts))
    return folder


@pytest.mark.parametrize("loss, updates", [(1.5, 4), (1.7, 2), (None, 2)])
def test_a_best_checkpoint_that_was_cut_off_is_made_whole(loss, updates, data, tmp_path):
    """Killed in the copying to checkpoint_best.pt; what is not the best is not put there."""
    save = tmp_path / "a run"
    checkpoint(save / "checkpoint_best.pt", 2, 1.5)
    checkpoint(save / "checkpoint_1_4.pt", 4, loss)
    if updates == 4:
        best = save / "checkpoint_best.pt"
        best.write_bytes(best.read_bytes()[:500])
    said = script("train.sh", data, save, *ARCH, DEVICE="cpu")
    assert "has its 4 updates already" in said
    assert updates_of(save / "checkpoint_best.pt") == updates
    assert updates_of(save / "checkpoint_last.pt") == 4
    assert not list(save.glob("*.part"))
    assert "already there, skipped" in script("train.sh", data, save, *ARCH, DEVICE="cpu")


def begun(save: Path, *options: str, data: Path) -> None:
    """Train in a folder that has its updates already: what it was begun with is written down."""
    checkpoint(save / "checkpoint_last.pt", 4, 2.0)
    script("train.sh", data, save, *ARCH, *options, DEVICE="cpu")


def test_a_training_that_goes_on_may_save_at_other_intervals_and_nothing_else(data, tmp_path):
    often = ["--save-interval-updates", "1", "--validate-interval-updates=1", "--seed", "1"]
    begun(tmp_path / "run", *often, data=data)
    call = ["--save-interval-updates=5", "--validate-interval-updates", "5", "--seed", "1"]
    said = script("train.sh", data, tmp_path / "run", *ARCH, *call, DEVICE="cpu")
    assert "already there, skipped" in said
    other = [*call, "--dropout", "0.1", "--max-update", "5"]
    error = script("train.sh", data, tmp_path / "run", *ARCH, *other, DEVICE="cpu", fails=True)
    assert (
        "begun with other options: it had fewer options, now --dropout 0.1; give the old ones, or"
        in error
    )


def test_another_corpus_of_the_same_name_is_another_training(data, tmp_path):
    run, dictionary = tmp_path / "run", data / "dict.de.txt"
    begun(run, data=data)
    before = dictionary.read_text()
    dictionary.write_text("another corpus")
    error = script("train.sh", data, run, *ARCH, DEVICE="cpu", fails=True)
    assert "begun with other options: it had content of the corpus " in error
    dictionary.write_text(before)
    assert "already there, skipped" in script("train.sh", data, run, *ARCH, DEVICE="cpu")
    # The first releases did not note the corpus.
    steps = json.loads((run / "steps.json").read_text())
    del steps["train"]["made_from"]["content of the corpus"]
    (run / "steps.json").write_text(json.dumps(steps))
    assert "already there, skipped" in script("train.sh", data, run, *ARCH, DEVICE="cpu")


def test_another_start_of_the_same_name_is_another_training(data, tmp_path):
    run, start = tmp_path / "run", tmp_path / "start.pt"
    start.write_text("a model")
    options = "--finetune-from-model", str(start)
    begun(run, *options, data=data)
    start.write_text("another model")
    error = script("train.sh", data, run, *ARCH, *options, DEVICE="cpu", fails=True)
    assert "begun with other options: it had content of --finetune-from-model " in error
    start.unlink()  # once begun, it is not needed
    assert "already there, skipped" in script("train.sh", data, run, *ARCH, *options, DEVICE="cpu")


def test_a_corpus_of_other_languages_is_refused(data, tmp_path):
    facts = json.loads((data / "corpus.json").read_text())
    (data / "corpus.json").write_text(json.dumps({**facts, "source": "en", "target": "de"}))
    call = ["--data", data, "--out", tmp_path / "run", "--dry-run"]
    error = script("tatoeba.de-en.sh", *call, DEVICE="cpu", fails=True)
    assert "is en-de and this recipe de-en; give another --data, or take recipes/own.sh" in error


def test_a_copied_run_goes_on_from_the_most_updates(data, tmp_path):
    """Copied, the older checkpoint may be the later file."""
    save = tmp_path / "a run"
    checkpoint(save / "checkpoint_1_4.pt", 4, 1.7)
    checkpoint(save / "checkpoint_1_2.pt", 2, 1.5)
    os.utime(save / "checkpoint_1_4.pt", (1, 1))
    assert "has its 4 updates" in script("train.sh", data, save, *ARCH, DEVICE="cpu")


def test_a_refused_call_leaves_the_commands_of_the_one_before(data, tmp_path):
    run = tmp_path / "run"
    begun(run, "--other", "options", data=data)
    (run / "commands.sh").write_text("the commands\n")
    call = ["--data", data, "--out", run, "--max-update", "5"]
    error = script("iwslt14.de-en.sh", *call, DEVICE="cpu", fails=True)
    assert "begun with other options" in error
    assert (run / "commands.sh").read_text() == "the commands\n"


@pytest.mark.parametrize(
    "option, words",
    [
        (["--seed", "2"], "before --"),
        (["--arch=transformer"], "--arch to recipes/own.sh"),
        (["--tokens-per-update", "40009"], "such as 40010"),
        (["--log-format", "simple"], "leave it out"),
        (["--log-format=none"], "leave it out"),
        (["--disable-validation"], "--validate-interval-updates N"),
    ],
)
def test_options_without_which_there_is_no_report_are_refused_before_anything(option, words):
    error = script("iwslt14.de-en.sh", "--dry-run", "--", *option, DEVICE="cpu", fails=True)
    assert len(error.splitlines()) == 1 and option[0].split("=")[0] in error and words in error
    script("iwslt14.de-en.sh", "--dry-run", "--", "--log-format", "json", DEVICE="cpu")


def test_what_would_fail_after_the_training_fails_before(data, tmp_path):
    call = ["--data", data, "--out"]
    error = script("iwslt14.de-en.sh", *call, tmp_path / "at 10:30", DEVICE="cpu", fails=True)
    assert "at 10:30: fairseq takes ':' for the end of a path; rename it" in error
    error = script("iwslt14.de-en.sh", *call, tmp_path / "run", SPLIT="dev", fails=True)
    assert "SPLIT=dev: choose valid or test" in error
    error = script("iwslt14.de-en.sh", *call, tmp_path / "run", SPLIT="valid", fails=True)
    assert f"there is no {data}/valid.de-en.en.idx" in error


def test_the_second_machine_may_be_the_first_to_start(data, tmp_path):
    nodes = {"NNODES": "2", "NODE_RANK": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    run = tmp_path / "new" / "run"
    call = ["bash", ROOT / "recipes" / "iwslt14.de-en.sh", "--data", data, "--out", run]
    with subprocess.Popen(
        call, env=environment(DEVICE="cpu", **nodes), start_new_session=True
    ) as process:
        while not (run / "train.node1.log").exists():
            assert process.poll() is None
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGKILL)  # it waits for the first


def test_a_dry_run_scores_a_corpus_without_corpus_json(data, tmp_path):
    (data / "corpus.json").unlink()
    (data / "test.de-en.de.idx").touch()
    said = script("evaluate.sh", data, "x.pt", tmp_path / "out", DEVICE="cpu", DRY_RUN="1")
    assert said.startswith("fairseq-generate ") and "--source-lang de" in said


def test_a_dry_run_of_staged_keeps_what_has_diverged(data, tmp_path):
    mark = tmp_path / "low_rank-30-staged.seed1" / "diverged"
    mark.parent.mkdir()
    mark.write_text("another call\n")
    call = ["--only", mark.parent.name, "--data", data, "--out", tmp_path, "--dry-run"]
    assert "fairseq-train " in script("staged.sh", *call, DEVICE="cpu")
    assert mark.exists()
