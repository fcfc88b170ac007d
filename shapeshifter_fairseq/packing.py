"""Write a trained model into one small file, and turn that into a CTranslate2 model.

The file is a zip archive: factors and other weights as safetensors, the model's description, the
dictionaries, the subword model and corpus.json. The factors make it small: multiplied out, a model
is as large as the dense one. None of this needs fairseq.
"""

from __future__ import annotations

import json
import math
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from .corpus import Corpus
from .errors import ShapeshifterError
from .factorizations import family_named
from .writing import whole_file

Precision = Literal["fp32", "fp16", "bf16", "int8"]
FORMAT = 2
WEIGHTS, MODEL = "weights.safetensors", "model.json"
_DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
# What reading a damaged file raises.
_DAMAGED = (
    *(KeyError, TypeError, ValueError, OSError),
    *(zipfile.BadZipFile, zlib.error, SafetensorError),
)
_EPOCH = (1980, 1, 1, 0, 0, 0)  # time of every entry: the same model gives the same bytes


@dataclass(frozen=True)
class Factors:
    """One matrix that is stored as factors; `module` is the first of the modules that share it."""

    module: str
    family: str
    n: int
    m: int
    rank: int
    zero_row: int | None
    options: dict[str, int]


@dataclass(frozen=True)
class Packed:
    """What the file says of a fairseq Transformer apart from its weights."""

    layers: tuple[int, int]  # encoder, decoder
    heads: int
    pre_norm: bool
    activation: str
    layernorm_embedding: bool
    embed_scale: tuple[float, float]  # source and target
    positions: tuple[int, int]  # rows of a table of positions, source and target
    padding: int  # index of the padding token
    factors: tuple[Factors, ...]
    names: dict[str, str]  # of each weight that is shared: its other names, with the first


def write_packed(
    out: Path,
    packed: Packed,
    weights: dict[str, Tensor],
    corpus: Corpus,
    data: Path,
    precision: Precision,
) -> None:
    """Write the file, whole or not at all; the same model gives the same bytes.

    Args:
        weights: by fairseq's names; for a factorized matrix, its factors.
        data: the corpus's folder, with dictionaries and subword model.

    Raises:
        ShapeshifterError: if it cannot be written, for example because the disk is full.
    """
    tensors: dict[str, Tensor] = {}
    for name, weight in weights.items():
        tensors |= _stored(name, weight.detach().float().cpu(), precision)
    facts = {"format": FORMAT, "precision": precision, **asdict(packed)}
    entries = {
        MODEL: json.dumps(facts, sort_keys=True, indent=1).encode(),
        "corpus.json": json.dumps(asdict(corpus), sort_keys=True, indent=2).encode(),
        WEIGHTS: save({name: tensors[name].contiguous() for name in sorted(tensors)}),
    }
    for name in (*(f"dict.{side}.txt" for side in _sides(corpus)), corpus.subword_file):
        entries[name] = (data / name).read_bytes()
    with whole_file(out) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted(entries.items()):
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), content, zipfile.ZIP_DEFLATED)


def unpack(file: Path, folder: Path, quantization: str = "int8") -> None:
    """Turn a packed file into a folder for `shapeshifter translate`.

    Args:
        folder: to make, whole or not at all.
        quantization: of CTranslate2's weights: int8, float32 and others.

    Raises:
        ShapeshifterError: if the file is truncated or of another kind, or the folder is not empty,
            or the working folder, or cannot be written.
    """
    there = folder.exists()
    if there and (not folder.is_dir() or any(folder.iterdir()) or folder.samefile(".")):
        raise ShapeshifterError(f"{folder} exists; choose another folder")
    try:
        with zipfile.ZipFile(file) as archive:
            facts = json.loads(archive.read(MODEL))
            if facts.pop("format") != FORMAT:
                raise ShapeshifterError(f"{file} was packed by another release; pack it again")
            corpus = Corpus(**json.loads(archive.read("corpus.json")))
            del facts["precision"]
            facts["factors"] = tuple(Factors(**each) for each in facts["factors"])
            packed = Packed(**facts)
            weights = dict(_read(load(archive.read(WEIGHTS))))
            vocabularies = [_tokens(archive.read(f"dict.{side}.txt")) for side in _sides(corpus)]
            subwords = archive.read(corpus.subword_file)
    except ShapeshifterError:
        raise
    except FileNotFoundError as error:
        raise ShapeshifterError(f"there is no {file}") from error
    except _DAMAGED as error:
        raise ShapeshifterError(
            f"{file} is truncated, or not a file that `shapeshifter pack` wrote: {error}"
        ) from error
    place = folder.resolve()  # a link stays a link
    part = place.with_name(f".{place.name}.part")  # a name that nobody gives to a folder
    shutil.rmtree(part, ignore_errors=True)  # of a killed run
    try:
        part.mkdir(parents=True)
        _convert(packed, _dense(packed, weights), vocabularies, part, quantization)
        corpus.write(part)
        (part / corpus.subword_file).write_bytes(subwords)
        if there:
            place.rmdir()
        part.rename(place)
    except OSError as error:
        raise ShapeshifterError(f"{folder} cannot be written: {error.strerror}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)  # does nothing after the rename


def _sides(corpus: Corpus) -> tuple[str, str]:
    return corpus.source, corpus.target


def _stored(name: str, weight: Tensor, precision: Precision) -> dict[str, Tensor]:
    """A weight as it is stored; in int8 with a scale for each entry of its first axis."""
    if precision != "int8" or weight.dim() < 2:
        return {name: weight.to(_DTYPES.get(precision, torch.float16))}
    terms = weight.flatten(1)
    scale = terms.abs().amax(1).clamp_min(1e-12) / 127
    return {name: (terms / scale[:, None]).round().to(torch.int8).view_as(weight)} | {
        f"{name}:scale": scale
    }


def _read(tensors: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in tensors.items():
        if name.endswith(":scale"):
            continue
        weight = tensor.float()
        scale = tensors.get(f"{name}:scale")
        if scale is not None:
            weight = (weight.flatten(1) * scale[:, None]).view_as(tensor)
        yield name, weight


def _tokens(dictionary: bytes) -> list[str]:
    """A dictionary's tokens as CTranslate2 names them, with fairseq's four special ones."""
    # A token may hold what Python takes for the end of a line (U+2028, U+0085); fairseq does not.
    lines = dictionary.decode("utf-8").removesuffix("\n").split("\n")
    return ["<s>", "<blank>", "</s>", "<unk>", *(line.rsplit(" ", 1)[0] for line in lines)]


def _dense(packed: Packed, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights of the ordinary Transformer, by fairseq's names."""
    dense = {name: weight for name, weight in weights.items() if ".factors." not in name}
    for each in packed.factors:
        made = family_named(each.family)(each.n, each.m, each.rank, each.zero_row, **each.options)
        start = f"{each.module}.factors."
        own = {name: weights[start + name] for name in made.state_dict() if start + name in weights}
        made.load_state_dict(own, strict=False)
        with torch.no_grad():
            dense[f"{each.module}.weight"] = made.weight().clone()
    return dense | {name: dense[first] for name, first in packed.names.items()}


def _convert(
    packed: Packed,
    weights: dict[str, Tensor],
    vocabularies: list[list[str]],
    folder: Path,
    quantization: str,
) -> None:
    """Write a CTranslate2 model."""
    from ctranslate2.converters import fairseq
    from ctranslate2.specs import TransformerSpec

    spec = TransformerSpec.from_config(
        packed.layers,
        packed.heads,
        pre_norm=packed.pre_norm,
        activation=fairseq._SUPPORTED_ACTIVATIONS[packed.activation],
        layernorm_embedding=packed.layernorm_embedding,
    )
    fairseq.set_transformer_encoder(spec.encoder, _tree(packed, weights, "encoder"))
    fairseq.set_transformer_decoder(spec.decoder, _tree(packed, weights, "decoder"))
    source, target = vocabularies
    spec.register_source_vocabulary(source)
    spec.register_target_vocabulary(target)
    spec.config.decoder_start_token = spec.config.eos_token
    spec.config.add_source_eos = True
    spec.validate()
    spec.optimize(quantization=quantization)
    spec.save(str(folder))


def _tree(packed: Packed, weights: dict[str, Tensor], side: str) -> SimpleNamespace:
    """One side's weights as CTranslate2's converter looks for them in fairseq's modules."""
    root: dict[str, Any] = {}
    for name, weight in weights.items():
        at, *rest = name.split(".")
        if at == side:
            node = root
            for step in rest[:-1]:
                node = node.setdefault(step, {"bias": None})
            node[rest[-1]] = weight
    layers = root.pop("layers")
    for name in ("layer_norm", "layernorm_embedding", "project_in_dim", "project_out_dim"):
        root.setdefault(name, None)
    number = int(side == "decoder")
    root["embed_scale"] = packed.embed_scale[number]
    table = root.get("embed_positions", {}).get("weight")
    if table is None:
        table = _sinusoids(packed.positions[number], root["embed_tokens"]["weight"].shape[1])
    root["embed_positions"] = {"weights": table, "padding_idx": packed.padding}
    places = [place for place in layers if place != "bias"]
    made = _namespace(root)
    made.layers = [_namespace(layers[place]) for place in sorted(places, key=int)]
    return made


def _namespace(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    return SimpleNamespace(**{name: _namespace(value) for name, value in node.items()})


def _sinusoids(rows: int, width: int) -> Tensor:  # shape: (rows, width)
    """Positions of Vaswani et al. (2017, section 3.5), sines before cosines as in fairseq."""
    half = width // 2
    step = torch.exp(torch.arange(half, dtype=torch.float) * -(math.log(10_000) / (half - 1)))
    angles = torch.arange(rows, dtype=torch.float)[:, None] * step
    return torch.cat([angles.sin(), angles.cos()], dim=1)
