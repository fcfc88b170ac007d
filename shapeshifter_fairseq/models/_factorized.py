"""What the factorized models share: their options, their plan, and mistakes told in one line."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Mapping

from torch import Tensor, nn

from ..errors import ShapeshifterError
from ..factorizations import FAMILIES
from ..factorize import factorize
from ..layers import EMBED_GAIN
from ..plan import DENSE, Family, Plan, Rule, Spec

# The modules that hold a row for every type of a dictionary.
TABLES = ("embed_tokens", "output_projection", "fc_out")


class FactorizedModel:
    """Stands before one of fairseq's models among the base classes, and adds options to it.

    A subclass's `build_model` builds fairseq's own model, then calls `factorized`: so every option
    of fairseq's means here what it means there.
    """

    @classmethod
    def add_args(cls, parser: ArgumentParser) -> None:
        super().add_args(parser)
        parser.add_argument(
            "--factorization",
            metavar="NAME",
            help=f"family of the factors: {', '.join(sorted(FAMILIES))}; options of the family "
            "follow its name, for example 'monarch/blocks=8'",
        )
        parser.add_argument(
            "--embed-rank",
            type=parse_rank,
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

    def load_state_dict(self, state_dict, strict=True, model_cfg=None, args=None):
        """As fairseq's, but a checkpoint of another model is explained in one line."""
        try:
            return super().load_state_dict(state_dict, strict, model_cfg, args)
        except RuntimeError as error:
            raise ShapeshifterError(_why_it_does_not_load(self, state_dict)) from error


def parse_rank(text: str) -> int | str:
    """A rank on the command line."""
    if text != DENSE and not text.lstrip("-").isdecimal():
        raise ArgumentTypeError(f"{text!r} is neither a whole number nor {DENSE!r}")
    return text if text == DENSE else int(text)


def refuse(args: Namespace, unsupported: Mapping[str, str]) -> None:
    """Raise a `ShapeshifterError` about options that cannot work on factors.

    Args:
        unsupported: why each cannot, by its name in `args`.
    """
    for name, why in unsupported.items():
        if getattr(args, name, None) not in (None, False, 0, -1, ""):
            option = "--" + name.replace("_", "-")
            raise ShapeshifterError(f"{option} does not work with factorized matrices: {why}")
    if getattr(args, "ddp_backend", None) == "fully_sharded":
        raise ShapeshifterError(
            "--ddp-backend fully_sharded flattens the layers before they can be factorized; "
            "leave it out: a factorized model and its optimizer state are small"
        )


def factorized(model: nn.Module, args: Namespace, ranks: Mapping[str, str]) -> nn.Module:
    """Factorize a model in place as its options say.

    Args:
        ranks: the option that gives the rank of the modules that match a pattern; of several the
            last one counts, and --factor-plan above them all.

    Raises:
        ShapeshifterError: if an option does not fit, naming it.
    """
    gains = {name: getattr(args, name) for name in ("layer_gain", "embed_gain") if name in args}
    for name, gain in gains.items():
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
    return factorize(model, plan + Plan.parse(args.factor_plan, "--factor-plan", family), **gains)


def _why_it_does_not_load(model: nn.Module, state_dict: Mapping[str, Tensor]) -> str:
    ours = model.state_dict()
    for name, tensor in ours.items():
        if name in state_dict and state_dict[name].shape != tensor.shape:
            if any(table in name for table in TABLES):
                with_what = "the dictionary and the --embed-rank"
            else:
                with_what = "the --layer-rank" if ".factors." in name else "the sizes"
            return (
                f"the checkpoint is of another model: {name} is {tuple(state_dict[name].shape)} "
                f"there and {tuple(tensor.shape)} here; use {with_what} (--arch, --factorization, "
                "--factor-plan) that it was trained with"
            )
    missing = [name for name in ours if name not in state_dict]
    surplus = [name for name in state_dict if name not in ours]
    odd = f"it lacks {missing[0]}" if missing else f"it has {surplus[0]}, which this model lacks"
    return (
        f"the checkpoint is of another model: {odd} ({len(missing)} missing, {len(surplus)} "
        "surplus); use the --arch, --factorization and --factor-plan that it was trained with"
    )
