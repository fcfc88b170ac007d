"""Turn a fairseq checkpoint into the small file of `packing`."""

from __future__ import annotations

from argparse import Namespace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from ctranslate2.converters import fairseq
from torch import Tensor

from ..errors import ShapeshifterError
from ..factorizations import FAMILIES, Factorization
from ..packing import Factors, Packed, Precision, unpack, write_packed
from ..translating import Translator
from .checkpoints import corpus_of, refuse_to_replace
from .conversion import load_model
from .weights import first_names


def pack(
    checkpoint: Path,
    data: Path,
    out: Path,
    precision: Precision,
    *,
    ema: bool = False,
    force: bool = False,
) -> None:
    """Pack a trained model, factorized or dense.

    Args:
        checkpoint: of fairseq's Transformer or this project's.
        data: the prepared corpus that it was trained on.
        out: the file.
        precision: of the weights.
        ema: pack its EMA, see `read_weights`.
        force: replace `out`, once the new file is whole.

    Raises:
        ShapeshifterError: if the model cannot be packed, or a file is missing.
    """
    refuse_to_replace(out, force, checkpoint)
    corpus = corpus_of(checkpoint, data)
    model, settings = load_model(checkpoint, ema)
    encoder, decoder = model.encoder, model.decoder
    *types, _ = corpus.dictionaries(data)
    if types != (known := [side.embed_tokens.num_embeddings for side in (encoder, decoder)]):
        raise ShapeshifterError(
            f"--data {data}: its dictionaries have {types[0]} and {types[1]} types, those of "
            f"{checkpoint} {known[0]} and {known[1]}; give the corpus that the model was trained on"
        )
    _refuse_what_ctranslate2_lacks(settings)
    factors, weights, names = [], {}, {}
    first: dict[int, str] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        made = getattr(module, "factors", None)
        if not isinstance(made, Factorization):
            continue
        if id(made) in first:
            names[f"{name}.weight"] = f"{first[id(made)]}.weight"
            continue
        first[id(made)] = name
        family = next(key for key, kind in FAMILIES.items() if type(made) is kind)
        facts = made.n, made.m, made.rank, made.zero_row, made.chosen
        factors.append(Factors(name, family, *facts))
        weights |= {f"{name}.factors.{key}": value for key, value in made.state_dict().items()}
    dense = {
        name: weight
        for name, weight in model.state_dict().items()
        if ".factors." not in name and not name.endswith(("version", "_float_tensor"))
    }
    for name, known in first_names(dense).items():
        if name == known:
            weights[name] = dense[name]
        else:
            names[name] = known
    packed = Packed(
        layers=(len(encoder.layers), len(decoder.layers)),
        heads=settings.encoder_attention_heads,
        pre_norm=settings.encoder_normalize_before,
        activation=settings.activation_fn,
        layernorm_embedding=encoder.layernorm_embedding is not None,
        embed_scale=(encoder.embed_scale, decoder.embed_scale),
        positions=tuple(_positions(side) for side in (encoder, decoder)),
        padding=encoder.padding_idx,
        factors=tuple(factors),
        names=names,
    )
    write_packed(out, packed, _without_empty(weights), corpus, data, precision)


def _refuse_what_ctranslate2_lacks(settings: Namespace) -> None:
    reasons = []
    try:
        fairseq._get_model_spec(Namespace(**{**vars(settings), "arch": "transformer"}))
    except ValueError as error:
        reasons = [line[2:] for line in str(error).splitlines() if line.startswith("- ")]
    # Its check overlooks these.
    has = partial(getattr, settings)
    for option, given in (
        ("--cross-self-attention", has("cross_self_attention", False)),
        ("--no-cross-attention", has("no_cross_attention", False)),
        (
            "--no-decoder-final-norm",
            settings.decoder_normalize_before and has("no_decoder_final_norm", False),
        ),
        ("--decoder-output-dim", settings.decoder_output_dim != settings.decoder_embed_dim),
    ):
        reasons += [f"Option {option} is not supported"] * bool(given)
    if reasons:
        raise ShapeshifterError(
            f"CTranslate2, which runs unpacked models, cannot do this: {'; '.join(reasons)}"
        )


def _positions(side) -> int:
    """Rows of a side's table of positions."""
    return side.max_positions() + side.padding_idx + 1


def _without_empty(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Leave out the buffers that hold nothing."""
    return {name: weight for name, weight in weights.items() if weight.numel()}


def check(
    checkpoint: Path, data: Path, packed: Path, *, ema: bool = False
) -> tuple[float, float, str]:
    """BLEU of a model on the validation set, before and after packing, and sacreBLEU's signature.

    Both models translate with CTranslate2 in float32 and beam 5.
    """
    from sacrebleu.metrics import BLEU

    corpus = corpus_of(checkpoint, data)
    source, target = (
        (data / "raw" / f"valid.{side}").read_text(encoding="utf-8").split("\n")[:-1]
        for side in (corpus.source, corpus.target)
    )
    bleu, scores = BLEU(lowercase=corpus.lowercased), []
    with TemporaryDirectory() as work:
        exact = Path(work) / "exact.pack"
        pack(checkpoint, data, exact, "fp32", ema=ema)
        for number, file in enumerate((exact, packed)):
            folder = Path(work) / str(number)
            unpack(file, folder, "float32")
            translations = list(Translator(folder).translate(source))
            scores.append(bleu.corpus_score(translations, [target]).score)
    return scores[0], scores[1], str(bleu.get_signature())
