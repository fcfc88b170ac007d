"""Build architectures without data, and count their parameters as the papers' tables do."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NoReturn

from fairseq import options
from fairseq.data import Dictionary
from fairseq.models import ARCH_MODEL_REGISTRY
from torch import nn

from ..errors import ShapeshifterError
from ..undrawn import WithoutNumbers
from .factorized_model import TABLES, FactorizedModel


def count(
    arch: str, source_vocab: int, target_vocab: int, joined: bool, model_options: Sequence[str]
) -> dict[str, float]:
    """Count the parameters of a fairseq architecture.

    Args:
        arch: name of the architecture, dense ones of fairseq too.
        source_vocab, target_vocab: sizes of the dictionaries, special symbols included.
        joined: whether they are one dictionary.
        model_options: further options of fairseq-train, for example ``["--layer-rank", "32"]``.

    Returns:
        ``total``, ``encoder_decoder`` and ``embedding`` (input tables and output projection, a
        shared one once), ``dense_total`` (the same model with every matrix dense), ``percent``
        (how much of that is left) and ``fold`` (how many times smaller the model is).

    Raises:
        ShapeshifterError: if there is no such architecture, or as building the model does.
    """
    with WithoutNumbers():
        dense, model, _ = build_models(arch, source_vocab, target_vocab, joined, model_options)
    total, dense_total = _parameters(model), _parameters(dense)
    embedding = _parameters(
        nn.ModuleList(module for name, module in model.named_modules() if name.endswith(TABLES))
    )
    return {
        "total": total,
        "encoder_decoder": total - embedding,
        "embedding": embedding,
        "dense_total": dense_total,
        "percent": round(100 * total / dense_total, 2),
        "fold": round(dense_total / total, 2),
    }


def build_models(
    arch: str,
    source_vocab: int,
    target_vocab: int,
    joined: bool = False,
    model_options: Sequence[str] = (),
) -> tuple[nn.Module, nn.Module, argparse.Namespace]:
    """Build an architecture without data: its dense counterpart, itself, and the task of both.

    Arguments and errors are those of `count`.
    """
    task = task_with(source_vocab, target_vocab, joined)
    model = build_model(arch, model_options, task)
    dense = model
    if isinstance(model, FactorizedModel):
        dense = build_model(arch, [*model_options, "--factor-plan", "*=dense"], task)
    return dense, model, task


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def task_with(source_vocab: int, target_vocab: int, joined: bool) -> argparse.Namespace:
    """What a model needs of its task: two dictionaries."""
    source = _dictionary("source", source_vocab)
    target = source if joined else _dictionary("target", target_vocab)
    return argparse.Namespace(source_dictionary=source, target_dictionary=target)


def _dictionary(side: str, size: int) -> Dictionary:
    dictionary = Dictionary()
    if size <= len(dictionary):
        raise ShapeshifterError(
            f"a dictionary of {size} types is too small: {len(dictionary)} are special symbols"
        )
    for index in range(size - len(dictionary)):
        dictionary.add_symbol(f"{side}{index}")
    return dictionary


def parse(arch: str, model_options: Sequence[str]) -> argparse.Namespace:
    """Read the options of an architecture as fairseq-train does.

    Raises:
        ShapeshifterError: if there is no such architecture, or an option is unknown; fairseq would
            print 180 lines of usage.
    """
    if arch not in ARCH_MODEL_REGISTRY:
        package, models = __package__.partition(".")[0], ARCH_MODEL_REGISTRY.items()
        ours = sorted(name for name, model in models if model.__module__.startswith(package))
        known = ", ".join(ours) or "none before `import shapeshifter_fairseq.models`"
        raise ShapeshifterError(f"--arch {arch}: no such architecture; ours: {known}")

    def error(message: str) -> NoReturn:
        raise ShapeshifterError(f"{message}; fairseq-train --arch {arch} --help lists the options")

    parser = options.get_training_parser()
    parser.error = error
    return options.parse_args_and_arch(parser, ["DATA", "--arch", arch, *model_options])


def build_model(arch: str, model_options: Sequence[str], task: argparse.Namespace) -> nn.Module:
    """An architecture with the task that `build_models` gave."""
    args = parse(arch, model_options)
    # A staged model is dense at first; this builds what it becomes.
    args.stage_updates = args.stage_order = None
    return ARCH_MODEL_REGISTRY[arch].build_model(args, task)
