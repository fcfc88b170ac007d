"""The command line's options about factors, and the plan that they make."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Mapping

from ..errors import ShapeshifterError
from ..factorizations import FAMILIES
from ..layers import EMBED_GAIN, LAYER_GAIN
from ..plan import DENSE, Family, Plan, Rule, Spec
from ..stages import ORDERS, STAGE_UPDATES

# The names that the options below have in a namespace.
FACTOR_OPTIONS = tuple(
    "factorization layer_rank embed_rank factor_plan layer_gain embed_gain "
    "stage_updates stage_order".split()
)


# Which option gives the rank of the modules that match a pattern; of several the last one counts.
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
        "Transformer of any output projection), or 'dense'",
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
        help="step size of the embeddings: how far Adam's first update moves an entry of W, in "
        f"learning rates (default {EMBED_GAIN}; a dense matrix has 1). Lower it if training "
        "diverges",
    )


def add_layer_options(parser: ArgumentParser) -> None:
    """Add the options of a model whose layers are factorized too."""
    parser.add_argument(
        "--layer-rank",
        type=_rank,
        metavar="R",
        help="rank of every attention projection and feed-forward matrix, or 'dense'",
    )
    parser.add_argument(
        "--layer-gain",
        type=float,
        metavar="G",
        help=f"as --embed-gain, for the layers' matrices (default {LAYER_GAIN})",
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
        ranks: as `TRANSFORMER_RANKS`; --factor-plan comes above them all.

    Raises:
        ShapeshifterError: if an option does not parse, naming it.
    """
    for name, gain in gains_of(args).items():
        if gain <= 0:
            option = "--" + name.replace("_", "-")
            raise ShapeshifterError(f"{option} {gain}: a step size is a number above 0")
    origin = f"--factorization {args.factorization}"
    family = Family.parse(args.factorization, origin)

    def rule(pattern: str, option: str) -> Rule:
        rank = getattr(args, option[2:].replace("-", "_"))
        spec = None if rank == DENSE else Spec(rank, family)
        return Rule(pattern, spec, f"{origin} {option} {rank}")

    plan = Plan(tuple(rule(pattern, option) for pattern, option in ranks.items()))
    return plan + Plan.parse(args.factor_plan, "--factor-plan", family)


def gains_of(args: Namespace) -> dict[str, float]:
    """The step sizes, as `factorize` takes them."""
    return {name: getattr(args, name) for name in ("layer_gain", "embed_gain") if name in args}


def _rank(text: str) -> int | str:
    if text != DENSE and not text.lstrip("-").isdecimal():
        raise ArgumentTypeError(f"{text!r} is neither a whole number nor {DENSE!r}")
    return text if text == DENSE else int(text)
