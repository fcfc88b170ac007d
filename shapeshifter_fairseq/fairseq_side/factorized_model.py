"""What the factorized models share: their options, and their one-line errors."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping

from fairseq.tasks import FairseqTask
from torch import Tensor, nn

from ..errors import ShapeshifterError
from .checkpoints import file_of
from .options import add_table_options

# The modules that hold a row for every type of a dictionary.
TABLES = ("embed_tokens", "output_projection", "fc_out")


class FactorizedModel:
    """A mixin that adds options to a fairseq model; it comes first among the base classes.

    A subclass's `build_model` builds fairseq's own model, then factorizes it. So every option of
    fairseq's keeps its meaning.
    """

    @classmethod
    def add_args(cls, parser: ArgumentParser) -> None:
        super().add_args(parser)
        add_table_options(parser)

    def load_state_dict(self, state_dict, strict=True, model_cfg=None, args=None):
        """As fairseq's, but a checkpoint of another model is explained in one line."""
        try:
            return super().load_state_dict(state_dict, strict, model_cfg, args)
        except RuntimeError as error:
            raise ShapeshifterError(_why_it_does_not_load(self, state_dict)) from error


def refuse(
    args: Namespace, unsupported: Mapping[str, str], what: str = "factorized matrices"
) -> None:
    """Raise a `ShapeshifterError` about options that cannot work on factors.

    Args:
        unsupported: the reason for each option, by its name in `args`.
        what: the options do not work with this.
    """
    for name, why in unsupported.items():
        if getattr(args, name, None) not in (None, False, 0, -1, ""):
            option = "--" + name.replace("_", "-")
            raise ShapeshifterError(f"{option} does not work with {what}: {why}")
    if getattr(args, "ddp_backend", None) == "fully_sharded":
        raise ShapeshifterError(
            f"--ddp-backend fully_sharded does not work with {what}: it flattens the layers before "
            "they are made; leave it out: the model and its optimizer state are small"
        )


def need_one_dictionary(args: Namespace, task: FairseqTask, untied: str) -> None:
    """Raise a `ShapeshifterError` if all embeddings are shared but there are two dictionaries.

    Args:
        untied: the architecture that ties nothing.
    """
    if args.share_all_embeddings and task.source_dictionary != task.target_dictionary:
        raise ShapeshifterError(
            "this architecture shares all embeddings and needs one dictionary for both "
            "languages: run fairseq-preprocess with --joined-dictionary, or train with "
            f"--arch {untied}, which ties nothing unless told to"
        )


def _why_it_does_not_load(model: nn.Module, state_dict: Mapping[str, Tensor]) -> str:
    ours, file = model.state_dict(), file_of(state_dict)
    for name, tensor in ours.items():
        if name in state_dict and state_dict[name].shape != tensor.shape:
            if any(table in name for table in TABLES):
                with_what = "the dictionary and the --embed-rank"
            else:
                with_what = "the --layer-rank" if ".factors." in name else "the sizes"
            return (
                f"{file} is of another model: {name} is {tuple(state_dict[name].shape)} "
                f"there and {tuple(tensor.shape)} here; use {with_what} that it was trained "
                "with (also --arch, --factorization and --factor-plan)"
            )
    missing = [name for name in ours if name not in state_dict]
    surplus = [name for name in state_dict if name not in ours]
    odd = f"it lacks {missing[0]}" if missing else f"it has {surplus[0]}, which this model lacks"
    return (
        f"{file} is of another model: {odd} ({len(missing)} missing, {len(surplus)} "
        "surplus); use the --arch, --factorization and --factor-plan that it was trained with"
    )
