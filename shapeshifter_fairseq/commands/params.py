"""`shapeshifter params`: how many numbers a model has."""

from __future__ import annotations

import argparse
import json
import shlex
from pathlib import Path

from ..errors import ShapeshifterError
from . import Commands, add_command

EPILOG = """\
examples:
  shapeshifter params --arch shapeshifter_transformer_iwslt --source-vocab 8848 --target-vocab 6632
  shapeshifter params --arch shapeshifter_transformer_wmt14 --vocab 44512 --json
  shapeshifter params --arch shapeshifter_transformer_tiny --vocab 4000 --layer-rank 8
  shapeshifter params --arch shapeshifter_transformer_iwslt --data data-bin/my-corpus --percent 20
  shapeshifter params --arch shapeshifter_transformer_iwslt --data data-bin/my-corpus \\
    --parameters 3M --factorization monarch/blocks=4

Any model option of fairseq-train may follow. Dictionary sizes include the special symbols.
--percent and --parameters print the options of a model as near that size as possible, and no
larger. The embeddings then keep a share 1.25 times as large as that of the layers, unless
--layer-rank or --embed-rank is given.
"""


def add_to(commands: Commands, name: str) -> argparse.ArgumentParser:
    return add_command(
        commands,
        name,
        run,
        help="count the parameters of an architecture, and of its dense counterpart",
        description="Count the parameters of an architecture, and of its dense counterpart.",
        epilog=EPILOG,
    )


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--arch", required=True, help="name of the architecture in fairseq-train")
    parser.add_argument("--vocab", type=int, metavar="N", help="size of a joined dictionary")
    parser.add_argument("--source-vocab", type=int, metavar="N", help="size of the source side's")
    parser.add_argument("--target-vocab", type=int, metavar="N", help="size of the target side's")
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DATA",
        help="folder of a binarised corpus, which has the sizes",
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--percent", type=float, metavar="P", help="find ranks for P%% of dense")
    size.add_argument("--parameters", metavar="N", help="find ranks for N parameters, such as 3M")
    parser.add_argument("--json", action="store_true", help="print one line of JSON")


def run(args: argparse.Namespace) -> None:
    source, target, joined = _dictionaries(args)
    from .. import models  # noqa: F401  (registers the architectures)
    from ..fairseq_side.counting import count

    options = args.fairseq_options
    if args.percent is not None or args.parameters is not None:
        options = _options_for_size(args, source, target, joined)
    counts = count(args.arch, source, target, joined, options)
    if options is not args.fairseq_options:
        counts["options"] = shlex.join(options)
    if args.json:
        print(json.dumps(counts))
        return
    if found := counts.pop("options", None):
        print(f"{found}\n")
    for name, value in counts.items():
        label = "encoder/decoder" if name == "encoder_decoder" else name.replace("_", " ")
        print(f"{label:<16}{value:>12,}")


def _dictionaries(args: argparse.Namespace) -> tuple[int, int, bool]:
    """Types of both sides, and whether they are one dictionary."""
    if args.data:
        from ..corpus import Corpus

        if args.vocab or args.source_vocab or args.target_vocab:
            raise ShapeshifterError("give --data or the dictionary sizes (--vocab ...), not both")
        return Corpus.read(args.data).dictionaries(args.data)
    if args.vocab is not None and (args.source_vocab or args.target_vocab):
        raise ShapeshifterError("give --vocab, or --source-vocab and --target-vocab, not both")
    source, target = args.source_vocab or args.vocab, args.target_vocab or args.vocab
    if source is None or target is None:
        raise ShapeshifterError(
            "give --data DATA, --vocab N for a joined dictionary, or --source-vocab N and "
            "--target-vocab N"
        )
    return source, target, args.vocab is not None


def _options_for_size(
    args: argparse.Namespace, source: int, target: int, joined: bool
) -> list[str]:
    """All options of the model, with ranks for --percent or --parameters."""
    from ..fairseq_side.counting import parse
    from ..fairseq_side.sizing import Architecture

    own = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    own.add_argument("--layer-rank", type=int)
    own.add_argument("--embed-rank", type=int)
    own.add_argument("--factorization")
    own.add_argument("--factor-plan")
    try:
        fixed, others = own.parse_known_args(args.fairseq_options)
    except argparse.ArgumentError as error:
        raise ShapeshifterError(
            f"with --percent or --parameters, {error.argument_name} is a whole number"
        ) from error
    if fixed.factor_plan:
        raise ShapeshifterError(
            "--percent and --parameters find one rank for all layers and one for all embeddings; "
            "leave --factor-plan out, or give it with --layer-rank and --embed-rank instead"
        )
    settings = parse(args.arch, others)
    if "layer_rank" not in settings:
        raise ShapeshifterError(
            "--percent and --parameters find the ranks of layers and embeddings, and --arch "
            f"{args.arch} does not have both; change its sizes, for example --encoder-embed-dim"
        )
    family = fixed.factorization or settings.factorization
    arch = Architecture(args.arch, source, target, joined, others)
    if args.percent is None:
        most = _number(args.parameters)
    elif not 0 < args.percent <= 100:
        raise ShapeshifterError(f"--percent {args.percent:g}: give a number above 0, at most 100")
    else:
        most = int(sum(arch.parts("--factor-plan", "*=dense")) * args.percent / 100)
    return [*others, *arch.within(most, family, fixed.layer_rank, fixed.embed_rank)]


def _number(text: str) -> int:
    """3M, 300K or 3000000."""
    scale = {"K": 10**3, "M": 10**6}.get(text[-1:].upper(), 1)
    try:
        return int(float(text[:-1] if scale > 1 else text) * scale)
    except (ValueError, OverflowError):  # OverflowError: inf
        raise ShapeshifterError(f"--parameters {text}: give a number such as 3M or 300K") from None
