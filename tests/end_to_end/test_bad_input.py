"""A mistake ends in one line that names the option or file and the way out, and loses nothing."""

from __future__ import annotations

import os
import pickle

import pytest
import torch

import shapeshifter_fairseq.models  # noqa: F401  (lets checkpoints load weights-only)

from .conftest import SMALL, TRAINING, USER_DIR, call, make_corpus


def error_of(command: str, *options) -> str:
    """The one line that the command says on failing; no traceback."""
    done = call(command, *options, fails=True)
    assert "Traceback" not in done.stderr, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("shapeshifter: error: ")]
    assert len(lines) == 1 and done.stderr.rstrip().endswith(lines[0]), done.stderr
    return lines[0]


def error_of_training(data, save, *options) -> str:
    arguments = [data, "--user-dir", USER_DIR, *SMALL, *TRAINING, "--save-dir", save]
    return error_of("fairseq-train", *arguments, "--max-update", "1", *options)


def error_of_generating(data, checkpoint, *options) -> str:
    path = ["--user-dir", USER_DIR, "--path", checkpoint, "--cpu"]
    return error_of("fairseq-generate", data, *path, *options)


@pytest.mark.parametrize(
    "options, words",
    [
        (["--layer-rank", "0"], ["--layer-rank 0", "1 to"]),
        (["--layer-rank", "5000"], ["--layer-rank 5000", "32 x 32", "1 to"]),
        (["--embed-rank", "5000"], ["--embed-rank 5000", "embed_tokens", "1 to"]),
        (["--factor-plan", "decoder"], ["--factor-plan", "'decoder'", "PATTERN=VALUE"]),
        (["--factor-plan", "nothing.*=3"], ["--factor-plan", "'nothing.*=3'", "matches no matrix"]),
        (["--factorization", "monrch"], ["--factorization monrch", "no family", "monarch"]),
        (["--factorization", "monarch/blocks=99"], ["blocks=99", "embed_tokens", "0 to 32"]),
        (["--factor-plan", "*.fc1=word2ket:1"], ["'*.fc1=word2ket:1'", "fc1", "word2ketxs"]),
        (["--layer-gain", "0"], ["--layer-gain 0", "above 0"]),
        (["--stage-updates", "0"], ["--stage-updates 0", "1 update or more"]),
        (
            ["--stage-updates", "2"],
            ["--max-update 1", "--stage-updates 2", "raise --max-update or lower"],
        ),
        (
            ["--stage-updates", "2", "--max-update", "99"],
            ["--stage-updates", "dense model", "--finetune-from-model"],
        ),
        (["--quant-noise-pq", "0.1"], ["--quant-noise-pq"]),
        (["--quant-noise-scalar", "0.1"], ["--quant-noise-scalar"]),
        (["--adaptive-softmax-cutoff", "20"], ["--adaptive-softmax-cutoff"]),
        (["--adaptive-input"], ["--adaptive-input"]),
        (["--encoder-embed-path", "x.txt"], ["--encoder-embed-path"]),
        (["--decoder-embed-path", "x.txt"], ["--decoder-embed-path"]),
        (["--base-layers", "1"], ["--base-layers"]),
        (["--bf16"], ["--bf16", "fairseq-hydra-train common.bf16=true"]),
    ],
)
def test_options_that_cannot_be(options, words, corpus, tmp_path):
    line = error_of_training(corpus, tmp_path, *options)
    assert all(word in line for word in words), line


def test_debugging_brings_the_traceback_back(corpus, tmp_path, monkeypatch):
    monkeypatch.setenv("SHAPESHIFTER_DEBUG", "1")
    arguments = [corpus, "--user-dir", USER_DIR, *SMALL, *TRAINING, "--save-dir", tmp_path]
    done = call("fairseq-train", *arguments, "--layer-rank", "0", fails=True)
    assert "Traceback" in done.stderr


def test_two_dictionaries_for_shared_embeddings(two_dictionaries, tmp_path):
    assert "--joined-dictionary" in error_of_training(two_dictionaries, tmp_path)


@pytest.mark.parametrize(
    "options, words",
    [
        (["--layer-rank", "3"], ["--layer-rank"]),
        (["--embed-rank", "3"], ["--embed-rank"]),
        (["--encoder-layers", "3"], ["--arch"]),
        (["--factor-plan", "*=dense"], ["--factor-plan"]),
        (["--factorization", "low_rank"], ["--factorization"]),
        (["--encoder-embed-dim", "64", "--decoder-embed-dim", "64"], ["--arch"]),
    ],
)
def test_a_checkpoint_of_another_model(options, words, trained, corpus, tmp_path):
    start = ["--finetune-from-model", trained / "checkpoint_best.pt"]
    line = error_of_training(corpus, tmp_path, *start, *options)
    assert all(word in line for word in ["checkpoint_best.pt", *words]), line


def test_a_checkpoint_of_another_architecture(trained, corpus, tmp_path):
    dense = tmp_path / "dense"
    options = ["--arch", "transformer", "--share-all-embeddings", "--max-update", "1"]
    small = [word for word in SMALL if word not in ("--layer-rank", "--embed-rank", "4", "8")]
    call(
        "fairseq-train",
        *(corpus, "--user-dir", USER_DIR, *small, *TRAINING, "--save-dir", dense, *options),
    )
    before = (dense / "checkpoint_last.pt").read_bytes()
    line = error_of_training(corpus, dense)
    assert "checkpoint_last.pt" in line and "--arch" in line
    assert (dense / "checkpoint_last.pt").read_bytes() == before


@pytest.mark.parametrize("words", [44, 60])
def test_a_dictionary_of_another_size(words, trained, tmp_path):
    other = make_corpus(tmp_path, words=words)
    line = error_of_generating(other, trained / "checkpoint_best.pt")
    assert "checkpoint_best.pt" in line and "dictionary" in line


@pytest.mark.parametrize("kept", [0, 100, 20000])
def test_a_truncated_checkpoint(kept, trained, corpus, tmp_path):
    path = tmp_path / "checkpoint_last.pt"
    path.write_bytes((trained / "checkpoint_last.pt").read_bytes()[:kept])
    line = error_of_generating(corpus, path)
    assert str(path) in line and "truncated" in line
    line = error_of_training(corpus, tmp_path)
    assert str(path) in line and "truncated" in line
    assert path.stat().st_size == kept  # it was not replaced


class Hostile:
    def __reduce__(self):
        return os.system, ("touch pwned",)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_hostile_checkpoint_is_refused(legacy, trained, corpus, tmp_path, monkeypatch):
    """torch's weights-only loading stays on: what a pickle wants to run does not run."""
    state = torch.load(trained / "checkpoint_best.pt", weights_only=True)
    state["extra_state"]["payload"] = Hostile()
    path = tmp_path / "hostile.pt"
    if legacy:
        path.write_bytes(pickle.dumps(state, protocol=2))
    else:
        torch.save(state, path)
    line = error_of_generating(corpus, path)
    assert str(path) in line and "refused" in line
    assert not list(tmp_path.rglob("pwned")) and not os.path.exists("pwned")


def test_a_folder_without_data(trained, tmp_path):
    line = error_of_training(tmp_path / "nowhere", tmp_path / "save")
    assert str(tmp_path / "nowhere") in line
    line = error_of_generating(tmp_path / "nowhere", trained / "checkpoint_best.pt")
    assert str(tmp_path / "nowhere") in line
