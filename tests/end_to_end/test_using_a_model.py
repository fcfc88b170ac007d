"""What a user does with a trained checkpoint: fairseq's other commands, Python, other folders."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from fairseq.checkpoint_utils import load_model_ensemble_and_task

from shapeshifter_fairseq import FactorizedLinear, ShapeshifterTransformerModel, fold

from .conftest import BIN, USER_DIR, call, translate


def test_interactive_translates_each_line(trained, corpus):
    done = call(
        "fairseq-interactive",
        corpus,
        *("--user-dir", USER_DIR, "--path", trained / "checkpoint_best.pt", "--cpu", "--beam", "2"),
        *("--source-lang", "xx", "--target-lang", "yy"),
        stdin="s1 s2 s3\ns4\n",
    )
    assert len(re.findall(r"^H-\d+", done.stdout, re.M)) == 2


def test_generate_and_score_agree(trained, corpus, tmp_path):
    common = ["--user-dir", USER_DIR, "--path", trained / "checkpoint_best.pt", "--cpu"]
    done = call("fairseq-generate", corpus, *common, "--required-batch-size-multiple", "1")
    output = done.stdout
    printed = re.search(r"BLEU4 = ([\d.]+)", output)[1]
    for kind, name in (("H", "sys"), ("T", "ref")):
        lines = [line.split("\t") for line in output.splitlines() if line.startswith(f"{kind}-")]
        (tmp_path / name).write_text("".join(line[-1] + "\n" for line in lines))
    scored = call("fairseq-score", "--sys", tmp_path / "sys", "--ref", tmp_path / "ref")
    assert re.search(r"BLEU4 = ([\d.]+)", scored.stdout)[1] == printed


def test_validate_gives_the_validation_loss_of_training(trained, corpus):
    done = call(
        "fairseq-validate",
        corpus,
        *("--user-dir", USER_DIR, "--path", trained / "checkpoint_last.pt", "--cpu"),
        *("--task", "translation", "--max-tokens", "600", "--log-format", "simple"),
    )
    found = float(re.search(r"valid \| .*?\bloss ([\d.]+)", done.stdout + done.stderr)[1])
    state = torch.load(trained / "checkpoint_last.pt", weights_only=True)
    assert found == pytest.approx(state["extra_state"]["val_loss"], abs=2e-3)


def test_ensembles_and_scoring_of_references(trained, corpus):
    both = [trained / "checkpoint_best.pt", trained / "checkpoint_last.pt"]
    assert len(translate(corpus, both)) == 12  # an ensemble of the two
    assert len(translate(corpus, both[:1], "--score-reference")) == 12


def test_from_pretrained_translates(trained, corpus):
    model = ShapeshifterTransformerModel.from_pretrained(
        str(trained), "checkpoint_best.pt", data_name_or_path=str(corpus)
    )
    sentences = (corpus.parent / "test.xx").read_text().splitlines()
    assert model.translate(sentences) == translate(corpus, [trained / "checkpoint_best.pt"])
    # It loads the checkpoint that it came from, though its layers were folded.
    state = torch.load(trained / "checkpoint_best.pt", weights_only=True)["model"]
    for name, parameter in model.models[0].named_parameters():
        if "layer_norm" not in name:
            torch.nn.init.zeros_(parameter.data)
    model.models[0].load_state_dict(state)
    assert model.translate(sentences) == translate(corpus, [trained / "checkpoint_best.pt"])


def test_fold_gives_the_same_translations(trained, corpus, tmp_path):
    """The folded state is stock fairseq's: the plain Transformer loads and translates with it."""
    path = trained / "checkpoint_best.pt"
    models, _, _ = load_model_ensemble_and_task([str(path)], arg_overrides={"data": str(corpus)})
    model = fold(models[0])
    assert not any(isinstance(module, FactorizedLinear) for module in model.modules())
    state = torch.load(path, weights_only=True)
    state["model"] = model.state_dict()
    state["cfg"]["model"].arch = state["cfg"]["model"]._name = "transformer"
    torch.save(state, tmp_path / "folded.pt")
    assert translate(corpus, [tmp_path / "folded.pt"]) == translate(corpus, [path])


def test_half_precision_generation_stays_half(trained, corpus):
    path = str(trained / "checkpoint_best.pt")
    model = load_model_ensemble_and_task([path], arg_overrides={"data": str(corpus)})[0][0]
    model.half().eval()
    with torch.no_grad():
        assert model.decoder.output_projection.weight.dtype == torch.float16
    assert {p.dtype for p in model.parameters()} == {torch.float16}


def test_factors_of_tied_tables_are_built_once_at_inference(trained, corpus):
    path = str(trained / "checkpoint_best.pt")
    model = load_model_ensemble_and_task([path], arg_overrides={"data": str(corpus)})[0][0].eval()
    with torch.no_grad():
        assert model.encoder.embed_tokens.weight is model.decoder.output_projection.weight
    names = set(model.state_dict())
    with torch.no_grad():
        tokens = torch.tensor([[5, 6, 2]])
        model(tokens, torch.tensor([3]), tokens)
    assert set(model.state_dict()) == names


# --- where the user-dir is ----------------------------------------------------------------------


def test_the_wheel_says_what_an_index_shows(wheel):
    (info,) = wheel.glob("*.dist-info")
    said = (info / "METADATA").read_text(encoding="utf-8")
    assert "\nLicense-Expression: MIT\n" in said and "\nRequires-Python: >=3.11\n" in said
    assert (info / "licenses" / "LICENSE").is_file()
    assert (wheel / "shapeshifter_fairseq" / "py.typed").is_file()


def installed(wheel: Path, cwd: Path, *words: str) -> str:
    """What the installed command says."""
    return subprocess.run(
        [sys.executable, "-m", "shapeshifter_fairseq", *words],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(wheel)},
        check=True,
    ).stdout


def test_the_installed_command_counts(wheel, tmp_path):
    words = "params --arch shapeshifter_transformer_iwslt --vocab 8848".split()
    assert "9,375,744" in installed(wheel, tmp_path, *words)


def generate_from(user_dir: Path, cwd: Path, corpus: Path, trained: Path, path: str) -> int:
    """Hypotheses that fairseq-generate prints in a folder, with a Python path and a user-dir."""
    done = subprocess.run(
        [BIN / "fairseq-generate", corpus, "--user-dir", user_dir, "--cpu"]
        + ["--path", trained / "checkpoint_best.pt", "--required-batch-size-multiple", "1"],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return len(re.findall(r"^H-", done.stdout, re.M))


def test_user_dir_by_path_from_another_folder(trained, corpus, tmp_path):
    assert generate_from(USER_DIR, tmp_path, corpus, trained, "") == 12


def test_user_dir_from_an_installed_wheel(trained, corpus, tmp_path, wheel):
    user_dir = Path(installed(wheel, tmp_path, "user-dir").strip())
    assert user_dir == wheel / "shapeshifter_fairseq"
    assert generate_from(user_dir, tmp_path, corpus, trained, str(wheel)) == 12


def test_user_dir_both_installed_and_named_by_path(trained, corpus, tmp_path, wheel):
    assert generate_from(USER_DIR, tmp_path, corpus, trained, str(wheel)) == 12
