"""The recipes' pieces as the quickstart uses them: prepare, train, evaluate, report."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from fairseq.data import Dictionary
from fairseq.data.data_utils import load_indexed_dataset

import shapeshifter_fairseq.models  # noqa: F401  (registers the architectures)
from recipes.results import examples, read_result, report, write_result
from shapeshifter_fairseq.corpus import Corpus
from shapeshifter_fairseq.factorizations import FAMILIES
from shapeshifter_fairseq.fairseq_side.counting import count
from tests.data_prep.scripts import prepare
from tests.test_prepare_localisation import wheels  # noqa: F401  (a fixture)

from .conftest import ROOT, SMALL, TRAINING
from .test_experiments import commands_of, environment
from .test_experiments import script as script_anywhere

SETTING = [*SMALL, *TRAINING, "--no-epoch-checkpoints", "--save-interval-updates", "2"]
# The made-up corpus holds a few dozen sentences; by default fairseq drops a batch that is no
# multiple of 8.
SETTING += ["--required-batch-size-multiple", "1"]


script = partial(script_anywhere, DEVICE="cpu")


@pytest.fixture(scope="module")
def data(wheels, tmp_path_factory) -> Path:  # noqa: F811
    folder = tmp_path_factory.mktemp("recipe data")
    where = ["--work", folder / "work", "--dest", folder / "bin", "--vocab-size", "120"]
    assert prepare("localisation", "de", "en", "--from", wheels, *where).status == 0
    return folder / "bin"


@pytest.fixture(scope="module")
def runs(data, tmp_path_factory) -> Path:
    """A dense and a factorized model, trained for 4 updates."""
    folder = tmp_path_factory.mktemp("recipe runs")
    script("train.sh", data, folder / "ours", *SETTING, "--max-update", "4")
    dense = [*SETTING, "--max-update", "4", "--factor-plan=*=dense"]
    script("train.sh", data, folder / "dense", *dense)
    return folder


def test_finished_training_is_not_repeated(data, runs):
    checkpoint = runs / "ours" / "checkpoint_last.pt"
    before = checkpoint.stat().st_mtime_ns
    said = script("train.sh", data, runs / "ours", *SETTING, "--max-update", "4")
    assert "skipped" in said and checkpoint.stat().st_mtime_ns == before


def test_training_goes_on_past_a_checkpoint_that_was_cut_off(data, tmp_path):
    save = tmp_path / "a run"
    script("train.sh", data, save, *SETTING, "--max-update", "4")
    last = save / "checkpoint_last.pt"
    last.write_bytes(last.read_bytes()[:5000])  # killed while fairseq copied it
    script("train.sh", data, save, *SETTING, "--max-update", "6")
    log = (save / "train.log").read_text()
    assert "(epoch" in log and "@ 4 updates)" in log.split("=== train")[2]
    assert '"num_updates": "6"' in log and '"num_updates": "1"' not in log.split("=== train")[2]


def test_training_goes_on_with_other_batches_on_a_device(data, tmp_path):
    save, call = tmp_path / "a run", [*SETTING, "--tokens-per-update", "512"]
    script("train.sh", data, save, *call, "--max-update", "2", "--max-tokens", "256")
    call += ["--max-update", "4"]
    said = script("train.sh", data, save, *call, "--max-tokens", "512")
    assert "other batches on a device than before, so the epoch begins again" in said
    said = script("train.sh", data, save, *call[:-1], "6", "--max-tokens", "512")
    assert "begins again" not in said
    last = torch.load(save / "checkpoint_last.pt", weights_only=True)
    assert last["optimizer_history"][-1]["num_updates"] == 6


def test_evaluate_and_report(data, runs):
    for model in ("dense", "ours"):
        script("evaluate.sh", data, runs / model / "checkpoint_best.pt", runs / model)
        hypotheses = (runs / model / "hypotheses.txt").read_text().splitlines()
        references = (data / "raw" / "test.en").read_text().splitlines()
        assert len(hypotheses) == len(references)
    scores = json.loads((runs / "ours" / "scores.json").read_text())
    assert {score["name"] for score in scores} == {"BLEU", "chrF2"}
    said = script("evaluate.sh", data, runs / "ours" / "checkpoint_best.pt", runs / "ours")
    assert "skipped" in said

    # What the quickstart prints.
    results, corpus = {}, Corpus.read(data)
    folders = {"Dense": runs / "dense", "Ours": runs / "ours"}
    for name, run in folders.items():
        write_result(run, data, corpus, "two models", name, run / "checkpoint_best.pt")
        results[name] = read_result(run)
    assert results["Ours"]["parameters"] < results["Dense"]["parameters"]
    assert results["Ours"]["updates"] == 4
    text = report(results, examples(data, corpus, folders, "test"))
    share = 100 * results["Ours"]["parameters"] / results["Dense"]["parameters"]
    assert f"({share:.1f}%)" in text
    assert text.count("| Ours ") == text.count("| Dense ") > 1  # in the table, and in the examples


def test_a_teachers_translations_become_the_training_set(data, runs, tmp_path):
    distil = partial(script, "distil.sh", SHARD="60")
    teacher, out = runs / "dense" / "checkpoint_last.pt", tmp_path / "taught data"
    options = ["--max-len-a", "0", "--max-len-b", "8", "--beam", "2", "--batch-size", "4"]

    # Killed after the first translations: they are not made again.
    command = ["bash", ROOT / "recipes" / "distil.sh", data, teacher, out, *options]
    work = tmp_path / "taught data.teacher"
    how = {"env": environment(DEVICE="cpu", SHARD="60"), "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, start_new_session=True, **how) as killed:
        while not (work / "shard1.log").exists():
            assert killed.poll() is None
            time.sleep(0.02)
        os.killpg(killed.pid, signal.SIGKILL)
    assert not out.exists()
    (work / "shard9999.txt").write_text("S-0\ts1\nH-0\t0\ts1\n")  # of a call with another SHARD
    said = distil(data, teacher, out, *options)
    assert "teach 0: already there, skipped" in said and "taught by" in said
    assert not work.exists()

    # What fairseq makes of it in one go.
    generate = [sys.executable, "-m", "fairseq_cli.generate", data, "--path", teacher, "--cpu"]
    generate += ["--user-dir", ROOT / "shapeshifter_fairseq", "--gen-subset", "train"]
    generate += ["--required-batch-size-multiple", "1", *options]
    made = subprocess.run(generate, capture_output=True, text=True, check=True, timeout=300).stdout
    expected = dict(re.findall(r"^H-(\d+)\t\S+\t(.*)$", made, re.MULTILINE))

    def sentences(folder: Path, split: str, side: str) -> list[str]:
        dictionary = Dictionary.load(str(folder / f"dict.{side}.txt"))
        path = str(folder / f"{split}.de-en.{side}")
        return [dictionary.string(words) for words in load_indexed_dataset(path, dictionary)]

    assert len(expected) > 40
    assert sentences(out, "train", "en") == [expected[str(n)] for n in range(len(expected))]
    for split, side in (("train", "de"), ("valid", "de"), ("valid", "en"), ("test", "en")):
        assert sentences(out, split, side) == sentences(data, split, side)
    assert (out / "raw" / "test.en").read_text() == (data / "raw" / "test.en").read_text()
    assert Corpus.read(out).sentences["train"] == len(sentences(out, "train", "en"))

    said = distil(data, teacher, out, *options)
    assert "skipped" in said
    error = distil(data, teacher, data, *options, fails=True)
    assert f"{data} is DATA itself" in error
    error = distil(data, teacher, runs, *options, fails=True)
    assert f"{runs} exists and was not made by this script" in error
    script("train.sh", out, tmp_path / "pupil", *SETTING, "--max-update", "1")
    assert (tmp_path / "pupil" / "checkpoint_last.pt").exists()


def test_families_are_trained_scored_and_compared(data, tmp_path):
    out = tmp_path / "two families"
    small = "--encoder-layers 1 --decoder-layers 1 --layer-rank 2 --embed-rank 4 --log-interval 1"
    where = ["--max-update", "4", "--data", data, "--out", out]
    only = ["low_rank", "monarch", "--", *small.split(), "--required-batch-size-multiple", "1"]
    said = script("families.sh", *where, *only)
    rows = [line for line in said.splitlines() if line.startswith(("| low_rank", "| monarch"))]
    assert len(rows) == 2 and all(row in (out / "compare.md").read_text() for row in rows)
    plots = {path.stem for path in out.glob("*.png")}
    assert plots == {"validation", "seconds", "bleu", "parameters"}
    for name in ("low_rank", "monarch"):
        result = json.loads((out / f"{name}.seed1" / "result.json").read_text())
        assert (result["model"], result["updates"], result["split"]) == (name, 4, "valid")
        assert result["checkpoint"] == "checkpoint_best.pt" and result["averaged"] == []
        assert 0 < result["last_training_nll"] < 20
        assert [point["updates"] for point in result["validation"]] == [1, 2, 3, 4]
        assert result["seconds"]["training"] > 0 and "BLEU" in result["scores"]
    said = script("families.sh", *where, *only)
    for step in ("train", "evaluate", "report"):
        assert said.count(f"{step}: already there, skipped") == 2


def test_all_families_have_about_equal_parameters():
    said = script("families.sh", "--dry-run")
    totals = {}
    for words in commands_of(said):
        if words[0] == "fairseq-train":
            given = words[words.index("--save-dir") :]
            name = Path(given[1]).name.partition(".")[0]
            totals[name] = count("shapeshifter_transformer_tiny", 2000, 2000, True, given)["total"]
    dense = totals.pop("dense")
    assert set(totals) == set(FAMILIES)
    assert max(totals.values()) <= 1.03 * min(totals.values()) <= 1.03 * 0.2 * dense


def test_the_sizes_of_staged_are_what_their_names_say():
    said = script("staged.sh", "--dry-run", "--seeds", "1")
    trained = [words for words in commands_of(said) if "--save-dir" in words]
    assert len(trained) == 1 + 9 * 3
    for words in trained[1:]:
        given = words[words.index("--save-dir") :]
        name = Path(given[1]).name
        model = [word for word in given if word != "--cpu"]
        if "-staged" in name:
            at = model.index("--stage-updates")
            assert model[at : at + 2] == ["--stage-updates", "13"]
            del model[at : at + 2]  # the same model, from the start
        counts = count("shapeshifter_transformer_tiny", 2000, 2000, True, model)
        assert counts["percent"] == pytest.approx(int(name.split("-")[1]), abs=1.5), name
        assert name.split("-")[0] in given[given.index("--factorization") + 1]


def test_staged_trains_and_scores_a_run(data, runs, tmp_path):
    out = tmp_path / "staged here"
    dense = runs / "dense" / "checkpoint_best.pt"
    call = ["--only", "low_rank-30-staged.seed2", "--dense", dense, "--data", data, "--out", out]
    call += ["--max-update", "6", "--stage-updates", "1", "--beam", "1"]
    call += ["--", *SMALL, "--log-interval", "1", "--required-batch-size-multiple", "1"]
    script("staged.sh", *call)
    run = out / "low_rank-30-staged.seed2"
    result = json.loads((run / "result.json").read_text())
    assert (result["model"], result["seed"]) == ("low_rank, 30%, staged", 2)
    assert (result["updates"], result["checkpoint"]) == (6, "checkpoint_best.pt")
    assert "BLEU" in result["scores"]
    assert "stage 5 of 5 at update 4" in (run / "train.log").read_text()
    said = script("staged.sh", *call)
    assert "train: already there, skipped" in said and "evaluate: already there" in said


def test_what_has_diverged_is_a_result_and_is_tried_again_with_other_options_only(data, tmp_path):
    call = ["--only", "low_rank-30-scratch.seed1", "--data", data, "--out", tmp_path]
    call += ["--scratch-updates", "4"]
    more = ["--", *SMALL, "--required-batch-size-multiple", "1", "--clip-norm", "0", "--lr"]
    more += ["1e30", "--warmup-updates", "0"]
    said = script("staged.sh", *call, *more)
    assert "has diverged, which counts as failed" in said
    said = script("staged.sh", *call, *more)
    assert "has diverged, skipped" in said and "counts as failed" not in said
    # It made a checkpoint, which is not mixed with another training.
    other = [*call, *more, "--log-interval", "1"]
    error = script("staged.sh", *other, fails=True)
    assert "begun with other options: it had fewer options, now --log-interval 1" in error
    run = tmp_path / "low_rank-30-scratch.seed1"
    for path in run.glob("checkpoint*"):
        path.unlink()
    said = script("staged.sh", *other)
    assert "counts as failed" in said
    assert (run / "train.log").read_text().count("\n=== train") == 2


def test_distil_refuses_a_folder_with_other_files(data, runs, tmp_path):
    """The folder of the translations is deleted in the end."""
    teachers = tmp_path / "taught.teacher"
    shutil.copytree(runs / "dense", teachers)
    error = script(
        "distil.sh", data, teachers / "checkpoint_last.pt", tmp_path / "taught", fails=True
    )
    assert f"{teachers}, where the translations are until they are done, holds " in error
    assert (teachers / "checkpoint_last.pt").exists() and not (tmp_path / "taught").exists()
    teacher = runs / "dense" / "checkpoint_last.pt"
    error = script("distil.sh", data, teacher, data / "taught", fails=True)
    assert "is inside DATA; choose another folder" in error


def test_deploy(data, runs, tmp_path):
    """Fold, convert, compare, translate standard input; again, and nothing is made anew."""
    # CTranslate2 never expects the padding token; fairseq leaves it its share of the probability,
    # which after four updates is large enough to make long translations look worse.
    out = tmp_path / "deployed here"
    deploy = partial(script, "deploy.sh", runs / "ours" / "checkpoint_best.pt", out, BEAM="1")
    said = deploy()
    rows = json.loads((out / "deploy.json").read_text())
    assert list(rows) == ["fairseq, factors", "CTranslate2, float32", "CTranslate2, int8"]
    sentences = (data / "raw" / "test.de").read_text().splitlines()
    assert rows["CTranslate2, float32"]["other"] == 0
    float32, int8 = (rows[f"CTranslate2, {name}"]["bytes"] for name in ("float32", "int8"))
    assert int8 < float32 and "| CTranslate2, int8" in (out / "deploy.md").read_text()
    command = shlex.split(said.splitlines()[-1].partition("<input.txt")[0])
    text = "".join(f"{sentence}\n" for sentence in sentences)
    for name in ("float32", "int8"):
        call = [*command[:-1], str(out / name), "--beam", "1"]
        done = subprocess.run(call, input=text, capture_output=True, text=True, check=True)
        assert done.stdout == (out / f"{name}.txt").read_text()
    # Neither fairseq nor torch is needed for it.
    without = "import sys; sys.modules['torch'] = sys.modules['fairseq'] = None; "
    without += "from shapeshifter_fairseq.cli import main; sys.exit(main(sys.argv[1:]))"
    call = [sys.executable, "-c", without, "translate", str(out / "int8"), "--beam", "1"]
    done = subprocess.run(call, input=text, capture_output=True, text=True, check=True)
    assert done.stdout == (out / "int8.txt").read_text()

    # What was made belongs to a corpus, not to its folder; other sentences change the table alone.
    other = shutil.copytree(data, tmp_path / "moved")
    times = {path: path.stat().st_mtime_ns for path in out.glob("*")}
    for changed in ([], ["deploy.json", "deploy.md", "float32.txt", "int8.txt", "fairseq"]):
        if changed:
            raw = other / "raw" / "test.en"
            raw.write_text(raw.read_text().replace("the", "no"))
        deploy(DATA=str(other))
        found = {path.name for path in times if path.stat().st_mtime_ns != times[path]}
        assert found - {"steps.json", "steps.log", "lock"} == set(changed)


def test_a_model_against_the_direction_of_its_corpus(data, tmp_path):
    """The corpus is German-English, the model translates English."""
    way = ["--source-lang", "en", "--target-lang", "de"]
    script("train.sh", data, tmp_path, *SETTING, *way, "--max-update", "1")
    best, out = tmp_path / "checkpoint_best.pt", tmp_path / "scored"
    script("evaluate.sh", data, best, out)
    targets = re.findall(r"^T-\d+\t(.*)$", (out / "generate.log").read_text(), re.MULTILINE)
    assert set(targets) == set((data / "raw" / "test.de").read_text().splitlines())
    script("deploy.sh", best, BEAM="1")
    facts = json.loads((tmp_path / "deployed" / "int8" / "corpus.json").read_text())
    assert (facts["source"], facts["target"]) == ("en", "de")
    before = (out / "scores.json").read_text()
    script("evaluate.sh", data, best, out, "--no-such-option", fails=True)
    assert (out / "scores.json").read_text() == before
    state = torch.load(best, weights_only=True)
    state["cfg"]["task"]["data"] = "elsewhere"
    torch.save(state, best)
    error = script("deploy.sh", best, fails=True)
    assert "was trained on elsewhere, which is not there now: set DATA" in error


def test_a_dense_model_of_fairseqs_is_not_translated_before_it_is_refused(data, tmp_path):
    theirs = ["--arch", "transformer_tiny", "--required-batch-size-multiple", "1"]
    script("train.sh", data, tmp_path, *theirs, "--max-update", "1")
    error = script("deploy.sh", tmp_path / "checkpoint_last.pt", fails=True)
    assert "is dense already (--arch transformer_tiny): nothing to fold" in error
    assert not list(tmp_path.glob("deployed/*/generate.log"))


@pytest.mark.parametrize(
    "call, words",
    [
        ("train nowhere save --max-update 1", "no folder nowhere"),
        ("train nowhere save", "--max-update N is needed"),
        ("train nowhere /proc/no/save --max-update 1", "nothing can be written in /proc/no/save"),
        ("train", "required: DATA, SAVE_DIR"),
        ("train no save --max-update 1 --wandb-project x", "pip install wandb, or leave --wandb-"),
        ("evaluate nowhere x.pt out", "no folder nowhere"),
        ("evaluate nowhere", "CHECKPOINT"),
        ("quickstart --fast", "unrecognized arguments: --fast"),
        ("families lowrank", "no family 'lowrank'; known: dense kronecker low_rank"),
        ("families --max-update few", "--max-update: 'few' is not a whole number of at least 1"),
        ("families --layer-rank 3", "come after --"),
        ("families -- --seed 7", "--seed after --: the script sets it"),
        ("families --out a:b --dry-run", "a:b/dense.seed1: fairseq takes ':' for the end of a"),
        ("staged -- --max-update=5", "--max-update after --: the script sets it"),
        ("staged -- --criterion nat_loss", "a report needs its nll_loss; choose label_smoothed"),
        ("table multi30k.en-de -- -a transformer", "-a after --: the script sets it"),
        ("table install --dry-run", "there is no recipes/install.sh"),
        ("staged phm", "no family 'phm' here; known: low_rank monarch kronecker"),
        ("staged --max-update 0", "--max-update: '0' is not a whole number of at least 1"),
        ("staged --sizes 50,20", "'20' is not 50, 30 or 15"),
        ("staged --only low_rank-50.seed1", "there is no run 'low_rank-50.seed1'"),
        ("distil data model.pt", "required: OUT"),
        ("distil /nowhere model.pt out", "there is no folder /nowhere"),
        ("deploy", "CHECKPOINT"),
        ("deploy nowhere.pt", "no checkpoint nowhere.pt"),
        ("deploy at:10.pt", "at:10.pt: fairseq takes ':' for the end of a path; rename it"),
    ],
)
def test_wrong_calls_are_one_line(call, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the lock of the folder "save" stays there
    Path("at:10.pt").touch()
    name, *arguments = call.split()
    error = script(f"{name}.sh", *arguments, fails=True)
    assert error.startswith(f"{name}.sh: error: ")
    assert len(error.splitlines()) == 1 and words in error


def test_a_mistake_in_an_option_reaches_the_screen(data, tmp_path):
    options = [*SETTING, "--max-update", "1", "--layer-rank", "0"]
    error = script("train.sh", data, tmp_path / "save", *options, fails=True)
    assert "--layer-rank 0" in error and "Traceback" not in error
