"""What the recipes make of folders that other calls left; these are made up, nothing trains."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.end_to_end.test_experiments import script

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
    for name in ("dict.de.txt", "dict.en.txt", "test.de-en.de.bin", "sentencepiece.bpe.model"):
        (folder / name).write_text(name)
    (folder / "raw" / "test.en").write_text("a b c d e\nf g h i j\n")
    facts = {"source": "de", "target": "en", "subwords": "sentencepiece"}
    facts |= {"tokenizer": None, "lowercased": False}
    (folder / "corpus.json").write_text(json.dumps(facts))
    return folder


# In place of the Python: what takes long is told, not done.
STAND_IN = f"""#!/bin/sh
case "$1 $2" in
  "-m fairseq_cli.generate") printf 'D-0\\t-1\\ta b c d e\\nD-1\\t-1\\tx y\\n' ;;
  "-m fairseq_cli.train")
    echo 'FloatingPointError: gradients are Nan/Inf'
    exit 1
    ;;
  "-m shapeshifter_fairseq") echo fold >>"$TOLD" && : >"$5" ;;
  "-m ctranslate2.converters.fairseq")
    while [ "$1" != --output_dir ]; do shift; done
    mkdir "$2"
    ;;
  *deploy.py\\ table)
    echo table >>"$TOLD"
    echo a table >"$3/deploy.md"
    ;;
  *) exec '{sys.executable}' "$@" ;;
esac
"""


@pytest.fixture
def stand_in(tmp_path: Path) -> dict[str, str]:
    """Variables with which the scripts use it."""
    path = tmp_path / "python"
    path.write_text(STAND_IN)
    path.chmod(0o755)
    return {"PYTHON": str(path), "TOLD": str(tmp_path / "told"), "DEVICE": "cpu"}


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


def test_a_training_that_goes_on_may_save_at_other_intervals_and_nothing_else(data, tmp_path):
    save = tmp_path / "run"
    checkpoint(save / "checkpoint_last.pt", 4, 2.0)
    often = "the data --arch x --save-interval-updates 1 --validate-interval-updates=1 --seed 1"
    (save / "begun").write_text(f"{often} --max-tokens 4096\n")
    call = ["--save-interval-updates=5", "--validate-interval-updates", "5", "--seed", "1"]
    said = script("train.sh", data, save, *ARCH, *call, DEVICE="cpu")
    assert "has its 4 updates already" in said
    other = [*call, "--dropout", "0.1", "--max-update", "5"]
    error = script("train.sh", data, save, *ARCH, *other, DEVICE="cpu", fails=True)
    assert "begun with other options" in error


def test_a_refused_call_leaves_the_commands_of_the_one_before(data, tmp_path):
    run = tmp_path / "run"
    checkpoint(run / "checkpoint_last.pt", 4, 2.0)
    (run / "begun").write_text("other options\n")
    (run / "commands.sh").write_text("the commands\n")
    call = ["--data", data, "--out", run, "--max-update", "5"]
    error = script("iwslt14.de-en.sh", *call, DEVICE="cpu", fails=True)
    assert "begun with other options" in error
    assert (run / "commands.sh").read_text() == "the commands\n"


@pytest.mark.parametrize(
    "option, words",
    [
        (["--log-format", "simple"], "leave it out"),
        (["--log-format=none"], "leave it out"),
        (["--disable-validation"], "--validate-interval-updates N"),
    ],
)
def test_options_without_which_there_is_no_report_are_refused_before_anything(option, words):
    error = script("iwslt14.de-en.sh", "--dry-run", "--", *option, DEVICE="cpu", fails=True)
    assert len(error.splitlines()) == 1 and option[0].split("=")[0] in error and words in error
    script("iwslt14.de-en.sh", "--dry-run", "--", "--log-format", "json", DEVICE="cpu")


def test_scores_are_those_of_the_corpus_not_of_its_folder(data, stand_in, tmp_path):
    model, out = tmp_path / "x.pt", tmp_path / "out"
    model.write_text("a model")

    def bleu(corpus: Path) -> tuple[bool, float]:
        said = script("evaluate.sh", corpus, model, out, **stand_in)
        scores = json.loads((out / "scores.json").read_text())
        return "skipped" in said, next(s["score"] for s in scores if s["name"] == "BLEU")

    other = shutil.copytree(data, tmp_path / "other")
    (other / "raw" / "test.en").write_text("a b c d e\nx y\n")
    skipped, low = bleu(data)
    assert not skipped
    skipped, high = bleu(other)
    assert not skipped and high > low
    assert bleu(other.rename(tmp_path / "moved")) == (True, high)


def test_deployed_models_belong_to_their_corpus(data, stand_in, tmp_path):
    model, out, told = tmp_path / "x.pt", tmp_path / "out", Path(stand_in["TOLD"])
    model.write_text("a model")

    def made(corpus: Path) -> list[str]:
        told.write_text("")
        script("deploy.sh", model, out, DATA=str(corpus), **stand_in)
        return told.read_text().split()

    assert made(data) == ["fold", "table"]
    assert (out / "int8" / "sentencepiece.bpe.model").exists()
    data = data.rename(tmp_path / "moved")
    assert made(data) == []
    (data / "raw" / "test.en").write_text("a b c d e\nx y\n")
    assert made(data) == ["table"]
    (data / "sentencepiece.bpe.model").write_text("another")
    assert made(data) == ["fold", "table"]


def test_a_dry_run_scores_a_corpus_without_corpus_json(data, tmp_path):
    (data / "corpus.json").unlink()
    (data / "test.de-en.de.idx").touch()
    said = script("evaluate.sh", data, "x.pt", tmp_path / "out", DEVICE="cpu", DRY_RUN="1")
    assert said.startswith("fairseq-generate ") and "--source-lang de" in said


def test_what_has_diverged_is_tried_again_with_other_options_only(data, stand_in, tmp_path):
    run = tmp_path / "out" / "low_rank-30-at-once.seed1"
    call = ["--only", run.name, "--data", data, "--out", run.parent]
    assert "counts as failed" in script("staged.sh", *call, **stand_in)
    assert "has diverged, skipped" in script("staged.sh", *call, **stand_in)
    call += ["--lr", "1e-4"]
    assert "counts as failed" in script("staged.sh", *call, **stand_in)
    assert (run / "train.log").read_text().count("\n=== train") == 2
    # The one before made a checkpoint: not to be mixed, and no result of the third call.
    checkpoint(run / "checkpoint_last.pt", 4, 2.0)
    error = script("staged.sh", *call, "--updates", "9", fails=True, **stand_in)
    assert "begun with other options" in error
    assert "has diverged, skipped" in script("staged.sh", *call, **stand_in)


def test_a_dry_run_of_staged_keeps_what_has_diverged(data, tmp_path):
    mark = tmp_path / "low_rank-30-staged.seed1" / "diverged"
    mark.parent.mkdir()
    mark.write_text("another call\n")
    call = ["--only", mark.parent.name, "--data", data, "--out", tmp_path, "--dry-run"]
    assert "fairseq-train " in script("staged.sh", *call, DEVICE="cpu")
    assert mark.exists()


REPORT = """
import sys
from pathlib import Path
import result
seconds, beam = result._translation(Path(sys.argv[1]))
facts = {"recipe": "r", "model": "m", "averaged": [], "checkpoint": "c.pt", "split": "valid"}
facts |= {"parameters": 9, "updates": 4, "seed": 1, "machine": "one", "git": None}
facts |= {"seconds": {"training": 60}, "beam": beam, "scores": {}}
facts |= {"validation": [{"updates": 4, "nll_loss": 2.0}]}
print(seconds, result._markdown(facts, []))
"""


def test_the_report_names_the_beam_of_the_translations(tmp_path):
    log = tmp_path / "generate.log"
    log.write_text(
        "... | Translated 9 sentences (80 tokens) in 1.5s (6.00 sentences/s, 53.33 tokens/s)\n"
        "Generate valid with beam=1: BLEU4 = 12.00, 40.0/20.0/10.0/5.0\n"
    )
    # In a process of its own: benchmarks/ has a report.py too.
    recipes = Path(__file__).resolve().parents[1] / "recipes"
    command, where = (
        [sys.executable, "-c", REPORT, log],
        os.pathsep.join([str(recipes), str(recipes.parent)]),
    )
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": where}, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("1.5 ") and "c.pt, beam 1." in done.stdout
