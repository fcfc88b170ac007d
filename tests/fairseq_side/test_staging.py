"""`--stage-updates` inside fairseq's trainer: what a stage changes, keeps and refuses."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from fairseq import checkpoint_utils, options
from fairseq.data import Dictionary
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.tasks.translation import TranslationTask
from fairseq.trainer import Trainer
from torch import Tensor, distributed

import shapeshifter_fairseq.models  # noqa: F401  (registers the architectures)
from shapeshifter_fairseq import ShapeshifterError
from shapeshifter_fairseq.stages import STAGE_UPDATES

pytestmark = pytest.mark.slow

OPTIONS = (
    "--arch shapeshifter_transformer_tiny --encoder-layers 1 --decoder-layers 2 "
    "--encoder-embed-dim 16 --encoder-ffn-embed-dim 32 --decoder-embed-dim 16 "
    "--decoder-ffn-embed-dim 32 --encoder-attention-heads 2 --decoder-attention-heads 2 "
    "--layer-rank 2 --embed-rank 4 --factorization low_rank --dropout 0.1 --optimizer adam "
    "--lr 0.01 --lr-scheduler inverse_sqrt --warmup-updates 4 --criterion cross_entropy "
    "--max-tokens 100 --cpu --clip-norm 1 --seed 2"
).split()
STAGED = ["--stage-updates", "3"]


@pytest.fixture(autouse=True)
def no_best_loss() -> Iterator[None]:
    """fairseq keeps it in its function."""
    yield
    vars(checkpoint_utils.save_checkpoint).pop("best", None)


def trainer_with(*more: str) -> Trainer:
    """fairseq's trainer of a model that is not trained yet."""
    arguments = ["DATA", "--task", "translation", *OPTIONS, *more]
    args = options.parse_args_and_arch(options.get_training_parser(), arguments)
    cfg = convert_namespace_to_omegaconf(args)
    dictionary = Dictionary()
    for number in range(20):
        dictionary.add_symbol(f"w{number}")
    task = TranslationTask(cfg.task, dictionary, dictionary)
    torch.manual_seed(1)
    return Trainer(cfg, task, task.build_model(cfg.model), task.build_criterion(cfg.criterion))


@pytest.fixture(scope="module")
def dense() -> dict[str, Tensor]:
    """State of the trained dense model, as far as a test cares."""
    return trainer_with("--factor-plan", "*=dense").get_model().state_dict()


def begun(dense: dict[str, Tensor], *more: str) -> Trainer:
    """At the beginning of epoch 1, with the dense model loaded."""
    trainer = trainer_with(*STAGED, *more)
    trainer.model.load_state_dict(copy.deepcopy(dense))
    trainer.begin_epoch(1)
    return trainer


def batch(seed: int) -> dict:
    draw = torch.Generator().manual_seed(seed)
    tokens, target = (torch.randint(4, 24, (3, 5), generator=draw) for _ in range(2))
    lengths = torch.full((3,), 5)
    inputs = {"src_tokens": tokens, "src_lengths": lengths, "prev_output_tokens": target.roll(1, 1)}
    return {
        "id": torch.arange(3),
        "nsentences": 3,
        "ntokens": 15,
        "net_input": inputs,
        "target": target,
    }


def train(trainer: Trainer, updates: int) -> list[float]:
    """So many updates more; returns their losses."""
    losses = []
    for _ in range(updates):
        log = trainer.train_step([batch(trainer.get_num_updates())])
        losses.append(log["loss"])
    return losses


def saved(trainer: Trainer, folder: Path) -> str:
    """A checkpoint in the midst of epoch 1."""
    trainer.consolidate_optimizer()
    extra = {"train_iterator": {"epoch": 1, "iterations_in_epoch": 1}}
    return trainer.save_checkpoint(str(folder / "checkpoint_last.pt"), extra)


def factorized(trainer: Trainer) -> set[str]:
    """The blocks (or tables) whose matrices are in factors."""
    names = [name for name in trainer.get_model().state_dict() if name.endswith(".factors.size")]
    return {".".join(name.split(".")[: 3 if ".layers." in name else 2]) for name in names}


TABLES = {"encoder.embed_tokens", "decoder.embed_tokens", "decoder.output_projection"}
BLOCKS = ["decoder.layers.1", "decoder.layers.0", "encoder.layers.0"]
STAGES = [TABLES, *({block} for block in BLOCKS)]


def test_one_stage_after_another(dense):
    trainer = begun(dense)
    done = {0: factorized(trainer)}
    for update in range(1, 11):
        train(trainer, 1)
        done[update] = factorized(trainer)
    for update, names in done.items():
        assert names == set().union(*STAGES[: update // 3 + 1]), update


def test_the_last_stages_model_is_an_ordinary_one(dense):
    staged = begun(dense)
    train(staged, 9)
    ordinary = trainer_with().get_model()
    ordinary.load_state_dict(staged.get_model().state_dict())
    model = staged.get_model()
    assert model.decoder.output_projection.factors is model.encoder.embed_tokens.factors


def test_the_log_names_what_was_factorized_and_how_near_it_is(dense, caplog):
    caplog.set_level("INFO", logger="shapeshifter_fairseq")
    trainer = begun(dense)
    trainer.quantizer.step_update(3)  # the second stage, of the same weights
    lines = [r.getMessage() for r in caplog.records if r.name.startswith("shapeshifter_fairseq")]
    heads = [line for line in lines if line.startswith("stage ")]
    assert [head.split(", relative error ")[0] for head in heads] == [
        "stage 1 of 4 at update 0: embeddings and output, 1 matrix",
        "stage 2 of 4 at update 3: decoder.layers.1, 10 matrices",
    ]
    assert all(" parameters become " in head for head in heads)
    matrices = [line.split() for line in lines if line not in heads]
    assert len(matrices) == 1 + 10
    assert " ".join(matrices[0][1:]) == (
        "encoder.embed_tokens = decoder.embed_tokens = decoder.output_projection"
    )
    for error, name, *_ in matrices:
        weight = dense[f"{name}.weight"]
        made = trainer.get_model().get_submodule(name).weight
        expected = ((made - weight).norm() / weight.norm()).item()
        assert float(error) == pytest.approx(expected, abs=1e-4), name
    train(trainer, 9)
    assert "all stages are done" in caplog.records[-1].getMessage()


def adam(trainer: Trainer) -> dict[str, dict]:
    """Adam's state by the parameter's name, copied; with masters under "master"."""
    optimizer = trainer.optimizer
    stepped = list(getattr(optimizer, "fp32_params", optimizer.params))
    found = {}
    for (name, _), parameter in zip(trainer.get_model().named_parameters(), stepped):
        found[name] = copy.deepcopy(dict(optimizer.optimizer.state.get(parameter, {})))
        found[name]["master"] = parameter.detach().clone()
    return found


def scale_of(trainer: Trainer) -> dict:
    """All that the loss scale of half precision depends on."""
    return dict(vars(getattr(trainer.optimizer, "scaler", object)))


def equal(one: object, other: object) -> bool:
    return torch.equal(one, other) if torch.is_tensor(one) else one == other


# Without CUDA fairseq cannot lower the loss scale after an overflow, so it begins low.
@pytest.mark.parametrize(
    "precision",
    ["", "--memory-efficient-fp16 --fp16-init-scale 4", "--amp"]
    + ["--fp16 --fp16-no-flatten-grads --fp16-init-scale 4", "--optimizer nag --momentum 0.9"],
)
def test_untouched_parameters_keep_their_optimizers_state(precision, dense):
    """To the last bit: what it was after update 3 before the stage, and what it is behind it."""
    trainer = begun(dense, *precision.split(), "--stage-updates", "100")
    train(trainer, 3)
    before, lr, scale = adam(trainer), trainer.get_lr(), scale_of(trainer)
    trainer.get_model().stages.updates = 3
    trainer.quantizer.step_update(3)
    after = adam(trainer)
    assert factorized(trainer) == STAGES[0] | STAGES[1]
    kept = before.keys() & after.keys()
    assert len(kept) > 40 and any(".factors." in name for name in kept)
    for name in kept:
        assert before[name].keys() == after[name].keys() and len(before[name]) > 1
        for key, value in before[name].items():
            assert equal(after[name][key], value), (name, key)
    new = after.keys() - before.keys()
    assert new and all(name.startswith(f"{BLOCKS[0]}.") for name in new)
    assert all(after[name].keys() == {"master"} for name in new)  # as at the first update
    assert trainer.get_lr() == lr and scale_of(trainer) == scale
    train(trainer, 7)


def test_flat_parameters_of_fp16_keep_their_state(dense, monkeypatch):
    """--fp16 keeps one flat vector a GPU; here for the device that a CPU's tensors name, None."""
    monkeypatch.setattr(torch.cuda, "current_device", lambda: None)
    trainer = begun(dense, "--fp16", "--fp16-init-scale", "4", "--stage-updates", "100")

    def flat() -> dict[str, dict[str, Tensor]]:
        (vector,) = trainer.optimizer.fp32_params.values()
        state = {**trainer.optimizer.optimizer.state[vector], "master": vector.detach()}
        found, begin = {}, 0
        for name, parameter in trainer.get_model().named_parameters():
            end = begin + parameter.numel()
            found[name] = {
                key: value[begin:end].clone() if torch.is_tensor(value) else value
                for key, value in state.items()
            }
            begin = end
        assert begin == vector.numel()
        return found

    train(trainer, 3)
    before = flat()
    assert before["decoder.layers.0.fc1.bias"]["exp_avg"].any()
    trainer.get_model().stages.updates = 3
    trainer.quantizer.step_update(3)
    after = flat()
    kept = before.keys() & after.keys()
    assert len(kept) > 40
    for name in kept:
        for key, value in before[name].items():
            assert equal(after[name][key], value), (name, key)
    for name in after.keys() - before.keys():
        assert not after[name]["exp_avg"].any() and after[name]["step"] == 3
        assert after[name]["master"].any()
    losses = train(trainer, 7)
    assert all(loss < 8 for loss in losses) and TABLES <= factorized(trainer)


@pytest.mark.parametrize(
    "schedule",
    [
        "--lr-scheduler inverse_sqrt --warmup-updates 4",
        "--lr-scheduler polynomial_decay --warmup-updates 4 --total-num-update 12",
        "--lr-scheduler cosine --warmup-updates 2 --lr-period-updates 5 --lr-shrink 0.5",
        "--lr-scheduler fixed --force-anneal 1 --lr-shrink 0.9",
    ],
)
def test_the_learning_rate_is_that_of_a_training_without_stages(schedule, dense):
    def rates(trainer: Trainer) -> list[float]:
        found = []
        for epoch in (2, 3):
            for _ in range(5):
                train(trainer, 1)
                found.append(trainer.get_lr())
            trainer.lr_step(epoch - 1, 1.0 * epoch)
            trainer.begin_epoch(epoch)
        return found

    plain = trainer_with(*schedule.split())
    plain.begin_epoch(1)
    assert rates(begun(dense, *schedule.split())) == rates(plain)


@pytest.mark.parametrize("update", [0, 4, 9])
def test_resumed_at_any_update_it_goes_on_as_if_nothing_had_been(update, dense, tmp_path):
    whole = begun(dense)
    train(whole, update)
    resumed = trainer_with(*STAGED)
    resumed.load_checkpoint(saved(whole, tmp_path))
    assert resumed.get_num_updates() == update
    resumed.begin_epoch(1)
    assert factorized(resumed) == factorized(whole)
    assert train(resumed, 12 - update) == train(whole, 12 - update)
    expected, found = whole.get_model().state_dict(), resumed.get_model().state_dict()
    assert expected.keys() == found.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    one, other = adam(whole), adam(resumed)
    assert all(equal(one[name][key], other[name][key]) for name in one for key in one[name])


def test_processes_share_all_that_a_projection_found(dense, monkeypatch):
    """word2ket with LayerNorms fits a buffer too, its spread."""
    trainer = trainer_with(*STAGED, "--factor-plan", "*embed_tokens=word2ket:1/norm=1")
    trainer.model.load_state_dict(copy.deepcopy(dense))
    sent = []
    monkeypatch.setattr(Trainer, "data_parallel_process_group", None)
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "broadcast", lambda tensor, **_: sent.append(tensor))
    trainer.quantizer._factorize(trainer.get_model().stages.stages[0], 0)
    factors = trainer.get_model().encoder.embed_tokens.factors
    expected = {factors.v.data_ptr(), factors.scale.data_ptr(), factors.spread.data_ptr()}
    assert {tensor.data_ptr() for tensor in sent} == expected


def test_ranks_at_most_are_lowered_stage_by_stage(dense, caplog):
    caplog.set_level("INFO", "shapeshifter_fairseq")
    trainer = begun(dense, "--layer-rank", "<=99", "--embed-rank", "<=99")
    assert sum("is lowered to" in line for line in caplog.messages) == 2  # before the training
    train(trainer, 9)
    model = trainer.get_model()
    assert model.encoder.embed_tokens.factors.rank == model.encoder.layers[0].fc1.factors.rank == 16
    assert sum("is lowered to" in line for line in caplog.messages) == 2


def test_the_best_loss_is_that_of_the_stage(dense):
    checkpoint_utils.save_checkpoint.best = 1.0
    trainer = begun(dense)
    assert not hasattr(checkpoint_utils.save_checkpoint, "best")
    checkpoint_utils.save_checkpoint.best = 1.0
    train(trainer, 2)
    assert checkpoint_utils.save_checkpoint.best == 1.0
    train(trainer, 1)
    assert not hasattr(checkpoint_utils.save_checkpoint, "best")


def test_without_stages_nothing_is_changed(dense):
    trainer = trainer_with()
    assert trainer.quantizer is None and trainer.get_model().stages is None


def test_500_updates_if_none_are_given():
    parser = options.get_training_parser()
    args = options.parse_args_and_arch(parser, ["DATA", *OPTIONS, "--stage-updates"])
    assert args.stage_updates == STAGE_UPDATES == 500


@pytest.mark.parametrize(
    "more, words",
    [
        ("--store-ema", "--store-ema does not work with --stage-updates"),
        ("--patience 3", "--patience does not work with --stage-updates: a stage raises the loss"),
        ("--keep-best-checkpoints 1", "--keep-best-checkpoints does not work with --stage-updates"),
        ("--lr-scheduler reduce_lr_on_plateau", "a stage raises the loss, which would lower the"),
        ("--max-epoch 3", "--max-epoch does not work with --stage-updates: it may end the train"),
        ("--zero-sharding os", "--zero-sharding os does not work with --stage-updates"),
        ("--max-update 9", "the last of 4 stages begins after 9 updates"),
        ("--stage-updates 0", "--stage-updates 0"),
        ("--stage-updates -1", "--stage-updates -1"),
        ("--stage-order up", "--stage-order up: choose last-first or first-last"),
        ("--factor-plan *=dense", "the plan leaves every matrix dense"),
    ],
)
def test_options_that_cannot_be(more, words):
    with pytest.raises(ShapeshifterError) as error:
        trainer_with(*STAGED, *more.split())
    assert words in str(error.value)


def test_an_order_without_stages_is_refused():
    with pytest.raises(ShapeshifterError, match="--stage-order first-last .* --stage-updates too"):
        trainer_with("--stage-order", "first-last")


def test_max_update_leaves_the_last_stage_one_update():
    trainer_with(*STAGED, "--max-update", "10")


def test_it_begins_with_a_trained_model():
    trainer = trainer_with(*STAGED)
    with pytest.raises(ShapeshifterError, match="dense model: .*--finetune-from-model"):
        trainer.begin_epoch(1)


def test_it_begins_with_a_dense_model():
    trainer = trainer_with(*STAGED)
    trainer.model.load_state_dict(trainer_with().get_model().state_dict())
    with pytest.raises(ShapeshifterError, match="factorized already"):
        trainer.begin_epoch(1)


def test_it_begins_at_update_0(dense, tmp_path: Path):
    """With the dense model's updates, all stages would come at once."""
    trained = trainer_with("--factor-plan", "*=dense")
    trained.begin_epoch(1)
    train(trained, 7)
    path = saved(trained, tmp_path)
    trainer = trainer_with(*STAGED)
    trainer.load_checkpoint(path)
    with pytest.raises(ShapeshifterError, match="at update 7: 3 stages .*--finetune-from"):
        trainer.begin_epoch(1)
    trainer = trainer_with(*STAGED)
    trainer.load_checkpoint(path, reset_optimizer=True)
    trainer.begin_epoch(1)
    assert factorized(trainer) == TABLES
