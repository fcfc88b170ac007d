"""From a dense checkpoint to a factorized one and back, with what others do with the results."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import torch

import shapeshifter_fairseq.models  # noqa: F401  (lets checkpoints load weights-only)

from .conftest import TRAINING, USER_DIR, call

# Another program, in a process that cannot import this project.
WITHOUT_US = "import sys; sys.modules['shapeshifter_fairseq'] = None; "
GENERATE = WITHOUT_US + "from fairseq_cli.generate import cli_main; cli_main()"
CONVERT = WITHOUT_US + "from ctranslate2.converters.fairseq import main; main()"


@pytest.fixture(scope="module")
def projected(dense, tmp_path_factory) -> tuple[Path, str]:
    """At ranks that lose nothing: what comes after can be compared with the dense model."""
    out = tmp_path_factory.mktemp("projected model") / "factors.pt"
    ranks = ["--layer-rank", "32", "--embed-rank", "dense", "--factor-plan", "*.fc1=low_rank:32"]
    return out, call("shapeshifter", "project", dense, out, *ranks).stdout


@pytest.fixture(scope="module")
def folded(trained, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("folded model") / "folded.pt"
    call("shapeshifter", "fold", trained / "checkpoint_best.pt", out)
    return out


def scored(output: str) -> list[tuple[float, str]]:
    """The scores and texts of fairseq-generate's hypotheses, in the order of the test set."""
    lines = re.findall(r"^H-(\d+)\t(\S+)\t(.*)$", output, re.M)
    return [(float(score), text) for _, score, text in sorted(lines, key=lambda line: int(line[0]))]


def generate(data: Path, path: Path, *more: str, without_us=False) -> list[tuple[float, str]]:
    options = [data, "--path", path, "--cpu", "--required-batch-size-multiple", "1", *more]
    if without_us:
        return scored(call("python", "-c", GENERATE, *options).stdout)
    return scored(call("fairseq-generate", *options, "--user-dir", USER_DIR).stdout)


def test_a_projected_model_translates_as_the_dense_one(dense, projected, corpus):
    ours, theirs = generate(corpus, projected[0]), generate(corpus, dense)
    assert len(ours) == 12
    assert [text for _, text in ours] == [text for _, text in theirs]
    assert [score for score, _ in ours] == pytest.approx([s for s, _ in theirs], rel=1e-4)


@pytest.mark.parametrize("how", ["--finetune-from-model", "--restore-file"])
def test_a_projected_model_is_fine_tuned(how, dense, projected, corpus, tmp_path):
    """With the options that `project` prints, from update 0 and from the dense model's loss."""
    out, said = projected
    line = next(line for line in said.splitlines() if "fairseq-train DATA" in line)
    options = shlex.split(line.strip().rstrip("\\"))[4:]
    assert options[:2] == ["--arch", "shapeshifter_transformer"]
    where = [corpus, "--user-dir", USER_DIR, "--save-dir", tmp_path]
    done = call("fairseq-train", *where, *options, *TRAINING, how, out, "--max-update", "2")
    log = done.stdout + done.stderr
    assert "(epoch 1 @ 0 updates)" in log and '"num_updates": "1"' in log
    state = torch.load(dense, weights_only=True)
    first = float(re.search(r'"loss": "([\d.]+)"', log)[1])
    assert first == pytest.approx(state["extra_state"]["val_loss"], abs=0.5)
    assert (tmp_path / "checkpoint_best.pt").exists()


def test_a_folded_model_is_stock_fairseqs(trained, folded, corpus):
    """The same translations with the same scores, in a process without this project."""
    ours = generate(corpus, trained / "checkpoint_best.pt")
    theirs = generate(corpus, folded, without_us=True)
    assert [text for _, text in theirs] == [text for _, text in ours]
    expected = [score for score, _ in ours]
    assert [score for score, _ in theirs] == pytest.approx(expected, rel=1e-5)


def test_a_folded_model_loads_weights_only_by_itself(folded):
    code = "import sys, torch; print(torch.load(sys.argv[1], weights_only=True)['args'].arch)"
    assert call("python", "-c", code, folded).stdout.strip() == "transformer"


def test_a_folded_model_is_ctranslate2s(trained, folded, corpus, tmp_path):
    options = ["--model_path", folded, "--data_dir", corpus, "--output_dir", tmp_path / "model"]
    languages = ["--source_lang", "xx", "--target_lang", "yy"]
    call("python", "-c", CONVERT, *options, *languages)
    code = (
        "import ctranslate2, sys; model = ctranslate2.Translator(sys.argv[1])\n"
        "for found in model.translate_batch([line.split() for line in sys.stdin], beam_size=1):\n"
        "    print(*found.hypotheses[0])"
    )
    sentences = (corpus.parent / "test.xx").read_text()
    theirs = call("python", "-c", code, tmp_path / "model", stdin=sentences).stdout.splitlines()
    # With a beam, the padding token's share would decide (see test_deploy in test_recipes.py); and
    # the two have different longest lengths.
    ours = generate(corpus, trained / "checkpoint_best.pt", "--beam", "1")
    assert [line.split()[:50] for line in theirs] == [text.split()[:50] for _, text in ours]


def test_what_hydra_trained_is_projected_folded_and_averaged(corpus, tmp_path):
    """Its configuration is nested: model.encoder.embed_dim."""
    save = tmp_path / "save"
    model = {"embed_dim": 64, "layers": 1, "ffn_embed_dim": 64, "attention_heads": 2}
    overrides = [
        f"+model.{side}.{k}={v}" for side in ("encoder", "decoder") for k, v in model.items()
    ]
    overrides += ["+model._name=transformer", f"task.data='{corpus}'", "task=translation"]
    overrides += ["common.cpu=true", "dataset.max_tokens=600", "dataset.num_workers=0"]
    overrides += ["optimization.max_update=2", "optimization.lr=[0.003]", "optimizer=adam"]
    overrides += ["criterion=label_smoothed_cross_entropy", "lr_scheduler=fixed"]
    call("fairseq-hydra-train", *overrides, f"checkpoint.save_dir='{save}'", cwd=tmp_path)
    last, small, folded = save / "checkpoint_last.pt", tmp_path / "small.pt", tmp_path / "folded.pt"
    ranks = ["--layer-rank", "4", "--embed-rank", "8"]
    said = call("shapeshifter", "project", last, small, *ranks).stdout
    assert "--encoder-embed-dim 64" in said
    call("shapeshifter", "fold", small, folded)
    assert generate(corpus, folded, without_us=True) == generate(corpus, small)
    call("shapeshifter", "average", tmp_path / "mean.pt", last, "--force")
    assert len(generate(corpus, tmp_path / "mean.pt")) == 12
