"""Staged factorization: a trained model's blocks become factors one by one while it trains on.

Gupta et al. (section 3) found that a model may not recover, even with fine-tuning, if all layers
are factorized at once. It does recover if they are factorized one by one, the last one first, with
some updates in between.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from torch import nn

from .errors import ShapeshifterError
from .factorizing import check, factorize, is_factorized
from .matrices import matrices
from .plan import Plan, Rule

# The paper's choices: 500 updates a stage (footnote 5), "high-to-low".
STAGE_UPDATES = 500
ORDERS = ("last-first", "first-last")

_BLOCK = re.compile(r"(.+\.layers\.\d+)\.")
_TABLES = "embeddings and output"  # what belongs to no block


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
    ) -> Stages:
        """Split a plan for a dense model.

        A block is a module of a list named `layers`, such as decoder.layers.3. The tables
        (embeddings, output projection, and whatever else is in no block) are the first stage in
        either order: they lose the most (Gupta et al. leave them dense), so they need the most
        updates (docs/tries.md). Matrices that the plan leaves dense are in no stage, and a block
        with only such matrices makes no stage.

        Args:
            updates: K, of --stage-updates.
            order: one of `ORDERS`; None is the first of them.

        Raises:
            ShapeshifterError: if the plan does not fit the model or factorizes nothing, or K or the
                order is not valid.
        """
        if updates < 1:
            raise ShapeshifterError(f"--stage-updates {updates}: give 1 update or more")
        order = order or ORDERS[0]
        if order not in ORDERS:
            raise ShapeshifterError(f"--stage-order {order}: choose {' or '.join(ORDERS)}")
        check(model, plan)  # now, not only when its stage comes
        rules: dict[str, list[Rule]] = {}
        for matrix in matrices(model):  # encoder first, blocks by number
            names = list(matrix.modules)
            rule = plan.rule_for(names)
            if rule is not None and rule.spec is not None:
                block = _BLOCK.match(names[0])
                found = rules.setdefault(block[1] if block else _TABLES, [])
                found.append(Rule(names[0], rule.spec, rule.origin))
        blocks = [name for name in rules if name != _TABLES]
        if order == "last-first":
            blocks.reverse()
        stages = [
            Stage(name, Plan(tuple(rules[name]))) for name in (_TABLES, *blocks) if name in rules
        ]
        if not stages:
            raise ShapeshifterError(
                "--stage-updates has nothing to factorize: the plan leaves every matrix dense"
            )
        return cls(stages, updates, gains)

    @property
    def begin_of_last(self) -> int:
        """After how many updates the last stage is due."""
        return self.updates * (len(self.stages) - 1)

    def pending(self, model: nn.Module, num_updates: int | None = None) -> list[Stage]:
        """The stages that still have dense matrices: those due after `num_updates`, or all."""
        due = len(self.stages) if num_updates is None else num_updates // self.updates + 1
        return [stage for stage in self.stages[:due] if stage.remaining(model).rules]

    def take_shape_of(self, state: Collection[str], model: nn.Module) -> None:
        """Factorize the matrices that a state dict holds as factors; it is loaded afterwards."""
        rules = [rule for stage in self.stages for rule in stage.remaining(model).rules]
        there = (rule for rule in rules if f"{rule.pattern}.factors.size" in state)
        factorize(model, Plan(tuple(there)), **self.gains)
        self.loaded = True
