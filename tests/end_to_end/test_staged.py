"""--stage-updates: from a dense checkpoint to a factorized one within one fairseq-train."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import torch
from fairseq.checkpoint_utils import load_model_ensemble_and_task

import shapeshifter_fairseq.models  # noqa: F401  (registers the architectures)
from shapeshifter_fairseq import fold

from .conftest import losses, train, train_in_two_processes, translate

# The table and 2+2 blocks: five stages, after 0, 2, 4, 6 and 8 updates.
STAGED = ["--stage-updates", "2", "--no-epoch-checkpoints", "--update-epoch-batch-itr", "True"]
BLOCKS = ["decoder.layers.1", "decoder.layers.0", "encoder.layers.1", "encoder.layers.0"]


@pytest.fixture(scope="module")
def whole(dense, corpus, tmp_path_factory) -> tuple[Path, str]:
    """The save folder and the log, over several epochs."""
    save = tmp_path_factory.mktemp("staged")
    options = [*STAGED, "--max-update", "20", "--save-interval-updates", "5"]
    return save, train(corpus, save, *options, "--finetune-from-model", dense)


def dense_matrices(checkpoint: Path) -> set[str]:
    names = torch.load(checkpoint, weights_only=True)["model"]
    matrix = re.compile(r"(.*)\.(\w+_proj|fc\d|embed_tokens|output_projection)\.weight")
    return {found[1] for found in map(matrix.fullmatch, names) if found}


def test_the_log_says_what_was_factorized_when_and_how_near(whole):
    _, log = whole
    stage = re.compile(
        r"stage (\d) of 5 at update (\d+): (.+), (\d+) matri.*, relative error ([\d.]+), "
    )
    found = [found.groups() for found in map(stage.search, log.splitlines()) if found]
    assert [(int(number), int(update)) for number, update, *_ in found] == [
        (1, 0),
        (2, 2),
        (3, 4),
        (4, 6),
        (5, 8),
    ]
    assert [name for _, _, name, *_ in found] == ["embeddings and output", *BLOCKS]
    assert [int(matrices) for *_, matrices, _ in found] == [1, 10, 10, 6, 6]
    assert all(0.1 < float(error) < 1 for *_, error in found)
    assert "all stages are done" in log
    assert losses(log)[1] < 6.5  # the dense model's; a fresh one begins above 7


def test_checkpoints_hold_what_their_stage_has(whole):
    save, _ = whole
    (early,) = save.glob("checkpoint_*_5.pt")
    modules = {name for name in dense_matrices(early) if "layers" in name}
    assert {".".join(name.split(".")[:3]) for name in modules} == set(BLOCKS[2:])
    assert dense_matrices(save / "checkpoint_last.pt") == set()
    assert dense_matrices(save / "checkpoint_best.pt") == set()  # not of an earlier stage


def test_every_checkpoint_translates(whole, corpus):
    save, _ = whole
    checkpoints = [*save.glob("checkpoint_*_5.pt"), save / "checkpoint_last.pt"]
    assert len(translate(corpus, checkpoints)) == 12  # both, as an ensemble


def test_resumed_within_a_stage_it_reaches_the_same_loss(whole, corpus, tmp_path):
    save, log = whole
    (early,) = save.glob("checkpoint_*_5.pt")
    shutil.copy(early, tmp_path / "checkpoint_last.pt")
    resumed = train(corpus, tmp_path, *STAGED, "--max-update", "20")
    assert "@ 5 updates" in resumed
    assert "stage 3 of 5" not in resumed and "stage 4 of 5 at update 6" in resumed
    expected, found = losses(log), losses(resumed)
    assert set(found) == set(range(6, 21))
    assert found == {update: expected[update] for update in found}


# Plain SGD without dropout, so that processes and batches make no difference but rounding.
SAME = (
    "--optimizer sgd --momentum 0 --lr 0.01 --lr-scheduler fixed --warmup-updates 0 --dropout 0 "
    "--batch-size 8 --clip-norm 0 --no-epoch-checkpoints --disable-validation "
    "--stage-updates 1 --max-update 6 --update-epoch-batch-itr True"
).split()


def weights(corpus: Path, save: Path) -> dict[str, torch.Tensor]:
    """All that a model holds, multiplied out: of factors the signs may differ."""
    path, overrides = str(save / "checkpoint_last.pt"), {"data": str(corpus)}
    (model,), _, _ = load_model_ensemble_and_task([path], arg_overrides=overrides)
    return fold(model).state_dict()


@pytest.fixture(scope="module")
def two_processes(dense, corpus, tmp_path_factory) -> tuple[Path, str]:
    """Save folder and log under torchrun, with fairseq's own wrapper."""
    save = tmp_path_factory.mktemp("two processes")
    options = [*SAME, "--save-interval-updates", "3", "--finetune-from-model", dense]
    return save, train_in_two_processes(corpus, save, *options, "--ddp-backend", "legacy_ddp")


def same(corpus: Path, one: tuple[Path, str], other: tuple[Path, str], begin: int = 0) -> None:
    """Two trainings with the same losses from update `begin` on, and the same weights."""
    expected, found = losses(one[1]), losses(other[1])
    assert set(found) == set(range(begin + 1, 7))
    assert found == pytest.approx({update: expected[update] for update in found}, abs=2e-3)
    left, right = weights(corpus, one[0]), weights(corpus, other[0])
    assert left.keys() == right.keys()
    for name, tensor in left.items():
        torch.testing.assert_close(right[name], tensor, rtol=1e-3, atol=1e-4)


def test_two_processes_do_what_one_does_on_the_joint_batch(two_processes, dense, corpus, tmp_path):
    options = [*SAME, "--update-freq", "2", "--finetune-from-model", dense]
    same(corpus, (tmp_path, train(corpus, tmp_path, *options)), two_processes)


def test_torchs_wrapper_resumes_within_a_stage(two_processes, dense, corpus, tmp_path):
    (half,) = two_processes[0].glob("checkpoint_*_3.pt")
    shutil.copy(half, tmp_path / "checkpoint_last.pt")
    options = [*SAME, "--ddp-backend", "pytorch_ddp", "--finetune-from-model", dense]
    log = train_in_two_processes(corpus, tmp_path, *options)
    same(corpus, two_processes, (tmp_path, log), begin=3)
