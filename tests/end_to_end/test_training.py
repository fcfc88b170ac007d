"""fairseq-train with the options that fairseq's users reach for."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from fairseq.checkpoint_utils import load_model_ensemble_and_task

import shapeshifter_fairseq.models  # noqa: F401  (registers the architectures)
from shapeshifter_fairseq import FactorizedEmbedding, FactorizedLinear, fold

from .conftest import (
    BIN,
    SMALL,
    TRAINING,
    USER_DIR,
    losses,
    train,
    train_in_two_processes,
    translate,
)

THREE = ["--max-update", "3", "--no-epoch-checkpoints"]


NEEDS_CUDA = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="fairseq's --fp16 keeps its master weights on a GPU"
)


def state_of(save: Path, name: str = "checkpoint_last.pt") -> dict:
    return torch.load(save / name, weights_only=True)


def folds(corpus: Path, checkpoint: Path) -> None:
    """A trained model, loaded as fairseq does, computes the same after `fold`."""
    overrides = {"data": str(corpus)}
    (model,), _, _ = load_model_ensemble_and_task([str(checkpoint)], arg_overrides=overrides)
    tokens = torch.tensor([[5, 9, 30, 2]])
    calls = {"src_tokens": tokens, "src_lengths": torch.tensor([4]), "prev_output_tokens": tokens}
    with torch.no_grad():
        expected, _ = model.eval()(**calls)
        found, _ = fold(model)(**calls)
    kinds = {type(module) for module in model.modules()}
    assert not kinds & {FactorizedLinear, FactorizedEmbedding}
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_default_ranks_suit_a_small_dictionary(corpus, tmp_path):
    """They are lowered alike where the checkpoint is trained on and where it translates."""
    defaults = ["--layer-rank", "<=64", "--embed-rank", "<=256", "--no-epoch-checkpoints"]
    for updates in ("2", "3"):
        log = train(corpus, tmp_path, *defaults, "--max-update", updates)
        assert len(re.findall("--embed-rank <=256 does not fit and is lowered to ", log)) == 1
    assert len(translate(corpus, [tmp_path / "checkpoint_last.pt"])) == 12


def test_it_learns_and_the_checkpoint_holds_factors_only(trained, corpus):
    state = state_of(trained)
    assert state["extra_state"]["best"] < 5.5  # validation loss; it begins above 7
    names = set(state["model"])
    assert "decoder.layers.0.fc1.factors.A" in names
    dense = re.compile(r"(proj|fc\d|embed_tokens|output_projection)\.weight$")
    assert not any(dense.search(name) for name in names)
    hypotheses = translate(corpus, [trained / "checkpoint_best.pt"])
    assert len(hypotheses) == 12 and all(hypotheses)


@pytest.mark.parametrize(
    "options",
    [
        # Several of fairseq's own at a time, where they have nothing to do with each other.
        "--encoder-normalize-before --decoder-normalize-before --layernorm-embedding "
        "--checkpoint-activations --update-freq 2 --clip-norm 0.1",
        "--encoder-layerdrop 0.3 --decoder-layerdrop 0.3",
        "--store-ema --ema-decay 0.9 --layer-gain 1 --embed-gain 1",
        # Without CUDA fairseq cannot lower the loss scale after an overflow, so it begins low.
        "--store-ema --ema-decay 0.9 --ema-fp32 --memory-efficient-fp16 --fp16-init-scale 4",
        "--eval-bleu --best-checkpoint-metric bleu --maximize-best-checkpoint-metric "
        "--memory-efficient-fp16 --fp16-init-scale 4",
        pytest.param("--fp16", marks=NEEDS_CUDA),
        "--encoder-learned-pos --decoder-learned-pos --no-scale-embedding --activation-fn gelu "
        "--amp",
        "--factor-plan decoder.layers.0.*=2,encoder.layers.*.fc?=dense",
        "--arch phm_transformer_tiny --layer-rank 4 --embed-rank dense",
        # Every other family, in layers and in the table.
        "--factorization word2ketxs/order=3 --factor-plan encoder.layers.0.*=monarch:2/blocks=2,"
        "encoder.layers.1.*=block_low_rank:2/blocks=2,decoder.layers.0.*=tensor_train:2",
        "--arch lowrank_transformer_tiny --layer-rank 4 "
        "--factor-plan *embed_tokens=word2ket:2/order=3/norm=1",
    ],
)
def test_trains_generates_folds_and_resumes_with(options, corpus, tmp_path):
    train(corpus, tmp_path, *THREE, *options.split())
    assert len(translate(corpus, [tmp_path / "checkpoint_last.pt"])) == 12
    folds(corpus, tmp_path / "checkpoint_last.pt")
    log = train(corpus, tmp_path, "--max-update", "5", *options.split())
    assert "@ 3 updates" in log and max(losses(log)) == 5


@pytest.mark.parametrize(
    "ties, tables",
    [
        ([], 3),
        (["--share-decoder-input-output-embed"], 2),
        (["--share-all-embeddings"], 1),
    ],
)
def test_tied_tables_stay_tied(ties, tables, corpus, two_dictionaries, tmp_path):
    data = corpus if "--share-all-embeddings" in ties else two_dictionaries
    log = train(data, tmp_path, "--arch", "shapeshifter_transformer", *THREE, *ties)
    assert max(losses(log)) == 3
    model = state_of(tmp_path)["model"]
    storages = {
        tensor.data_ptr()
        for name, tensor in model.items()
        if re.search(r"(embed_tokens|output_projection)\.factors\.A$", name)
    }
    assert len(storages) == tables
    assert len(translate(data, [tmp_path / "checkpoint_last.pt"])) == 12


def test_resumed_after_kill_it_reaches_the_same_loss(corpus, tmp_path):
    options = ["--max-update", "40", "--save-interval-updates", "10", "--no-epoch-checkpoints"]
    # fairseq else keeps the batches of the epoch that it began with, and draws others on resuming.
    options += ["--update-epoch-batch-itr", "True"]
    whole = train(corpus, tmp_path / "whole", *options)

    killed = tmp_path / "killed"
    arguments = [*SMALL, *TRAINING, "--save-dir", killed, "--user-dir", USER_DIR, *options]
    process = subprocess.Popen(
        [str(BIN / "fairseq-train"), str(corpus), *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while not list(killed.glob("checkpoint_*_[12]0.pt")):
        assert process.poll() is None and time.monotonic() < deadline, (
            "no checkpoint to resume from"
        )
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()

    newest = max(killed.glob("checkpoint_*_[0-9]*.pt"), key=lambda path: path.stat().st_mtime)
    resumed = train(corpus, killed, *options, "--restore-file", newest)
    expected, found = losses(whole), losses(resumed)
    assert 1 not in found and 40 in found
    for update, loss in found.items():
        assert loss == pytest.approx(expected[update], abs=1.1e-3), update
    for name, tensor in state_of(tmp_path / "whole")["model"].items():
        torch.testing.assert_close(state_of(killed)["model"][name], tensor, rtol=1e-4, atol=1e-5)


def test_finetunes_from_a_model(trained, corpus, tmp_path):
    log = train(corpus, tmp_path, *THREE, "--finetune-from-model", trained / "checkpoint_best.pt")
    assert losses(log)[1] < 6  # a fresh model begins above 7


def test_two_processes_give_the_gradients_of_one_on_the_joint_batch(corpus, tmp_path):
    """One update of plain SGD from the same start: the weights differ if the gradients do."""
    sgd = ["--optimizer", "sgd", "--momentum", "0", "--lr", "0.5", "--lr-scheduler", "fixed"]
    sgd += ["--warmup-updates", "0", "--dropout", "0", "--max-update", "1", "--disable-validation"]
    sgd += ["--batch-size", "8", "--no-epoch-checkpoints", "--clip-norm", "0"]
    # An update's two batches: of two processes, or of one that collects gradients over two.
    train(corpus, tmp_path / "one", *sgd, "--update-freq", "2")
    train_in_two_processes(corpus, tmp_path / "two", *sgd, "--ddp-backend", "legacy_ddp")
    one, two = state_of(tmp_path / "one"), state_of(tmp_path / "two")
    assert two["optimizer_history"][-1]["num_updates"] == 1
    for name, tensor in one["model"].items():
        torch.testing.assert_close(two["model"][name], tensor, rtol=1e-5, atol=1e-6)
