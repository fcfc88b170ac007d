"""Staged factorization: a trained model's blocks become factors one by one while it trains on.

Gupta et al. (section 3) found that a model may not recover, even with fine-tuning, if all layers
are factorized at once. It does recover if they are factorized one by one, the last one first, with
some updates in between.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from torch import distributed, nn

from .errors import ShapeshifterError
from .factorizing import check, factorize, is_factorized
from .matrices import matrices
from .plan import Plan, Rule
from .projection import how_near, relative_error

# The paper's choices: 500 updates per stage (footnote 5), "high-to-low".
STAGE_UPDATES = 500
ORDERS = ("last-first", "first-last")

# The outermost list of blocks, by the names that fairseq's and Hugging Face's models give it.
_BLOCK = re.compile(r"((?:.+?\.)??(?:layers?|blocks?|h)\.\d+)\.")
_TABLES = "embeddings and output"  # what belongs to no block


def block_of(name: str) -> str | None:
    """The name of the block that holds a module or parameter of this full name, or None.

    >>> block_of("bert.encoder.layer.3.attention.self.query")
    'bert.encoder.layer.3'
    """
    found = _BLOCK.match(name)
    return found[1] if found else None


@dataclass(frozen=True)
class Stage:
    """What is factorized at once: a block, or all that is outside of the blocks."""

    name: str
    plan: Plan  # a rule for each matrix, by its first name

    def remaining(self, model: nn.Module) -> Plan:
        """The rules of the matrices that are dense in a model."""
        return Plan(
            tuple(rule for rule in self.plan.rules if not is_factorized(model, rule.pattern))
        )


@dataclass
class Stages:
    """The stages of one model in their order.

    Stage i, counted from 0, is due after i * updates updates. The layers of a model, and of its
    checkpoint, show which stages are done; nothing else records it.
    """

    stages: list[Stage]
    updates: int  # from one stage to the next
    gains: dict[str, float]  # as `factorize` takes them
    loaded: bool = False  # whether the model holds a checkpoint's weights

    @classmethod
    def of(
        cls,
        model: nn.Module,
        plan: Plan,
        gains: dict[str, float],
        updates: int,
        order: str | None = None,
        options: str = "--stage-",
    ) -> Stages:
        """Split a plan for a dense model.

        A block is a module of a list named `layers`, `layer`, `block`, `blocks` or `h`, such as
        decoder.layers.3; if lists are nested, the outer one counts. The tables
        (embeddings, output projection, and whatever else is in no block) are the first stage in
        either order: they lose the most (Gupta et al. leave them dense), so they need the most
        updates (docs/tries.md). Matrices that the plan leaves dense are in no stage, and a block
        with only such matrices makes no stage.

        Args:
            updates: K, from one stage to the next.
            order: one of `ORDERS`; None is the first of them.
            options: what stands before `updates` and `order` in errors: --stage- for options.

        Raises:
            ShapeshifterError: if the plan does not fit the model or factorizes nothing, or K or the
                order is not valid.
        """
        if updates < 1:
            raise ShapeshifterError(f"{options}updates {updates}: give 1 update or more")
        order = order or ORDERS[0]
        if order not in ORDERS:
            raise ShapeshifterError(f"{options}order {order}: choose {' or '.join(ORDERS)}")
        check(model, plan)  # now, not only when its stage comes
        rules: dict[str, list[Rule]] = {}
        for matrix in matrices(model):  # encoder first, blocks by number
            names = list(matrix.modules)
            rule = plan.rule_for(names)
            if rule is not None and rule.spec is not None:
                found = rules.setdefault(block_of(names[0]) or _TABLES, [])
                found.append(Rule(names[0], rule.spec, rule.origin))
        blocks = [name for name in rules if name != _TABLES]
        if order == "last-first":
            blocks.reverse()
        stages = [
            Stage(name, Plan(tuple(rules[name]))) for name in (_TABLES, *blocks) if name in rules
        ]
        if not stages:
            raise ShapeshifterError(
                f"{options}updates has nothing to factorize: the plan leaves every matrix dense"
            )
        return cls(stages, updates, gains)

    @property
    def begin_of_last(self) -> int:
        """After how many updates the last stage is due."""
        return self.updates * (len(self.stages) - 1)

    def pending(self, model: nn.Module, num_updates: int | None = None) -> list[Stage]:
        """The stages that still have dense matrices: those due by update `num_updates`, or all."""
        due = len(self.stages) if num_updates is None else num_updates // self.updates + 1
        return [stage for stage in self.stages[:due] if stage.remaining(model).rules]

    def due(self, model: nn.Module, num_updates: int, way_out: str) -> Stage | None:
        """The stage that comes before the next update, or None.

        Args:
            way_out: the end of the error, which names the options.

        Raises:
            ShapeshifterError: if several are due: the model is not one that these stages made.
        """
        stages = self.pending(model, num_updates)
        if len(stages) > 1:
            raise ShapeshifterError(
                f"the training is at update {num_updates}: {len(stages)} stages are due, but their "
                f"matrices are dense in the checkpoint; {way_out} that the training began with"
            )
        return stages[0] if stages else None

    def project(
        self,
        stage: Stage,
        model: nn.Module,
        num_updates: int,
        group: distributed.ProcessGroup | None = None,
    ) -> list[str]:
        """Replace a stage's trained matrices with factors that approximate them.

        With several processes, all get the factors of the first one, bit for bit.

        Args:
            num_updates: how many the model has been trained for.
            group: the processes that train the model, if torch.distributed is in use; None is all.

        Returns:
            The lines to log.
        """
        plan = stage.remaining(model)
        found = matrices(model)  # they hold the dense weights
        factorize(model, plan, init="project", **self.gains)
        done = how_near(found, model)
        if distributed.is_initialized():
            self._share(plan, model, group)
        count = f"{len(done)} matrices" if len(done) > 1 else "1 matrix"
        lines = [
            f"stage {self.stages.index(stage) + 1} of {len(self.stages)} at update {num_updates}: "
            f"{stage.name}, {count}, relative error {relative_error(done):.4f}, "
            f"{sum(m.before for m in done):,} parameters become {sum(m.after for m in done):,}"
        ]
        lines += [f"{matrix.error:8.4f}  {' = '.join(matrix.names)}" for matrix in done]
        if not self.pending(model):
            parameters = sum(parameter.numel() for parameter in model.parameters())
            lines.append(f"all stages are done: the model has {parameters:,} parameters")
        return lines

    @staticmethod
    def _share(plan: Plan, model: nn.Module, group: distributed.ProcessGroup | None) -> None:
        for rule in plan.rules:
            factors = model.get_submodule(rule.pattern).factors
            for tensor in (*factors.parameters(), *factors.buffers()):
                if tensor.numel():  # `size` holds nothing
                    distributed.broadcast(tensor.data, src=0, group=group)

    def take_shape_of(self, state: Collection[str], model: nn.Module) -> None:
        """Factorize the matrices that a state dict, or a part of it, holds as factors; it is loaded
        afterwards.
        """
        rules = [rule for stage in self.stages for rule in stage.remaining(model).rules]
        held = {name.rpartition(".factors.")[0] for name in state}
        factorize(model, Plan(tuple(r for r in rules if r.pattern in held)), **self.gains)
        self.loaded = True
