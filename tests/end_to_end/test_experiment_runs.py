"""Recipes run to their report on small corpora, whole, killed, and on two processes."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import sacrebleu
import torch

import shapeshifter_fairseq.models  # noqa: F401  (lets checkpoints load weights-only)
from tests.data_prep import made_up
from tests.data_prep.scripts import prepare

from .conftest import ROOT, call
from .test_experiments import environment, script
from .test_training import NEEDS_CUDA

TEST = made_up.MULTI30K["test_2016_flickr"]  # no multiple of 8: none may be lost

# After --: a model that trains in seconds, with every kind of matrix.
TINY = (
    "--encoder-layers 1 --decoder-layers 1 --encoder-embed-dim 64 --encoder-ffn-embed-dim 64 "
    "--decoder-embed-dim 64 --decoder-ffn-embed-dim 64 --encoder-attention-heads 4 "
    "--decoder-attention-heads 4 --layer-rank 8 --embed-rank 16 --warmup-updates 20 --lr 5e-3 "
    "--dropout 0 --tokens-per-update 600 --num-workers 0 --log-interval 1"
).split()


def run_words(data: Path, out: Path, updates: int, *more: str) -> list[str]:
    where = ["--data", str(data), "--out", str(out), "--max-update", str(updates)]
    return [*where, "--", *TINY, *more]


def learning(data: Path, out: Path) -> list[str]:
    """Long enough to translate a little."""
    return run_words(data, out, 200, "--save-interval-updates=10", "--validate-interval-updates=10")


def prepared(name: str, write: Callable[[Path], None], work: Path, *options: str) -> Path:
    """What data-prep/ makes of made-up raw files."""
    write(work / "raw")
    where = ["--from", work / "raw", "--work", work / "work", "--dest", work / "the data"]
    assert prepare(name, *options, *where).status == 0
    return work / "the data"


@pytest.fixture(scope="session")
def moses_data(tmp_path_factory) -> Path:
    """Tokenised and lowercased, with byte-pair encoding."""
    work = tmp_path_factory.mktemp("multi30k")
    return prepared("multi30k", made_up.multi30k, work, "--vocab-size", "60")


@pytest.fixture(scope="session")
def sentencepiece_data(tmp_path_factory) -> Path:
    """SentencePiece on plain text."""
    work = tmp_path_factory.mktemp("wmt18")
    return prepared("wmt18", made_up.wmt16, work, "--vocab-size", "85")


def in_words_of(data: Path, out: Path, source: str, target: str) -> Path:
    """A copy of a corpus from en to de under the languages of a recipe."""
    names = {"en-de": f"{source}-{target}", "en": source, "de": target}
    for path in data.rglob("*"):
        if path.is_file():
            words = [names.get(word, word) for word in path.name.split(".")]
            copy = out / path.relative_to(data).with_name(".".join(words))
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
    corpus = json.loads((out / "corpus.json").read_text("utf-8"))
    corpus |= {"source": source, "target": target}
    (out / "corpus.json").write_text(json.dumps(corpus), encoding="utf-8")
    return out


def result_of(run: Path) -> dict:
    return json.loads((run / "result.json").read_text(encoding="utf-8"))


def without_times(result: dict) -> dict:
    points = [{**point, "seconds": None} for point in result["validation"]]
    return {**result, "seconds": None, "validation": points}


def lines_of(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def test_multi30k_to_its_report_whole_and_killed_at_four_moments(moses_data, tmp_path):
    whole, killed = tmp_path / "a whole run", tmp_path / "a killed run"
    script("multi30k.en-de.sh", *learning(moses_data, whole), DEVICE="cpu")
    result = result_of(whole)

    # What a result says.
    assert result["recipe"] == "multi30k.en-de" and result["model"] == "shapeshifter"
    assert (result["seed"], result["updates"], result["split"]) == (1, 200, "test")
    # How it was trained: options of the papers, of the recipe and of the user, and no folders.
    options = {"--adam-betas": "(0.9, 0.98)", "--update-freq": "1", "--max-update": "200"}
    options |= {"--lr": "5e-3", "--layer-rank": "8", "--save-interval-updates": "10"}
    assert result["options"].items() >= options.items()
    assert not [value for value in result["options"].values() if str(tmp_path) in value]
    state = torch.load(whole / "averaged.pt", weights_only=True)
    assert len(result["averaged"]) == 10 and result["averaged"] == state["extra_state"]["averaged"]
    factors = {
        tensor.data_ptr(): tensor.numel()
        for name, tensor in state["model"].items()
        if not name.endswith(("version", "_float_tensor", ".size", ".scale"))
    }
    assert result["parameters"] == sum(factors.values())
    assert [point["updates"] for point in result["validation"]] == list(range(10, 201, 10))
    assert result["validation"][-1]["nll_loss"] < result["validation"][0]["nll_loss"] - 1
    assert min(result["seconds"].values()) > 0 and result["versions"]["torch"] == torch.__version__
    assert re.fullmatch(r"[0-9a-f]{40}\+?", result["git"]) if (ROOT / ".git").exists() else True

    # The scores are sacreBLEU's of these files, and they are not those of nothing.
    plain, words = (lines_of(whole / f"hypotheses{kind}.txt") for kind in ("", ".tokenised"))
    references = lines_of(moses_data / "raw" / "test.de")
    assert len(plain) == len(words) == len(references) == TEST
    assert not any("@@" in line for line in plain + words)
    assert any(" ." in line for line in words) and not any(" ." in line for line in plain)
    scores = {name: score["value"] for name, score in result["scores"].items()}
    bleu = sacrebleu.corpus_bleu(plain, [references], lowercase=True).score
    assert scores["BLEU"] == pytest.approx(bleu, abs=0.006) and bleu > 5
    tokenised = [lines_of(moses_data / "tokenised" / "test.de")]
    bleu = sacrebleu.corpus_bleu(words, tokenised, tokenize="none", force=True).score
    assert scores["tokenised BLEU"] == pytest.approx(bleu, abs=0.006) and bleu > 5
    assert "case:lc" in result["scores"]["BLEU"]["signature"]
    assert "tok:none" in result["scores"]["tokenised BLEU"]["signature"]
    report = (whole / "report.md").read_text(encoding="utf-8")
    assert f"| {scores['BLEU']:.2f}  " in report and "tok:none" in report
    assert json.loads((whole / "config.json").read_text())["optimization"]["lr"] == [0.005]
    assert list((whole / "tensorboard").glob("train/events.*"))
    here = f"cd -- {shlex.quote(str(ROOT))}"
    assert (whole / "commands.sh").read_text().startswith(f"{here}\nfairseq-train ")

    # Killed while training, while averaging or translating, before the scores, before the report.
    moments = ["checkpoint_1_*.pt", "averaged.pt", "hypotheses.txt", "evaluation.json"]
    for moment in moments:
        kill_when(killed, moment, learning(moses_data, killed))
    script("multi30k.en-de.sh", *learning(moses_data, killed), DEVICE="cpu")
    assert without_times(result_of(killed)) == without_times(result)
    seconds = [point["seconds"] for point in result_of(killed)["validation"]]
    assert seconds == sorted(seconds) and seconds[-1] > 0
    assert (killed / "train.log").read_text().count("=== train") == 2

    # Finished, nothing is done again; another setting is not mixed into it.
    before = {path.name: path.stat().st_mtime_ns for path in whole.iterdir()}
    said = script("multi30k.en-de.sh", *learning(moses_data, whole), DEVICE="cpu")
    changed = {
        path.name for path in whole.iterdir() if before[path.name] != path.stat().st_mtime_ns
    }
    assert said.count("already there, skipped") == 4 and changed <= {"commands.sh", "lock"}
    other = [*learning(moses_data, whole), "--dropout", "0.1"]
    error = script("multi30k.en-de.sh", *other, fails=True, DEVICE="cpu")
    assert "begun with other options: it had --dropout 0, now --dropout 0.1;" in error

    # Its commands, typed by a person, make the same scores.
    (killed / "generate.log").unlink()
    _, train, *scoring = (killed / "commands.sh").read_text().splitlines()
    assert train.startswith("fairseq-train ") and train.endswith("/train.log' 2>&1")
    for line in scoring:
        call_of = ["bash", "-euc", f"{here}\n{line}"]
        subprocess.run(call_of, env=environment(), cwd="/", check=True, timeout=300)
    assert (killed / "scores.json").read_bytes() == (whole / "scores.json").read_bytes()

    done = call("shapeshifter", "compare", f"A={whole}", f"B={killed}")
    assert f"{result['parameters']:,} (100.0%)" in done.stdout


def kill_when(run: Path, file: str, words: list[str], recipe: str = "multi30k.en-de.sh") -> None:
    """Start the recipe and kill it with all that it started as soon as a file is there."""
    process = subprocess.Popen(
        ["bash", str(ROOT / "recipes" / recipe), *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(DEVICE="cpu"),
        start_new_session=True,
    )
    deadline = time.monotonic() + 200
    while not list(run.glob(file)):
        assert process.poll() is None and time.monotonic() < deadline, f"{file} never came"
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (run / "result.json").exists()


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=NEEDS_CUDA)])
def test_wmt18_is_scored_on_the_development_set(device, sentencepiece_data, tmp_path):
    run = tmp_path / "run"
    arguments = ["--model", "dense", *run_words(sentencepiece_data, run, 10)]
    said = script("wmt18.en-ro.sh", *arguments, DEVICE=device, NPROC="1")
    result = result_of(run)
    assert set(result["scores"]) == {"BLEU", "chrF2"} and result["split"] == "valid"
    assert "case:mixed" in result["scores"]["BLEU"]["signature"] and "case:mixed" in said
    assert len(lines_of(run / "hypotheses.txt")) == len(
        lines_of(sentencepiece_data / "raw" / "valid.ro")
    )
    assert not (run / "hypotheses.tokenised.txt").exists()
    names = torch.load(run / "averaged.pt", weights_only=True)["model"]
    assert "encoder.layers.0.fc1.weight" in names  # dense


def test_two_processes_see_the_batch_of_one_and_stop_where_they_were_told(moses_data, tmp_path):
    arch = ["--arch", "shapeshifter_transformer_tiny", "--max-update", "2", *TINY]
    arch += ["--tokens-per-update", "2400"]
    seen = {}
    for processes in ("1", "2"):
        save = tmp_path / processes
        script("train.sh", moses_data, save, *arch, DEVICE="cpu", NPROC=processes)
        log = (save / "train.log").read_text()
        seen[processes] = [float(n) for n in re.findall(r'"wpb": "([\d.]+)"', log)]
        state = torch.load(save / "checkpoint_last.pt", weights_only=True)
        assert state["optimizer_history"][-1]["num_updates"] == 2
    assert "torch.distributed.run" in log and "distributed_world_size': 2" in log
    # Small batches pad otherwise, and are cut to a multiple of 8 sentences: as near as that.
    assert seen["2"][0] == pytest.approx(seen["1"][0], rel=0.2)


def test_compounds_in_parts(moses_data, tmp_path):
    """Scored in parts, as files that a reader can score again."""
    arch = ["--arch", "shapeshifter_transformer_tiny", *TINY, "--max-update", "1"]
    script("train.sh", moses_data, tmp_path, *arch, DEVICE="cpu")
    checkpoint = tmp_path / "checkpoint_last.pt"
    script("evaluate.sh", moses_data, checkpoint, tmp_path, DEVICE="cpu", SPLIT_COMPOUNDS="yes")
    words, parts = (
        lines_of(tmp_path / f"hypotheses.{kind}.txt") for kind in ("tokenised", "compounds")
    )
    insert = re.compile(r"(?<=\S)-(?=\S)")
    assert parts == [insert.sub(" ##AT##-##AT## ", line) for line in words]
    reference = lines_of(tmp_path / "reference.compounds.txt")
    assert any(" ##AT##-##AT## " in line for line in reference)
    bleu = sacrebleu.corpus_bleu(parts, [reference], tokenize="none", force=True).score
    scores = json.loads((tmp_path / "scores.tokenised.json").read_text())
    assert scores["score"] == pytest.approx(bleu, abs=0.006)
