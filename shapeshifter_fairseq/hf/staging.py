"""Staged factorization while transformers' `Trainer` trains a model::

    staged = hf.StagedFactorization("*encoder.layer.*=low_rank:120", updates=500)
    trainer = Trainer(model, args, train_dataset=data, callbacks=[staged])
    trainer.train()  # or train(resume_from_checkpoint=...)

A callback is enough, although it never sees the trainer. A stage changes three things in place, so
that nothing has to be replaced elsewhere: the model, the optimizer's groups of parameters,
and the wrapper of distributed training, which is found by the model that it wraps. A checkpoint is
loaded before any callback is called; so a hook of the model sees its state first, and gives the
model the checkpoint's shape.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from transformers import (
    PreTrainedModel,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from ..errors import ShapeshifterError
from ..factorizing import is_factorized
from ..layers import EMBED_GAIN, LAYER_GAIN
from ..plan import Plan
from ..stages import ORDERS, STAGE_UPDATES, Stages
from .quantizer import keep_plan

logger = logging.getLogger(__name__)


class StagedFactorization(TrainerCallback):
    """Factorizes a trained dense model stage by stage while `Trainer` trains it.

    The first stage is all matrices of the plan that are in no block. Each later stage is one block
    (see `Stages`). Stage i, counted from 0, replaces its trained matrices with their nearest
    factors before update i * updates + 1. The optimizer keeps its state of all other parameters.
    Every checkpoint says in its config.json what is factorized in it.

    `load_best_model_at_end` takes the best checkpoint since the last stage: each stage resets the
    best metric, otherwise the largest model would win.

    Args:
        plan: which matrix gets which factorization in the end, see `Plan.parse`.
        updates: from one stage to the next.
        order: which block comes first, "last-first" or "first-last".
        layer_gain, embed_gain: as `shapeshifter_fairseq.factorize` takes them.

    Raises:
        ShapeshifterError: here if the plan does not parse. From `Trainer` if the plan does not fit
            the model, `updates` or `order` is not valid, the training ends before the last stage,
            or the model, a checkpoint or the kind of training does not allow stages.
    """

    def __init__(
        self,
        plan: str,
        updates: int = STAGE_UPDATES,
        order: str = ORDERS[0],
        *,
        layer_gain: float = LAYER_GAIN,
        embed_gain: float = EMBED_GAIN,
    ) -> None:
        self.plan, self.updates, self.order = plan, updates, order
        self._parsed = Plan.parse(plan)
        self._gains = {"layer_gain": layer_gain, "embed_gain": embed_gain}
        self._model: PreTrainedModel | None = None  # from on_init_end on
        self._optimizer: Optimizer | None = None  # before a training only if the user gave one

    def on_init_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module,
        optimizer: Optimizer | None,
        **_: Any,
    ) -> None:
        if not isinstance(model, PreTrainedModel):
            raise ShapeshifterError(
                f"StagedFactorization needs a model of transformers, not a {type(model).__name__}"
            )
        if getattr(model, "hf_quantizer", None) is not None:
            raise ShapeshifterError(
                "the model is factorized or quantized already; StagedFactorization begins with the "
                "dense one, even if the training resumes from a checkpoint"
            )
        self._stages = Stages.of(
            model, self._parsed, self._gains, self.updates, self.order, options=""
        )
        self._model, self._optimizer = model, optimizer
        model.register_load_state_dict_pre_hook(self._take_shape)

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module,
        optimizer: Optimizer,
        **_: Any,
    ) -> None:
        kind = optimizer.accelerator_state.distributed_type.value  # accelerate wraps optimizers
        if kind != "NO" and not kind.startswith("MULTI_"):
            raise ShapeshifterError(
                f"StagedFactorization does not work with {kind}, which keeps the parameters in its "
                "own way; train with one process, or with several by torchrun"
            )
        if model is not self._model:
            raise ShapeshifterError(
                "give StagedFactorization to Trainer(model, callbacks=[...]) itself: add_callback "
                "is too late for it, and model_init makes another model"
            )
        last = self._stages.begin_of_last
        if state.max_steps <= last:
            raise ShapeshifterError(
                f"the training has {state.max_steps} updates, but with updates={self.updates} the "
                f"last of {len(self._stages.stages)} stages begins after {last}; train longer, or "
                "lower `updates`"
            )
        self._optimizer = optimizer

    def on_step_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: PreTrainedModel,
        **_: Any,
    ) -> None:
        way_out = "go on with the `updates` and `order`"
        if due := self._stages.due(model, state.global_step, way_out):
            dense = self._dense()
            lines = self._stages.project(due, model, state.global_step)
            self._settle(dense)
            # Otherwise the best model would stay one with fewer factorized matrices, which scores
            # better only because it is larger.
            state.best_metric = state.best_global_step = state.best_model_checkpoint = None
            if state.is_world_process_zero:
                for line in lines:
                    logger.info(line)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        left = len(self._stages.pending(self._model))
        if left:
            logger.warning(
                f"the training ended at update {state.global_step}: {left} of "
                f"{len(self._stages.stages)} stages are left, and their matrices are dense"
            )

    def _take_shape(self, model: nn.Module, state: Mapping[str, Any], prefix: str, *_: Any) -> None:
        """Called before the model loads a state dict, or a part of it."""
        names = {name.removeprefix(prefix) for name in state}
        for stage in self._stages.stages:
            for rule in stage.plan.rules:
                if is_factorized(model, rule.pattern) and f"{rule.pattern}.weight" in names:
                    raise ShapeshifterError(
                        f"{rule.pattern} is dense in the checkpoint, and factorized in the model; "
                        "begin again with a dense model"
                    )
        dense = self._dense()
        self._stages.take_shape_of(names, model)
        self._settle(dense)

    def _dense(self) -> dict[str, nn.Parameter]:
        """The weights that are still to become factors, by the name of their module."""
        pending = self._stages.pending(self._model)
        names = [rule.pattern for stage in pending for rule in stage.remaining(self._model).rules]
        return {name: self._model.get_submodule(name).weight for name in names}

    def _settle(self, dense: dict[str, nn.Parameter]) -> None:
        """Update the saved plan, the optimizer and the DDP wrapper after matrices became factors.

        Args:
            dense: what `_dense` gave before.
        """
        left = self._dense()
        if len(left) < len(dense):
            keep_plan(self._model, ",".join([self.plan, *(f"{name}=dense" for name in left)]))
            if self._optimizer is not None:
                exchange(self._optimizer, dense, self._model)
            wrap_again(self._model)


def exchange(optimizer: Optimizer, dense: dict[str, nn.Parameter], model: nn.Module) -> None:
    """Let an optimizer update factors in place of the weights they replaced, in the same groups.

    Each group is put in the model's order, so that a new optimizer can load the state of this one.

    Args:
        dense: weights by the name of the module that had them, also of those that still have them.
    """
    replaced = {
        weight: list(model.get_submodule(name).factors.parameters())
        for name, weight in dense.items()
        if is_factorized(model, name)
    }
    order = {parameter: place for place, parameter in enumerate(model.parameters())}
    for group in optimizer.param_groups:
        now = [new for old in group["params"] for new in replaced.get(old, [old])]
        group["params"] = sorted(now, key=lambda parameter: order.get(parameter, len(order)))
    for weight in replaced:
        optimizer.state.pop(weight, None)


def wrap_again(model: nn.Module) -> None:
    """Let `DistributedDataParallel` take up the parameters that a model has now, if it wraps it.

    The wrapper has to stay the same object, because the loop of `Trainer` holds it. So it is set up
    again in place, by the methods that pickle calls.
    """
    for wrapper in gc.get_objects():
        if issubclass(type(wrapper), DistributedDataParallel) and wrapper.module is model:
            wrapper.__setstate__(wrapper.__getstate__())
            wrapper._module_parameters = list(model.parameters())  # not the dense weights
