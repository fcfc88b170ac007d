"""recipes/glue.sh: its files, its scores and its table, on a tiny BERT and made-up sentences."""

from __future__ import annotations

import gzip
import json
import random
import shlex
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    BertTokenizer,
    EvalPrediction,
)

from recipes import console
from recipes.experiments.glue import main
from recipes.glue.report import report
from recipes.glue.setting import Run
from recipes.glue.tasks import TASKS, read, write_from_hub
from recipes.glue.train import accuracy_of_majority, has_failed, in_blocks, in_factors, scores

from .end_to_end.test_experiments import script

RECIPE = "glue.sh"
WORDS = "the a big small red old dog cat runs sleeps sings".split()


def write_pairs(file: Path, pairs: int) -> None:
    """Pairs as MRPC's: the same sentence twice, or two of them; packed, with a mark before them."""
    draw = random.Random(file.name)
    lines = ["Quality\t#1 ID\t#2 ID\t#1 String\t#2 String"]
    for number in range(pairs):
        first, other = (" ".join(draw.choices(WORDS, k=draw.randint(3, 6))) for _ in "12")
        same = draw.random() < 0.6
        lines.append(f'{int(same)}\t{number}\t{number}\tsaid " {first}\t{first if same else other}')
    with gzip.open(file, "wt", encoding="utf-8-sig") as packed:
        packed.write("\n".join([*lines, ""]))


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("the data")
    (folder / "MRPC").mkdir()
    write_pairs(folder / "MRPC" / "train.tsv.gz", 64)
    write_pairs(folder / "MRPC" / "dev.tsv.gz", 20)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("a model")
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "said", '"', *WORDS]
    BertTokenizer({word: number for number, word in enumerate(vocab)}).save_pretrained(folder)
    BertModel(tiny(len(vocab))).save_pretrained(folder)
    return folder


def tiny(words: int, width: int = 16) -> BertConfig:
    sizes = {"hidden_size": width, "intermediate_size": 2 * width, "num_attention_heads": 2}
    return BertConfig(vocab_size=words, num_hidden_layers=2, **sizes)


def test_from_files_to_a_table(source, model, tmp_path):
    own = ["mrpc", "--from", source, "--model", model, "--out", tmp_path, "--epochs", "2"]
    own += ["--seeds", "3", "--factorization", "dense,low_rank", "--keep", "60%"]
    said = script(RECIPE, *own, DEVICE="cpu")
    said += script(RECIPE, *own, "--staged", DEVICE="cpu")
    assert said.count("already there, skipped") == 1  # the dense one
    names = ("mrpc-dense", "mrpc-low_rank-60", "mrpc-low_rank-60-staged")
    files = [tmp_path / f"{name}.seed3" / "result.json" for name in names]
    results = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    for result in results:
        assert [epoch["updates"] for epoch in result["validation"]] == [2, 4]
        assert result["accuracy"] == result["validation"][-1]["accuracy"]
        assert result["failed"] == (result["accuracy"] <= result["majority"])
    dense, at_once, staged = results
    assert dense["kept"] == 100 and 50 < at_once["kept"] == staged["kept"] <= 60
    assert "--factorization low_rank --keep 60% --staged --seeds 3" in staged["command"]
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    rows = [line.split("|")[2:4] for line in text.splitlines() if " of 1)" in line]
    assert [[cell.strip() for cell in row] for row in rows] == [
        ["dense", ""],
        ["low_rank", "at once"],
        ["low_rank", "staged"],
    ]
    assert (tmp_path / "report.png").stat().st_size > 1000
    with pytest.raises(console.Failed, match="holds runs with --lr 0.0001; give that, or another"):
        main([*map(str, own), "--lr", "1"])


@pytest.mark.parametrize("right, failed", [(278, True), (279, True), (280, False)])
def test_a_run_fails_if_it_is_no_better_than_one_class(right, failed):
    train, dev = [1, 1, 0], [1] * 279 + [0] * 129  # as MRPC's dev set
    logits = np.array([[0, 1]] * 408)
    if right != 279:
        logits[0 if right < 279 else -1] = [1, 0]
    found = scores(EvalPrediction(logits, np.array(dev)))
    assert found["accuracy"] == pytest.approx(100 * right / 408)
    assert has_failed(found["accuracy"], accuracy_of_majority(train, dev)) == failed


def test_scores_are_means_over_the_runs_that_have_not_failed(tmp_path):
    def put(task: str, family: str, keep: float, staged: bool, seed: int, accuracy: float) -> None:
        run = Run(task, family, keep, staged, seed, "a model", 5, 1e-4)
        (tmp_path / run.name).mkdir()
        found = {"accuracy": accuracy, "F1": accuracy + 5, "majority": 60, "parameters": 2e6}
        found |= {"failed": has_failed(accuracy, 60), "machine": "a machine", "git": "abc"}
        (tmp_path / run.name / "result.json").write_text(json.dumps({**vars(run), **found}))

    put("rte", "dense", 100, False, 1, 80)
    for seed, accuracy in enumerate((70, 72, 60), start=1):
        put("mrpc", "low_rank", 40, False, seed, accuracy)
    put("mrpc", "low_rank", 40, True, 1, 50)
    put("mrpc", "monarch/blocks=2", 60, False, 1, 71)
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in report(tmp_path).splitlines()
        if line.startswith("|")
    ]
    none = "not measured"
    assert [[*row[:3], *row[4:]] for row in rows[2:]] == [
        ["all", "dense", "", none, none, "80.0 (0 of 1)"],
        ["60%", "monarch/blocks=2", "at once", "71.0 (0 of 1)", "76.0 (0 of 1)", none],
        ["40%", "low_rank", "at once", "71.0 ± 1.4 (1 of 3)", "76.0 ± 1.4 (1 of 3)", none],
        ["40%", "low_rank", "staged", "- (1 of 1)", "- (1 of 1)", none],
        ["", "(most frequent class)", "", "60.0", "", "60.0"],
    ]


@pytest.mark.parametrize("family", ["low_rank", "block_low_rank", "monarch", "kronecker"])
@pytest.mark.parametrize("keep", [60.0, 40.0])
def test_only_the_matrices_of_blocks_become_factors_of_the_wanted_size(family, keep):
    with torch.device("meta"):
        model = BertForSequenceClassification(tiny(50, 128))
    dense = sum(part.numel() for part in model.parameters())
    blocks = in_blocks(model)
    assert blocks == 2 * (4 * 128 * 128 + 2 * 128 * 256)
    assert in_factors(model, Run("rte", family, keep, False, 1, "a model", 1, 1e-4), 10) == []
    kept = in_blocks(model)
    assert keep - 7 < 100 * kept / blocks <= keep
    assert sum(part.numel() for part in model.parameters()) == dense - blocks + kept


def test_what_the_hub_gives_is_read_as_the_archives_files_are(monkeypatch, tmp_path):
    rows = [{"sentence1": 'a "dog', "sentence2": "a\tcat", "label": 1, "idx": 0}]
    stub = SimpleNamespace(load_dataset=lambda path, name, split: rows)
    monkeypatch.setitem(sys.modules, "datasets", stub)
    write_from_hub(TASKS["rte"], tmp_path)
    found = read(TASKS["rte"], tmp_path / "dev.tsv")
    assert (found.texts, found.classes) == ([['a "dog'], ["a cat"]], [1])


@pytest.mark.parametrize(
    "text, said",
    [
        ("sentence\tlabel\n", "it holds no example"),
        ("sentence\tlabel\n\nfine\t2\n", "line 3 has '2' where"),
        ("sentence\nfine\n", "there is no column 'label'"),
        ("sentence\tlabel\nfine\t2\n", "line 2 has '2' where 0 or 1 belongs"),
        (
            "sentence\tlabel\nfine\t1\nbad\n",
            "line 3 does not have as many columns as the first line",
        ),
    ],
)
def test_a_file_of_another_form_is_named(text, said, tmp_path):
    file = tmp_path / "train.tsv"
    file.write_text(text)
    with pytest.raises(ValueError, match=f"{file} is not of the form of SST-2's files: {said}"):
        read(TASKS["sst-2"], file)


def test_a_dry_run_prints_a_command_for_each_run(capsys):
    own = "mrpc --factorization dense,monarch --keep 60%,40% --staged --seeds 1,3-4 --dry-run"
    main(own.split())
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 9 and sum("--staged" in line for line in lines) == 6
    main([*shlex.split(lines[-1])[2:], "--dry-run"])
    assert capsys.readouterr().out.splitlines() == lines[-1:]
    assert "monarch --keep 40% --staged --seeds 4" in lines[-1]
    main(["rte", "--factorization", "dense", "--seeds", "1", "--from", "a b", "--dry-run"])
    assert " --from 'a b' --out " in capsys.readouterr().out


@pytest.mark.parametrize(
    "own, said",
    [
        ("low_rank", "--factorization low_rank needs a share: --keep 60%"),
        ("low --keep 60%", "low: there is no family 'low'"),
        ("low_rank --keep 100%", "'100%' is not a list of shares such as 60%,40%"),
        ("dense --from /nowhere", "--from /nowhere holds no MRPC/train.tsv or .tsv.gz"),
        ("dense --seeds 3-1", "'3-1' holds no number"),
        ("dense --lr 0", "'0' is not a number above 0"),
    ],
)
def test_mistakes_are_one_line(own, said, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", [RECIPE])
    monkeypatch.setenv("DEVICE", "cpu")
    with pytest.raises(SystemExit) as ended:
        console.run(RECIPE, lambda: main(["mrpc", "--factorization", *own.split()]))
    error = capsys.readouterr().err or f"{ended.value}\n"
    assert error.startswith(f"{RECIPE}: error: ") and said in error and error.count("\n") == 1
