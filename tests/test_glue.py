"""recipes/glue.sh: its files, its scores and its table, on a tiny BERT and made-up sentences."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import pytest
from transformers import BertConfig, BertModel, BertTokenizer

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


def tiny(words: int) -> BertConfig:
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2}
    return BertConfig(vocab_size=words, num_hidden_layers=2, **sizes)


def test_from_files_to_a_table(source, model, tmp_path):
    own = ["--from", source, "--model", model, "--out", tmp_path, "--epochs", "2", "--seeds", "3"]
    models = ["--factorization", "dense,low_rank", "--keep", "60%"]
    script(RECIPE, "mrpc", *own, *models, DEVICE="cpu")
    name = "mrpc-low_rank-60.seed3"
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == [
        "mrpc-dense.seed3",
        name,
    ]
    result = json.loads((tmp_path / name / "result.json").read_text())
    assert [epoch["updates"] for epoch in result["validation"]] == [2, 4]
    assert result["accuracy"] == result["validation"][-1]["accuracy"]
    assert 50 < result["kept"] <= 60 and result["failed"] == (
        result["accuracy"] <= result["majority"]
    )
    assert f"--factorization low_rank --keep 60% --seeds 3 --model '{model}'" in result["command"]
    text = (tmp_path / "report.md").read_text()
    assert [line.split("|")[2].strip() for line in text.splitlines() if "1)" in line] == [
        "dense",
        "low_rank",
    ]
    assert (tmp_path / "report.png").stat().st_size > 1000
    said = script(RECIPE, "mrpc", *own, *models, DEVICE="cpu")
    assert said.count("already there, skipped") == 2
    error = script(RECIPE, "mrpc", *own, *models, "--lr", "1", DEVICE="cpu", fails=True)
    assert "holds runs with --lr 0.0001; give that, or another folder with --out" in error
