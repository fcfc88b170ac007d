"""The recipes of word2ket: what they would run, and both of them to their scores."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from statistics import fmean

import pytest
import sacrebleu
import torch

from .conftest import ROOT, call
from .test_experiment_runs import (
    TEST,
    in_words_of,
    kill_when,
    lines_of,
    moses_data,  # noqa: F401  (a fixture)
    result_of,
)
from .test_experiments import dry_run, holds, options, script

IWSLT, GIGAWORD = "word2ket-iwslt14.de-en.sh", "word2ket-gigaword.sh"

# After --: a model that trains in seconds.
TINY = (
    "--encoder-embed-dim 32 --decoder-embed-dim 32 --encoder-hidden-size 32 "
    "--decoder-hidden-size 32 --decoder-out-embed-dim 32 --dropout 0 --lr 2e-2 "
    "--tokens-per-update 600 --num-workers 0 --log-interval 1"
).split()


def words(data: Path, out: Path, *own: str) -> list[str]:
    return [*own, "--data", str(data), "--out", str(out), "--max-update", "150", "--", *TINY]


# --- what they would run ------------------------------------------------------------------------

SETTING = (
    "--dropout 0.2 --lr 1e-3 --lr-scheduler fixed --label-smoothing 0 --weight-decay 0 "
    "--max-tokens 2048 --embed-rank 10 --factorization word2ketxs/order=2"
)


@pytest.mark.parametrize(
    "recipe, arch, updates, data",
    [
        (IWSLT, "word2ket_lstm_iwslt", "50000", "iwslt14.de-en"),
        (GIGAWORD, "word2ket_lstm_gigaword", "62500", "gigaword.article-headline"),
    ],
)
def test_the_commands(recipe, arch, updates, data):
    commands = dry_run(recipe)
    train, dense = (
        options(each["fairseq-train"]) for each in (commands, dry_run(recipe, "--model", "dense"))
    )
    holds(train, f"{SETTING} --arch {arch} --max-update {updates}")
    run = f"{ROOT}/runs/word2ket-{data}"
    assert commands["fairseq-train"][1] == f"{ROOT}/data-bin/{data}"
    assert train["--save-dir"] == f"{run}/word2ketxs-order2-rank10.seed1"
    best = train["--save-dir"] + "/checkpoint_best.pt"
    averaged = f"{train['--save-dir']}/averaged.pt"
    assert commands["shapeshifter"][1:] == ["average", averaged, best, "--force"]
    # The dense model has the very same flags.
    assert dense["--save-dir"] == f"{run}/dense.seed1" and dense["--embed-rank"] == "dense"
    differing = ("--factorization", "--embed-rank", "--save-dir", "--tensorboard-logdir")
    for name in differing:
        train.pop(name, None)
        dense.pop(name, None)
    assert train == dense


@pytest.mark.parametrize(
    "own, family, rank",
    [
        ("--model word2ket", "word2ket/norm=1/order=4", "1"),
        ("--model word2ket --order 2 --rank 3", "word2ket/norm=1/order=2", "3"),
        ("--order 4 --rank 1", "word2ketxs/order=4", "1"),
    ],
)
def test_orders_and_ranks(own, family, rank):
    found = options(dry_run(GIGAWORD, *own.split())["fairseq-train"])
    assert (found["--factorization"], found["--embed-rank"]) == (family, rank)


@pytest.mark.parametrize(
    "recipe, own, said",
    [
        (GIGAWORD, "--model shapeshifter", "--model: invalid choice: 'shapeshifter' (choose from"),
        (GIGAWORD, "--model dense --rank 2", "do not go with --model dense"),
        (IWSLT, "--order two", "--order: 'two' is not a whole number of at least 1"),
        (IWSLT, "--rank", "--rank: expected one argument"),
        (GIGAWORD, "--dry-run -- --embed-rank dense", "--embed-rank after --: the script sets it"),
        ("iwslt14.de-en.sh", "--rank 2", "--rank 2 (options of fairseq-train come after --)"),
    ],
)
def test_mistakes_are_one_line(recipe, own, said):
    error = script(recipe, *own.split(), fails=True, DEVICE="cpu")
    assert len(error.splitlines()) == 1 and said in error


# --- run to the end -----------------------------------------------------------------------------


def test_translation_killed_and_resumed_beside_the_dense_model(moses_data, tmp_path):  # noqa: F811
    data = in_words_of(moses_data, tmp_path / "the talks", "de", "en")
    ours, dense = tmp_path / "our run", tmp_path / "dense"
    kill_when(ours, "checkpoint*[0-9].pt", words(data, ours, "--rank", "8"), IWSLT)
    script(IWSLT, *words(data, ours, "--rank", "8"), DEVICE="cpu")
    script(IWSLT, *words(data, dense, "--model", "dense"), DEVICE="cpu")
    assert (ours / "train.log").read_text().count("=== train") == 2

    result, baseline = result_of(ours), result_of(dense)
    assert result["model"] == "word2ketxs-order2-rank8" and baseline["model"] == "dense"
    assert result["recipe"] == baseline["recipe"] == "word2ket-iwslt14.de-en"
    assert result["averaged"] == ["checkpoint_best.pt"]
    model = torch.load(ours / "averaged.pt", weights_only=True)["model"]
    tables = {name: tensor for name, tensor in model.items() if "embed_tokens" in name}
    assert not any(name.endswith("weight") for name in tables)
    types = model["decoder.fc_out.weight"].shape[0]
    stored = sum(tensor.numel() for name, tensor in tables.items() if name.endswith(".F"))
    assert baseline["parameters"] - result["parameters"] == 2 * types * 32 - stored
    plain = lines_of(ours / "hypotheses.txt")
    references = lines_of(data / "raw" / "test.en")
    bleu = sacrebleu.corpus_bleu(plain, [references], lowercase=True).score
    assert result["scores"]["BLEU"]["value"] == pytest.approx(bleu, abs=0.006)
    assert set(result["scores"]) == set(baseline["scores"]) == {"BLEU", "chrF2", "tokenised BLEU"}
    for each in (result, baseline):  # too short to translate, long enough to learn the words
        first, *_, last = (point["nll_loss"] for point in each["validation"])
        assert last < first - 1


@pytest.fixture
def headlines(moses_data, tmp_path) -> Path:  # noqa: F811
    """As prepare-gigaword.sh leaves it: tokenised when it came, so nothing else is plain text."""
    data = in_words_of(moses_data, tmp_path / "the headlines", "article", "headline")
    shutil.rmtree(data / "raw")
    (data / "tokenised").rename(data / "raw")
    corpus = json.loads((data / "corpus.json").read_text("utf-8"))
    corpus |= {"tokenizer": None, "lowercased": False}
    (data / "corpus.json").write_text(json.dumps(corpus), encoding="utf-8")
    return data


def rouge_1(reference: str, hypothesis: str) -> float:
    """F1 of the words, from the definition."""
    found, wanted = Counter(hypothesis.split()), Counter(reference.split())
    both = (found & wanted).total()
    return 2 * both / (found.total() + wanted.total())


def test_headlines_to_rouge(headlines, tmp_path):
    run = tmp_path / "run"
    own = words(headlines, run, "--model", "word2ket", "--order", "3", "--rank", "2")
    script(GIGAWORD, *own, DEVICE="cpu")
    result = result_of(run)
    assert list(result["scores"]) == ["ROUGE-1", "ROUGE-2", "ROUGE-L"]
    pairs = list(
        zip(
            lines_of(headlines / "raw" / "test.headline"),
            lines_of(run / "hypotheses.txt"),
            strict=True,
        )
    )
    assert len(pairs) == TEST
    one, two, longest = (score["value"] for score in result["scores"].values())
    assert one == pytest.approx(100 * fmean(rouge_1(*pair) for pair in pairs), abs=0.006)
    assert 100 > one >= longest >= two > 5
    assert "| ROUGE-L " in (run / "report.md").read_text(encoding="utf-8")
    out = tmp_path / "plots"
    said = call("shapeshifter", "compare", run, "--out", out).stdout
    assert "word2ket-order3-rank2" in said and (out / "rouge-1.png").exists()
