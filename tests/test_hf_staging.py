"""Staged factorization under transformers' `Trainer`: what a stage changes, keeps and refuses."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from accelerate import DistributedType
from torch import nn
from transformers import BertConfig, BertForMaskedLM, Trainer, TrainerCallback, TrainingArguments
from transformers.utils import logging

from shapeshifter_fairseq import FactorizedEmbedding, FactorizedLinear, Plan, ShapeshifterError, hf
from shapeshifter_fairseq.stages import Stages

from .test_hf import SIZES, load, logits, t5

logging.set_verbosity_error()
logging.disable_progress_bar()

PLAN = "*encoder.layer.*=low_rank:8,*word_embeddings=kronecker:4"
TABLE = "bert.embeddings.word_embeddings"
BLOCKS = ["bert.encoder.layer.2", "bert.encoder.layer.1", "bert.encoder.layer.0"]
K, UPDATES = 2, 8
ROOT = Path(__file__).resolve().parents[1]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]


def bert(dropout: float = 0.1) -> BertForMaskedLM:
    torch.manual_seed(0)
    rates = dict.fromkeys(["hidden_dropout_prob", "attention_probs_dropout_prob"], dropout)
    return BertForMaskedLM(BertConfig(**{**SIZES, "num_hidden_layers": 3}, **rates))


def trainer_of(
    folder: Path,
    *callbacks: TrainerCallback,
    model: nn.Module | None = None,
    compute_metrics: Callable | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    **options,
) -> Trainer:
    draw = torch.Generator().manual_seed(1)
    rows = torch.randint(5, 60, (12, 8), generator=draw)
    data = [{"input_ids": row, "labels": row} for row in rows]
    settings = {
        "max_steps": UPDATES,
        "save_steps": 1,
        "logging_steps": 1,
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-2,
        "weight_decay": 0.1,
    } | options
    settings |= {"use_cpu": True, "report_to": [], "disable_tqdm": True}
    args = TrainingArguments(str(folder), **settings)
    return Trainer(
        bert() if model is None else model,
        args,
        train_dataset=data,
        eval_dataset=data[:4],
        callbacks=[*callbacks],
        compute_metrics=compute_metrics,
        optimizers=(optimizer, None),
    )


def staged(**options) -> hf.StagedFactorization:
    return hf.StagedFactorization(PLAN, **{"updates": K} | options)


def factorized(model: nn.Module) -> set[str]:
    layers = (FactorizedLinear, FactorizedEmbedding)
    return {name for name, module in model.named_modules() if isinstance(module, layers)}


def stages_of(model: nn.Module) -> set[str]:
    """The names of blocks and tables that hold factors."""
    names = {".".join(name.split(".")[:4]) for name in factorized(model)}
    return names - {"cls.predictions.decoder"}  # it shares the table's


def snapshot(optimizer, model: nn.Module) -> dict[str, dict]:
    """Adam's state by the parameter's name, copied."""
    named = model.named_parameters()
    return {name: copy.deepcopy(optimizer.state.get(one, {})) for name, one in named}


class Before(TrainerCallback):
    """Notes Adam's state when a step begins."""

    def on_step_begin(self, args, state, control, model, optimizer, **_):
        self.adam = snapshot(optimizer, model)


class After(TrainerCallback):
    """Called after the stage: notes what is in factors, and compares Adam's state."""

    def __init__(self, before: Before) -> None:
        self.before, self.stages, self.logits, self.compared = before, {}, {}, 0

    def on_step_begin(self, args, state, control, model, optimizer, **_):
        self.stages[state.global_step] = stages_of(model)
        was, now = self.before.adam, snapshot(optimizer, model)
        assert all(not now[name] for name in now.keys() - was.keys())
        assert now.keys() - was.keys() or now.keys() == was.keys()
        for name in was.keys() & now.keys():
            assert was[name].keys() == now[name].keys()
            for key, value in was[name].items():
                assert torch.equal(value, now[name][key]), name
                self.compared += 1
        fresh = copy.copy(self.trainer)
        fresh.optimizer = None
        groups = [group["params"] for group in fresh.create_optimizer().param_groups]
        for group, expected in zip(optimizer.param_groups, groups):
            assert list(map(id, group["params"])) == list(map(id, expected))
        assert optimizer.state.keys() <= {one for group in groups for one in group}

    def on_save(self, args, state, control, model, **_):
        training = model.training
        self.logits[state.global_step] = logits(model.eval())
        model.train(training)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A whole training: its folder, its trainer and what was seen in it."""
    folder = tmp_path_factory.mktemp("whole")
    before = Before()
    after = After(before)
    after.trainer = trainer = trainer_of(folder, before, staged(), after)
    trainer.train()
    return folder, trainer, after


def test_one_stage_after_another_and_adam_keeps_its_state(whole):
    _, trainer, after = whole
    assert after.stages == {update: {TABLE, *BLOCKS[: update // K]} for update in range(UPDATES)}
    assert after.compared > 1000
    rates = [log["learning_rate"] for log in trainer.state.log_history if "loss" in log]
    assert rates == pytest.approx([1e-2 * (1 - n / UPDATES) for n in range(UPDATES)])


def test_first_to_last(tmp_path):
    before = Before()
    after = After(before)
    callbacks = before, staged(order="first-last"), after
    after.trainer = trainer_of(tmp_path, *callbacks, save_strategy="no")
    after.trainer.train()
    assert after.stages[2] == {TABLE, BLOCKS[2]} and after.stages[4] == {TABLE, *BLOCKS[1:]}


@pytest.mark.parametrize("update", [1, 4, 5, UPDATES])
def test_every_checkpoint_loads(update, whole):
    folder, _, after = whole
    model = load(BertForMaskedLM, folder / f"checkpoint-{update}").eval()
    done = min((update - 1) // K, len(BLOCKS))
    assert stages_of(model) == {TABLE, *BLOCKS[:done]}
    assert torch.equal(logits(model), after.logits[update])
    assert (model.config.quantization_config.plan == PLAN) == (done == len(BLOCKS))


def test_the_last_stages_model_is_an_ordinary_one(whole):
    _, trainer, after = whole
    model = copy.deepcopy(trainer.model).eval()
    assert factorized(model) == factorized(hf.factorize(bert(), PLAN))
    model.dequantize()
    torch.testing.assert_close(logits(model), after.logits[UPDATES], rtol=1e-4, atol=1e-5)
    assert model.cls.predictions.decoder.weight is model.bert.embeddings.word_embeddings.weight
    assert model.state_dict().keys() == bert().state_dict().keys()


@pytest.mark.parametrize("update", [1, 4])
def test_resumed_at_any_update_it_goes_on_as_if_nothing_had_been(update, whole, tmp_path):
    folder, expected, _ = whole
    resumed = trainer_of(tmp_path, staged(), save_strategy="no")
    resumed.train(resume_from_checkpoint=str(folder / f"checkpoint-{update}"))
    for name, tensor in expected.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], tensor), name
    one, other = (snapshot(each.optimizer, each.model) for each in (expected, resumed))
    assert all(torch.equal(one[name][key], other[name][key]) for name in one for key in one[name])


def test_an_optimizer_of_the_users_keeps_its_groups(tmp_path):
    """A rate for each block; what is frozen or left out of its groups is not stepped."""

    def trainer(**more) -> Trainer:
        model = bert(dropout=0)
        model.cls.predictions.transform.requires_grad_(False)
        blocks = [{"params": list(one.parameters())} for one in model.bert.encoder.layer]
        optimizer = torch.optim.AdamW(
            [{**group, "lr": 10.0 ** -(number + 2)} for number, group in enumerate(blocks)]
        )
        plan = "*encoder.layer.*=low_rank:8,*transform*=low_rank:8"
        callback = hf.StagedFactorization(plan, updates=2, order="first-last")
        return trainer_of(tmp_path, callback, model=model, optimizer=optimizer, **more)

    whole, again = trainer(), trainer(save_strategy="no")
    whole.train()
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    for one in (whole, again):
        groups = [[id(p) for p in group["params"]] for group in one.optimizer.param_groups]
        blocks = [list(map(id, block.parameters())) for block in one.model.bert.encoder.layer]
        assert groups == blocks
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], tensor), name


def test_the_best_model_is_one_of_the_last_stage(tmp_path):
    falling = iter(range(UPDATES, 0, -1))  # what is best at first
    trainer = trainer_of(
        tmp_path,
        staged(),
        compute_metrics=lambda _: {"score": next(falling)},
        eval_strategy="steps",
        eval_steps=1,
        load_best_model_at_end=True,
        metric_for_best_model="score",
    )
    trainer.train()
    first_of_last = K * len(BLOCKS) + 1
    assert trainer.state.best_model_checkpoint.endswith(f"checkpoint-{first_of_last}")
    best = BertForMaskedLM.from_pretrained(tmp_path / f"checkpoint-{first_of_last}")
    assert torch.equal(logits(trainer.model.eval()), logits(best.eval()))


def test_two_processes_hold_the_same_factors(tmp_path):
    """And they train as one process does on the same batches (in double precision: Adam magnifies
    the rounding of small gradients)."""
    subprocess.run([*TORCHRUN, "-m", "tests.two_processes", str(tmp_path)], check=True, cwd=ROOT)
    first, second, again, _ = (
        torch.load(tmp_path / f"{name}{rank}.pt") for name in ("whole", "again") for rank in (0, 1)
    )
    assert any("layer.0.output.dense.factors" in name for name in first)
    for name, tensor in first.items():
        assert torch.equal(second[name], tensor), name
        assert torch.equal(again[name], tensor), name
    alone = trainer_of(tmp_path, staged(), model=bert(dropout=0).double(), save_strategy="no")
    alone.train()
    for name, tensor in alone.model.state_dict().items():
        torch.testing.assert_close(first[name], tensor, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda _: hf.StagedFactorization("64"), "is not PATTERN=VALUE"),
        (lambda at: trainer_of(at, staged(updates=0)), "updates 0: give 1 update or more"),
        (lambda at: trainer_of(at, staged(order="middle")), "order middle: choose last-first or"),
        (lambda at: trainer_of(at, hf.StagedFactorization("decoder=4")), "matches no matrix"),
        (lambda at: trainer_of(at, hf.StagedFactorization("*=dense")), "leaves every matrix"),
        (lambda at: trainer_of(at, staged(), model=nn.Linear(2, 2)), "not a Linear"),
        (
            lambda at: trainer_of(at, staged(), model=hf.factorize(bert(), PLAN)),
            "factorized or quantized already",
        ),
        (
            lambda at: trainer_of(at, staged(), max_steps=6).train(),
            "has 6 updates, but with updates=2 the last of 4 stages begins after 6; train longer",
        ),
        (lambda at: late(at).train(), "add_callback is too late"),
    ],
)
def test_mistakes_are_told_in_a_line(make, words, tmp_path):
    with pytest.raises(ShapeshifterError) as error:
        make(tmp_path)
    assert words in str(error.value) and "\n" not in str(error.value)


def late(folder: Path) -> Trainer:
    trainer = trainer_of(folder)
    trainer.add_callback(staged())
    return trainer


@pytest.mark.parametrize(
    "again, words",
    [
        ({"updates": 1}, "is at update 4: 2 stages are due"),
        ({"order": "first-last"}, "is at update 4: 2 stages are due"),
    ],
)
def test_a_checkpoint_of_other_stages_is_refused(again, words, whole, tmp_path):
    folder, _, _ = whole
    with pytest.raises(ShapeshifterError, match=words):
        trainer_of(tmp_path, staged(**again)).train(
            resume_from_checkpoint=str(folder / "checkpoint-4")
        )


def test_a_model_does_not_go_back_to_an_earlier_stage(whole):
    folder, trainer, _ = whole
    with pytest.raises(ShapeshifterError, match="is dense in the checkpoint, and factorized"):
        trainer.train(resume_from_checkpoint=str(folder / "checkpoint-4"))


def test_parameters_that_another_keeps_are_refused(tmp_path):
    optimizer = SimpleNamespace(
        accelerator_state=SimpleNamespace(distributed_type=DistributedType.FSDP)
    )
    with pytest.raises(ShapeshifterError, match="does not work with FSDP"):
        staged().on_train_begin(None, None, None, model=None, optimizer=optimizer)


def test_a_training_that_ends_early_says_what_is_left(tmp_path, caplog):
    class Stop(TrainerCallback):
        def on_step_end(self, args, state, control, **_):
            control.should_training_stop = True

    trainer_of(tmp_path, staged(), Stop(), save_strategy="no").train()
    assert "ended at update 1: 3 of 4 stages are left" in caplog.text


def test_a_block_is_one_of_the_outermost_list():
    found = Stages.of(t5(), Plan.parse("*=4,*relative*=dense"), {}, 1)
    sides = [f"{side}.block.{n}" for side in ("decoder", "encoder") for n in (1, 0)]
    assert [stage.name for stage in found.stages] == ["embeddings and output", *sides]
