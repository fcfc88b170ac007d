"""From a dense checkpoint to a factorized one and back, with what others do with the results."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
import torch

import shapeshifter_fairseq.models  # noqa: F401  (lets checkpoints load weights-only)

from .conftest import ROOT, SMALL, TRAINING, USER_DIR, call, train

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


HYDRA = (
    "common.cpu=true dataset.max_tokens=600 dataset.num_workers=0 optimization.lr=[0.003]".split()
)


def test_the_documented_yaml_trains_in_bf16_for_all_commands(corpus, tmp_path, monkeypatch):
    page = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    yaml, command = re.search(r"```yaml\n(.*?)```\n\n```bash\n(.*?)```", page, re.S).groups()
    words = command[command.index("fairseq-hydra-train") :].replace("\\\n", "").split()
    assert words[:3] == ["fairseq-hydra-train", "--config-dir", "."] and len(words) == 7
    monkeypatch.setenv("USER_DIR", str(USER_DIR))
    (tmp_path / "bf16.yaml").write_text(yaml)
    save, data = tmp_path / "save", tmp_path / "data"
    where = [f"task.data='{corpus}'", f"checkpoint.save_dir='{save}'"]
    tiny = ["model._name=shapeshifter_transformer_tiny", "+model.encoder_layers=1"]
    tiny += ["model.layer_rank=4", "model.embed_rank=8", *HYDRA, "optimization.max_update=3"]
    call(*words[:5], *where, *tiny, cwd=tmp_path)
    last, folded, mean = save / "checkpoint_last.pt", tmp_path / "folded.pt", tmp_path / "mean.pt"
    state = torch.load(last, weights_only=True)
    assert state["cfg"]["common"]["bf16"]
    assert state["model"]["encoder.layers.0.fc1.factors.A"].shape[-1] == 4
    assert "encoder.layers.1.fc1.factors.A" not in state["model"]
    call("shapeshifter", "fold", last, folded)
    assert generate(corpus, folded) == generate(corpus, last)
    call("shapeshifter", "average", mean, last)
    assert len(generate(corpus, mean)) == 12
    shutil.copytree(corpus, data)
    facts = {"source": "xx", "target": "yy", "subwords": "subword_nmt"}
    (data / "corpus.json").write_text(json.dumps(facts))
    (data / "bpecodes").write_text("#version: 0.2\n")
    call("shapeshifter", "pack", last, tmp_path / "x.pack", "--data", data)
    call("shapeshifter", "unpack", tmp_path / "x.pack", tmp_path / "unpacked")
    assert (tmp_path / "unpacked" / "model.bin").is_file()


def test_a_dense_model_that_hydra_trained_is_projected_staged_and_deployed(corpus, tmp_path):
    """Its configuration is nested: model.encoder.embed_dim."""
    save = tmp_path / "save"
    model = {"embed_dim": 32, "layers": 2, "ffn_embed_dim": 64, "attention_heads": 4}
    overrides = [
        f"+model.{side}.{k}={v}" for side in ("encoder", "decoder") for k, v in model.items()
    ]
    overrides += ["+model._name=transformer", "+model.share_all_embeddings=true"]
    overrides += [*HYDRA, f"task.data='{corpus}'", "task=translation", "optimizer=adam"]
    overrides += ["criterion=label_smoothed_cross_entropy", "lr_scheduler=fixed"]
    where = ["optimization.max_update=2", f"checkpoint.save_dir='{save}'"]
    call("fairseq-hydra-train", *overrides, *where, cwd=tmp_path)
    last, small, folded = save / "checkpoint_last.pt", tmp_path / "small.pt", tmp_path / "folded.pt"
    ranks = ["--layer-rank", "4", "--embed-rank", "8"]
    said = call("shapeshifter", "project", last, small, *ranks).stdout
    assert "--encoder-embed-dim 32" in said and "--share-all-embeddings" in said
    call("shapeshifter", "fold", small, folded)
    assert generate(corpus, folded, without_us=True) == generate(corpus, small)
    options = ["--model_path", folded, "--data_dir", corpus, "--output_dir", tmp_path / "deployed"]
    call("python", "-c", CONVERT, *options, "--source_lang", "xx", "--target_lang", "yy")
    stages = ["--finetune-from-model", last, "--stage-updates", "1", "--max-update", "6"]
    log = train(corpus, tmp_path / "staged", *SMALL, *stages, "--no-epoch-checkpoints")
    assert "stage 5 of 5 at update 4" in log
