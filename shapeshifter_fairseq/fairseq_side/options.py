"""The command-line options about factors, and the plan that they make."""

from __future__ import annotations

import logging
import math
import re
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Mapping

from torch import nn

from ..errors import ShapeshifterError
from ..factorizations import FAMILIES
from ..factorizing import fitting_rank
from ..layers import EMBED_GAIN, LAYER_GAIN, SGD_GAIN
from ..matrices import matrices
from ..plan import DENSE, Family, Plan, Rule, Spec
from ..stages import ORDERS, STAGE_UPDATES

logger = logging.getLogger(__name__)

# The architectures write this before their ranks: such a rank is lowered where it does not fit. A
# rank that the user gives without it is not lowered.
AT_MOST = "<="

# The names that the options below have in a namespace.
FACTOR_OPTIONS = tuple(
    "factorization layer_rank embed_rank factor_plan layer_gain embed_gain "
    "stage_updates stage_order".split()
)

# fairseq's optimizers whose step is the gradient times the rate. All others divide it by the
# gradient's size first, as Adam does, and the gains for Adam suit them.
GRADIENT_OPTIMIZERS = ("sgd", "nag")

# The option that gives the rank of modules that match a pattern; the last match counts.
TRANSFORMER_RANKS = {
    "*": "--layer-rank",
    "*.embed_tokens": "--embed-rank",
    "*.output_projection": "--embed-rank",
}


def add_table_options(parser: ArgumentParser) -> None:
    """Add the options of a model whose embeddings are factorized."""
    parser.add_argument(
        "--factorization",
        metavar="NAME",
        help=f"family of the factors: {', '.join(sorted(FAMILIES))}; options of the family "
        "follow its name, for example 'monarch/blocks=8'",
    )
    parser.add_argument(
        "--embed-rank",
        type=_rank,
        metavar="R",
        help="rank of the embeddings and of an output projection that is tied to them (in a "
        "Transformer also of an untied one); '<=R': the largest up to R that fits; or 'dense'",
    )
    parser.add_argument(
        "--factor-plan",
        metavar="RULES",
        help="rules that give single matrices another rank or family or leave them dense, for "
        "example 'decoder.layers.0.*=32,decoder.*.fc?=monarch:2/blocks=4,encoder.*.fc?=dense'; "
        "the last matching rule wins",
    )
    parser.add_argument(
        "--embed-gain",
        type=float,
        metavar="G",
        help="gain of the embeddings: how far Adam's first update moves an entry of W, in "
        f"learning rates (default {EMBED_GAIN}, with --optimizer "
        f"{' or '.join(GRADIENT_OPTIMIZERS)} {SGD_GAIN}; a dense matrix has 1). Lower it if "
        "training diverges. Factors that are loaded from a checkpoint keep theirs",
    )


def add_layer_options(parser: ArgumentParser) -> None:
    """Add the options of a model whose layers are factorized too."""
    parser.add_argument(
        "--layer-rank",
        type=_rank,
        metavar="R",
        help="rank of every attention projection and feed-forward matrix, as --embed-rank",
    )
    parser.add_argument(
        "--layer-gain",
        type=float,
        metavar="G",
        help="as --embed-gain, for the layers' matrices "
        f"(default {LAYER_GAIN}, with those optimizers {SGD_GAIN})",
    )


def add_stage_options(parser: ArgumentParser) -> None:
    """Add the options of a model that can be factorized while it trains."""
    parser.add_argument(
        "--stage-updates",
        nargs="?",
        type=int,
        const=STAGE_UPDATES,
        metavar="K",
        help="begin with a trained dense model (--finetune-from-model) and factorize the tables, "
        f"then one block after another, with K updates in between ({STAGE_UPDATES} if no K is "
        "given); default: everything from the start",
    )
    parser.add_argument(
        "--stage-order",
        metavar="ORDER",
        help=f"which block comes first, with --stage-updates: {' or '.join(ORDERS)} "
        f"(default {ORDERS[0]})",
    )


def plan_of(args: Namespace, ranks: Mapping[str, str]) -> Plan:
    """The plan that the options make.

    Args:
        ranks: as `TRANSFORMER_RANKS`; --factor-plan overrides them all.

    Raises:
        ShapeshifterError: if an option does not parse, naming it.
    """
    for name, gain in gains_of(args).items():
        if not 0 < gain < math.inf:
            option = "--" + name.replace("_", "-")
            raise ShapeshifterError(f"{option} {gain}: a gain is a number above 0")
    origin = f"--factorization {args.factorization}"
    family = Family.parse(args.factorization, origin)

    def rule(pattern: str, option: str) -> Rule:
        rank = getattr(args, option[2:].replace("-", "_"))
        at_most = str(rank).startswith(AT_MOST)
        number = int(rank.removeprefix(AT_MOST)) if at_most else rank
        spec = None if rank == DENSE else Spec(number, family, at_most)
        return Rule(pattern, spec, f"{origin} {option} {rank}")

    plan = Plan(tuple(rule(pattern, option) for pattern, option in ranks.items()))
    return plan + Plan.parse(args.factor_plan, "--factor-plan", family)


def say_what_is_lowered(plan: Plan, model: nn.Module) -> None:
    """Log a line for each option whose rank does not fit all of its matrices of a dense model."""
    lowered: dict[str, dict[str, None]] = {}  # its origin; ranks and shapes, each once
    for matrix in matrices(model):
        rule = plan.rule_for(list(matrix.modules))
        if rule is not None and rule.spec is not None and rule.spec.at_most:
            rank, (n, m) = fitting_rank(rule, matrix), matrix.weight.shape
            if rank < rule.spec.rank:
                lowered.setdefault(rule.origin, {})[f"{rank} for {n} x {m}"] = None
    for origin, ranks in lowered.items():
        logger.info(f"{origin} does not fit and is lowered to {', '.join(ranks)}")


def default_gain(args: Namespace, for_adam: float) -> float:
    """The default gain for the chosen optimizer."""
    plain = getattr(args, "optimizer", None) in GRADIENT_OPTIMIZERS
    return SGD_GAIN if plain else for_adam


def gains_of(args: Namespace) -> dict[str, float]:
    """The gains, as `factorize` takes them."""
    return {name: getattr(args, name) for name in ("layer_gain", "embed_gain") if name in args}


def _rank(text: str) -> int | str:
    if text == DENSE or re.fullmatch(rf"{AT_MOST}\d+", text):
        return text
    if not re.fullmatch(r"-?\d+", text):
        raise ArgumentTypeError(
            f"{text!r} is not a whole number, {AT_MOST!r} and a whole number, or {DENSE!r}"
        )
    return int(text)
