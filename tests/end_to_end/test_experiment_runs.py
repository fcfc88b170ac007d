"""Recipes run to their report on small corpora, whole, killed, and on two processes."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import sacrebleu
import torch

import shapeshifter_fairseq.models  # noqa: F401  (lets checkpoints load weights-only)

from .conftest import ROOT, call
from .test_experiments import environment, script
from .test_training import NEEDS_CUDA

WORDS = {
    "en": "hat man grass fence woman yellow-green runs sits two dogs Boston don't".split(),
    "de": "Hut Mann Gras Zaun Frau gelb-grün läuft sitzt zwei Hunde Boston geht's".split(),
}
SIZES = {"train": 300, "valid": 30, "test": 21}  # no multiple of 8: none may be lost

# After --: a model that trains in seconds, with every kind of matrix.
TINY = (
    "--encoder-layers 1 --decoder-layers 1 --encoder-embed-dim 64 --encoder-ffn-embed-dim 64 "
    "--decoder-embed-dim 64 --decoder-ffn-embed-dim 64 --encoder-attention-heads 4 "
    "--decoder-attention-heads 4 --layer-rank 8 --embed-rank 16 --warmup-updates 20 --lr 5e-3 "
    "--dropout 0 --tokens-per-update 600 --num-workers 0 --log-interval 1"
).split()


def run_words(data: Path, out: Path, updates: int, *more: str) -> list[str]:
    return [
        "--data",
        str(data),
        "--out",
        str(out),
        "--max-update",
        str(updates),
        "--",
        *TINY,
        *more,
    ]


def learning(data: Path, out: Path) -> list[str]:
    """Long enough to translate a little."""
    return run_words(data, out, 200, "--save-interval-updates=10", "--validate-interval-updates=10")


def plain_text(folder: Path) -> None:
    """Sentences as they are downloaded: capitals, punctuation at the words."""
    draw = random.Random(1)
    folder.mkdir(parents=True)
    for split, size in SIZES.items():
        lines = [draw.choices(range(len(WORDS["en"])), k=draw.randint(3, 8)) for _ in range(size)]
        for language, words in WORDS.items():
            text = [", ".join(words[number] for number in line) + "." for line in lines]
            text = [line[0].upper() + line[1:] for line in text]
            (folder / f"{split}.{language}").write_text("\n".join(text) + "\n", encoding="utf-8")


def binarised(folder: Path, text: Path, **facts: object) -> Path:
    """What data-prep/ promises to recipes/, from text that is cut into subwords."""
    splits = [f"--{split}pref={text / split}" for split in SIZES]
    languages = ["--source-lang", "en", "--target-lang", "de"]
    call("fairseq-preprocess", *languages, *splits, "--joined-dictionary", "--destdir", folder)
    facts = {"name": "tiny", "source": "en", "target": "de", **facts}
    facts |= {"sentences": SIZES, "types": {}}
    (folder / "corpus.json").write_text(json.dumps(facts), encoding="utf-8")
    return folder


def keep(folder: Path, text: Path) -> None:
    folder.mkdir()
    for path in [*text.glob("valid.*"), *text.glob("test.*")]:
        (folder / path.name).write_bytes(path.read_bytes())


@pytest.fixture(scope="session")
def moses_data(tmp_path_factory) -> Path:
    """Tokenised and lowercased as Multi30k is, with byte-pair encoding."""
    from sacremoses import MosesTokenizer

    work = tmp_path_factory.mktemp("moses corpus")
    raw, words, pieces = work / "raw", work / "words", work / "pieces"
    plain_text(raw)
    words.mkdir()
    pieces.mkdir()
    for path in raw.iterdir():
        tokenise = MosesTokenizer(path.suffix[1:]).tokenize
        lines = path.read_text(encoding="utf-8").splitlines()
        text = "".join(tokenise(line, return_str=True).lower() + "\n" for line in lines)
        (words / path.name).write_text(text, encoding="utf-8")
    joint = "".join((words / f"train.{side}").read_text("utf-8") for side in WORDS)
    codes = work / "bpecodes"
    learnt = call("subword-nmt", "learn-bpe", "-s", "40", stdin=joint).stdout
    codes.write_text(learnt, encoding="utf-8")
    for path in words.iterdir():
        text = path.read_text(encoding="utf-8")
        cut = call("subword-nmt", "apply-bpe", "-c", codes, stdin=text).stdout
        (pieces / path.name).write_text(cut, encoding="utf-8")
    facts = {"subwords": "subword_nmt", "tokenizer": "moses", "lowercased": True}
    data = binarised(work / "the data", pieces, **facts)
    codes.rename(data / "bpecodes")
    keep(data / "raw", raw)
    keep(data / "tokenised", words)
    return data


@pytest.fixture(scope="session")
def sentencepiece_data(tmp_path_factory) -> Path:
    """SentencePiece on plain text, as WMT'18 is."""
    import sentencepiece

    work = tmp_path_factory.mktemp("sentencepiece corpus")
    raw, pieces = work / "raw", work / "pieces"
    plain_text(raw)
    pieces.mkdir()
    lines = [line for side in WORDS for line in (raw / f"train.{side}").open(encoding="utf-8")]
    with (work / "sentencepiece.bpe.model").open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines), model_writer=file, vocab_size=70, minloglevel=2
        )
    model = sentencepiece.SentencePieceProcessor(str(work / "sentencepiece.bpe.model"))
    for path in raw.iterdir():
        lines = path.read_text(encoding="utf-8").splitlines()
        text = "".join(" ".join(model.encode(line, out_type=str)) + "\n" for line in lines)
        (pieces / path.name).write_text(text, encoding="utf-8")
    facts = {"subwords": "sentencepiece", "tokenizer": None, "lowercased": False}
    data = binarised(work / "the data", pieces, **facts)
    (work / "sentencepiece.bpe.model").rename(data / "sentencepiece.bpe.model")
    keep(data / "raw", raw)
    return data


def result_of(run: Path) -> dict:
    return json.loads((run / "result.json").read_text(encoding="utf-8"))


def without_times(result: dict) -> dict:
    return {name: value for name, value in result.items() if name != "seconds"}


def lines_of(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def test_multi30k_to_its_report_whole_and_killed_at_four_moments(moses_data, tmp_path):
    whole, killed = tmp_path / "a whole run", tmp_path / "a killed run"
    script("multi30k.en-de.sh", *learning(moses_data, whole), DEVICE="cpu")
    result = result_of(whole)

    # What a result says.
    assert result["recipe"] == "multi30k.en-de" and result["model"] == "shapeshifter"
    assert (result["seed"], result["updates"], result["split"]) == (1, 200, "test")
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
    assert len(plain) == len(words) == len(references) == SIZES["test"]
    assert not any("@@" in line for line in plain + words)
    assert any(" ," in line for line in words) and not any(" ," in line for line in plain)
    scores = {name: score["value"] for name, score in result["scores"].items()}
    bleu = sacrebleu.corpus_bleu(plain, [references], lowercase=True).score
    assert scores["BLEU"] == pytest.approx(bleu, abs=0.006) and bleu > 5
    tokenised = [lines_of(moses_data / "tokenised" / "test.de")]
    bleu = sacrebleu.corpus_bleu(words, tokenised, tokenize="none", force=True).score
    assert scores["tokenised BLEU"] == pytest.approx(bleu, abs=0.006) and bleu > 5
    assert "case:lc" in result["scores"]["BLEU"]["signature"]
    assert "tok:none" in result["scores"]["tokenised BLEU"]["signature"]
    report = (whole / "report.md").read_text(encoding="utf-8")
    assert f"| BLEU                | {scores['BLEU']:.2f}" in report and "tok:none" in report
    assert json.loads((whole / "config.json").read_text())["optimization"]["lr"] == [0.005]
    assert list((whole / "tensorboard").glob("train/events.*"))
    assert (whole / "commands.sh").read_text().startswith("fairseq-train ")

    # Killed while training, while averaging or translating, before the scores, before the report.
    moments = ["checkpoint_1_*.pt", "averaged.pt", "hypotheses.txt", "scored"]
    for moment in moments:
        kill_when(killed, moment, learning(moses_data, killed))
    script("multi30k.en-de.sh", *learning(moses_data, killed), DEVICE="cpu")
    assert without_times(result_of(killed)) == without_times(result)
    assert (killed / "train.log").read_text().count("=== train") == 2

    # Finished, nothing is done again; another setting is not mixed into it.
    before = {path.name: path.stat().st_mtime_ns for path in whole.iterdir()}
    said = script("multi30k.en-de.sh", *learning(moses_data, whole), DEVICE="cpu")
    changed = {
        path.name for path in whole.iterdir() if before[path.name] != path.stat().st_mtime_ns
    }
    assert "is finished, skipped" in said and changed <= {"commands.sh", "recipe.lock"}
    other = [*learning(moses_data, whole), "--dropout", "0.1"]
    error = script("multi30k.en-de.sh", *other, fails=True, DEVICE="cpu")
    assert "begun with other options" in error

    compare = [sys.executable, "-m", "shapeshifter_fairseq", "compare", f"A={whole}", f"B={killed}"]
    done = subprocess.run(compare, cwd=ROOT, capture_output=True, text=True, check=True, timeout=99)
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
    assert len(lines_of(run / "hypotheses.txt")) == SIZES["valid"]
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


def test_a_training_killed_after_its_last_update_makes_no_other(moses_data, tmp_path):
    arguments = ["--arch", "shapeshifter_transformer_tiny", *TINY, "--save-interval-updates", "2"]
    save = tmp_path / "run"
    script("train.sh", moses_data, save, *arguments, "--max-update", "4", DEVICE="cpu")
    (save / "finished").unlink()
    last = save / "checkpoint_last.pt"
    last.write_bytes(last.read_bytes()[:5000])
    said = script("train.sh", moses_data, save, *arguments, "--max-update", "4", DEVICE="cpu")
    assert "has its 4 updates already" in said
    state = torch.load(last, weights_only=True)
    assert state["optimizer_history"][-1]["num_updates"] == 4 and (save / "finished").exists()


def test_compounds_in_parts(moses_data, tmp_path):
    """Scored on what fairseq translated before: its output stands in for fairseq-generate."""
    fake = tmp_path / "python"
    fake.write_text(
        "#!/bin/sh\n"
        '[ "$2" = fairseq_cli.generate ] && exec cat "$FAKE"\n'
        f'exec "{sys.executable}" "$@"\n'
    )
    fake.chmod(0o755)
    lines = lines_of(moses_data / "tokenised" / "test.de")
    log = "".join(f"H-{i}\t-1\t{line}\nD-{i}\t-1\t{line}\n" for i, line in enumerate(lines))
    (tmp_path / "log").write_text(log.replace("gelb-grün", "gelb-blau"), encoding="utf-8")
    (tmp_path / "x.pt").touch()
    scores = {}
    for split in ("", "yes"):
        out = tmp_path / f"out{split}"
        variables = {"PYTHON": str(fake), "FAKE": str(tmp_path / "log"), "SPLIT_COMPOUNDS": split}
        script("evaluate.sh", moses_data, tmp_path / "x.pt", out, **variables)
        scores[split] = json.loads((out / "scores.tokenised.json").read_text())["score"]
    parts = re.compile(r"(\S)-(\S)")
    for split, insert in (("", r"\1-\2"), ("yes", r"\1 ##AT##-##AT## \2")):
        reference = [parts.sub(insert, line) for line in lines]
        wrong = [line.replace("grün", "blau") for line in reference]
        bleu = sacrebleu.corpus_bleu(wrong, [reference], tokenize="none", force=True).score
        assert scores[split] == pytest.approx(bleu, abs=0.006)
    assert scores[""] != scores["yes"]
