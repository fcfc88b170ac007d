"""fairseq's commands on a GPU, in the precisions that it has there; skipped where there is none."""

from __future__ import annotations

import math
import shutil

import pytest
import torch

from .conftest import SMALL, TRAINING, USER_DIR, call, losses, translate

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")

ON_GPU = [option for option in TRAINING if option != "--cpu"]
ONE = ["--distributed-world-size", "1", "--no-epoch-checkpoints"]


def train(data, save, *options) -> str:
    arguments = [data, "--user-dir", USER_DIR, *SMALL, *ON_GPU, *ONE, "--save-dir", save, *options]
    done = call("fairseq-train", *arguments)
    return done.stdout + done.stderr


@pytest.mark.parametrize("precision", [[], ["--fp16"], ["--memory-efficient-fp16"], ["--amp"]])
def test_training_learns_and_its_checkpoint_translates(precision, corpus, tmp_path):
    found = losses(train(corpus, tmp_path, "--max-update", "80", *precision))
    assert all(map(math.isfinite, found.values()))
    assert found[max(found)] < found[min(found)] - 1
    here = translate(corpus, [tmp_path / "checkpoint_last.pt"])
    there = translate(corpus, [tmp_path / "checkpoint_last.pt"], on="")
    assert len(there) == len(here) == 12
    assert sum(one == other for one, other in zip(there, here)) >= 11  # ties may fall otherwise


@pytest.mark.parametrize("precision", [[], ["--fp16"]])
def test_stages_in_one_training_and_resumed(precision, dense, corpus, tmp_path):
    staged = ["--stage-updates", "2", "--max-update", "20", *precision]
    # After 3 updates: --fp16 skips some at first, and an epoch's last update would have no number.
    often = ["--save-interval-updates", "3", "--finetune-from-model", dense]
    log = train(corpus, tmp_path / "whole", *staged, *often)
    assert "stage 1 of 5 at update 0" in log and "all stages are done" in log
    assert losses(log)[20] < 8
    (early,) = (tmp_path / "whole").glob("checkpoint_*_3.pt")
    (tmp_path / "resumed").mkdir()
    shutil.copy(early, tmp_path / "resumed" / "checkpoint_last.pt")
    log = train(corpus, tmp_path / "resumed", *staged)
    assert "stage 2 of 5" not in log and "stage 3 of 5 at update 4" in log
    assert losses(log)[20] < 8
    assert len(translate(corpus, [tmp_path / "resumed" / "checkpoint_last.pt"])) == 12
