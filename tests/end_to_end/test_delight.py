"""fairseq's habits on DeLighT: train, resume, translate alone and together, interactively."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .conftest import TRAINING, USER_DIR, call, losses, translate
from .test_experiments import dry_run, options, script

SMALL = (
    "--arch delight_transformer_tiny --encoder-embed-dim 64 --encoder-layers 2 --decoder-layers 2 "
    "--delight-min-depth 3"
).split()


def train(corpus: Path, save: Path, updates: int, *more: str) -> str:
    where = ["--save-dir", save, "--no-epoch-checkpoints", "--max-update", str(updates)]
    call_of = [corpus, "--user-dir", USER_DIR, *SMALL, *TRAINING, *where, *more]
    done = call("fairseq-train", *call_of)
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def trained(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    save = tmp_path_factory.mktemp("delight")
    found = losses(train(corpus, save, 40))
    assert found[40] < found[1] - 1
    return save


def test_it_resumes_and_translates_in_an_ensemble_and_interactively(trained, corpus):
    alone = translate(corpus, [trained / "checkpoint_last.pt"])
    assert len(alone) == 12 and all(alone)
    log = train(corpus, trained, 42)
    assert "@ 40 updates" in log and max(losses(log)) == 42
    both = [trained / f"checkpoint_{name}.pt" for name in ("best", "last")]
    assert len(translate(corpus, both)) == 12
    path = ["--path", trained / "checkpoint_best.pt", "--cpu", "--beam", "2"]
    languages = ["--source-lang", "xx", "--target-lang", "yy"]
    done = call(
        "fairseq-interactive",
        *(corpus, "--user-dir", USER_DIR, *path, *languages),
        stdin="s1 s2 s3\ns4\n",
    )
    assert len(re.findall(r"^H-\d+", done.stdout, re.M)) == 2


@pytest.mark.parametrize(
    "more",
    [
        "--memory-efficient-fp16 --fp16-init-scale 4 --encoder-layerdrop 0.3 "
        "--decoder-layerdrop 0.3 --checkpoint-activations",
        "--store-ema --ema-decay 0.9 --encoder-normalize-before --decoder-normalize-before "
        "--layernorm-embedding --encoder-learned-pos --decoder-learned-pos --amp",
    ],
)
def test_it_trains_and_translates_with(more, corpus, tmp_path):
    assert max(losses(train(corpus, tmp_path, 3, *more.split()))) == 3
    assert len(translate(corpus, [tmp_path / "checkpoint_last.pt"])) == 12


@pytest.mark.parametrize(
    "recipe, expected",
    [
        ("iwslt14.de-en.sh", {"--arch": "delight_transformer_iwslt"}),
        ("wmt14.en-fr.sh", {"--arch": "delight_transformer_wmt14", "--dropout": "0.05"}),
        ("multi30k.en-de.sh", {"--arch": "delight_transformer_tiny"}),
    ],
)
def test_a_recipe_trains_it_with_its_own_dropout(recipe, expected):
    found = options(dry_run(recipe, "--model", "delight")["fairseq-train"])
    expected = {"--dropout": None, "--lr": found["--lr"], "--factor-plan": None} | expected
    assert {name: found.get(name) for name in expected} == expected
    assert found["--save-dir"].endswith("/delight.seed1")


def test_an_architecture_without_a_counterpart_is_named(tmp_path):
    (tmp_path / "corpus.json").write_text(
        '{"source": "xx", "target": "yy", "subwords": "subword_nmt"}', encoding="utf-8"
    )
    call = ["--data", tmp_path, "--arch", "phm_transformer_tiny", "--model", "delight"]
    error = script("own.sh", *call, "--dry-run", fails=True, DEVICE="cpu")
    assert "--arch phm_transformer_tiny has no counterpart" in error
    assert len(error.splitlines()) == 1
