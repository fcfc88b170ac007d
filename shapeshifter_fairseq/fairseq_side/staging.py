"""Staged factorization inside fairseq's trainer: what `--stage-updates` does while it trains.

A stage changes the model's parameters. So the optimizer and the wrapper of distributed training
have to be made again, and only the trainer can do that. The trainer does not pass itself to
anything that a user-dir may define (model, task, criterion, optimizer, scheduler). But it has a
`quantizer`, made for fairseq's iterative product quantization: an object that is told the epoch and
the updates, changes layers and calls `Trainer.reinitialize`. fairseq-train makes one only from a
file of its own kind. So, once a model with stages is built, `Trainer.__init__` is wrapped and
passes a `Staging` in its place. Nothing else of fairseq's is replaced, and no other model's
training is touched.

The alternatives were worse. Replacing fairseq's `Quantizer` would need its file and its option too.
A task of our own would displace the user's, and would still not have the trainer.
"""

from __future__ import annotations

import functools
import logging

from fairseq import checkpoint_utils
from fairseq.trainer import Trainer
from omegaconf import DictConfig

from ..errors import ShapeshifterError
from ..stages import Stage
from .optimizer_state import carry_over

logger = logging.getLogger(__name__)


def stage_in_trainer() -> None:
    """Let every trainer that is made from now on factorize a model with `stages`."""
    original = Trainer.__init__
    if getattr(original, "is_shapeshifters", False):
        return

    @functools.wraps(original)
    def with_stages(self, cfg, task, model, criterion, quantizer=None) -> None:
        if getattr(model, "stages", None) is not None:
            quantizer = Staging()
        original(self, cfg, task, model, criterion, quantizer)

    with_stages.is_shapeshifters = True
    Trainer.__init__ = with_stages


class Staging:
    """Takes the place of the trainer's quantizer.

    Before the first update, and after every update, it factorizes the stage that is due. The
    trainer then goes on as after a restart from a checkpoint. The optimizer keeps its state of all
    other parameters.
    """

    def __init__(self) -> None:
        self.epoch: int | None = None  # None while nothing is trained yet

    def set_trainer(self, trainer: Trainer) -> None:
        """Called by the trainer at the end of its constructor.

        Raises:
            ShapeshifterError: if an option does not work with stages.
        """
        self.trainer, self.model = trainer, trainer.get_model()
        self.stages = self.model.stages
        _refuse_what_cannot_work(trainer.cfg)
        last, longest = self.stages.begin_of_last, trainer.cfg.optimization.max_update
        if 0 < longest <= last:
            raise ShapeshifterError(
                f"--max-update {longest}: with --stage-updates {self.stages.updates} the last of "
                f"{len(self.stages.stages)} stages begins after {last} updates; raise --max-update "
                "or lower --stage-updates"
            )

    def begin_epoch(self, epoch: int) -> None:
        """Called before each epoch. If there is a checkpoint, it is loaded before the first one.

        Raises:
            ShapeshifterError: if the training does not begin with a dense model.
        """
        begins, self.epoch = self.epoch is None, epoch
        if begins:
            self._check_start()
            # Loading may have given the model other layers than those that the trainer wrapped.
            self._renew_trainer()
        self.step_update(self.trainer.get_num_updates())

    def step_update(self, num_updates: int) -> None:
        """Called after each update, and by the trainer's loading of a checkpoint.

        Raises:
            ShapeshifterError: if several stages are due at once.
        """
        if self.epoch is None:
            return
        way_out = (
            "begin from a dense model with --finetune-from-model, or go on with the "
            "--stage-updates and --stage-order"
        )
        if due := self.stages.due(self.model, num_updates, way_out):
            self._factorize(due, num_updates)
            self._renew_trainer()
            # Otherwise checkpoint_best.pt would stay a model with fewer factorized matrices, which
            # scores better only because it is larger.
            vars(checkpoint_utils.save_checkpoint).pop("best", None)

    def _check_start(self) -> None:
        if not self.stages.loaded:
            raise ShapeshifterError(
                "--stage-updates factorizes a trained dense model: give its checkpoint with "
                "--finetune-from-model"
            )
        if self.trainer.get_num_updates() == 0 and not self.stages.pending(self.model):
            raise ShapeshifterError(
                "the checkpoint is factorized already; give a dense one, or train without "
                "--stage-updates"
            )

    def _factorize(self, stage: Stage, num_updates: int) -> None:
        group = self.trainer.data_parallel_process_group
        for line in self.stages.project(stage, self.model, num_updates, group):
            logger.info(line)
        self.model.choose_attention_()

    def _renew_trainer(self) -> None:
        """Let the trainer make again what depends on the parameters, and keep its state."""
        trainer = self.trainer
        optimizer, scheduler = trainer.optimizer, trainer.lr_scheduler.state_dict()
        trainer.reinitialize()
        carry_over(optimizer, trainer.optimizer)
        trainer.lr_scheduler.load_state_dict(scheduler)
        trainer.lr_step_begin_epoch(self.epoch)


def _refuse_what_cannot_work(cfg: DictConfig) -> None:
    copies = "it keeps a copy of the parameters, which would stay dense"
    best = "a stage raises the loss, so that larger models from before it would stay the best"
    optimizer, schedule = (
        getattr(each, "_name", None) for each in (cfg.optimizer, cfg.lr_scheduler)
    )
    for option, given, why in (
        ("--store-ema", cfg.ema.store_ema, copies),
        ("--use-bmuf", cfg.optimization.use_bmuf, copies),
        ("--ddp-backend slowmo", cfg.distributed_training.ddp_backend == "slowmo", copies),
        ("--zero-sharding os", cfg.distributed_training.zero_sharding == "os", copies),
        ("--optimizer composite", optimizer == "composite", "it is several optimizers"),
        (
            "--max-epoch",
            cfg.optimization.max_epoch > 0,
            "it may end the training before the last stage; give --max-update",
        ),
        ("--patience", cfg.checkpoint.patience > 0, "a stage raises the loss, which would end it"),
        ("--keep-best-checkpoints", cfg.checkpoint.keep_best_checkpoints > 0, best),
        (
            "--lr-scheduler reduce_lr_on_plateau",
            schedule == "reduce_lr_on_plateau",
            "a stage raises the loss, which would lower the rate",
        ),
    ):
        if given:
            raise ShapeshifterError(f"{option} does not work with --stage-updates: {why}")
