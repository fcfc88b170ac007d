"""Convert checkpoints of dense Transformers to factorized ones (project), and back (fold)."""

from __future__ import annotations

import copy
from argparse import Namespace
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_REGISTRY
from fairseq.models.transformer import TransformerConfig, TransformerModel
from torch import nn

from ..errors import ShapeshifterError
from ..factorizing import factorize, fold
from ..matrices import Matrix, matrices
from ..projection import Projected, how_near, relative_error
from .averaging import mean_of
from .checkpoints import of_file, refuse_to_replace, write_checkpoint
from .counting import task_with
from .factorized_model import FactorizedModel
from .options import (
    FACTOR_OPTIONS,
    TRANSFORMER_RANKS,
    gains_of,
    plan_of,
    say_what_is_lowered,
)
from .weights import read_weights

ARCH = "shapeshifter_transformer"
# Options that shape a model and that fairseq's base_architecture does not set.
_BESIDE = ("no_decoder_final_norm", "max_source_positions", "max_target_positions")


@dataclass(frozen=True)
class Projection:
    """What `project_checkpoint` did."""

    matrices: list[Projected]  # those that were factorized, largest error first
    before: int  # parameters of the whole model
    after: int
    options: list[str]  # of fairseq-train, for this model

    @property
    def error(self) -> float:
        """Relative Frobenius error of all factorized matrices together."""
        return relative_error(self.matrices)


def project_checkpoint(
    dense: Path,
    out: Path,
    options: Namespace,
    *,
    ema: bool = False,
    force: bool = False,
    progress: Callable[[list[Matrix]], Iterable[Matrix]] = iter,
) -> Projection:
    """Write the factorized model that is nearest to a trained Transformer.

    The file is one of `--arch shapeshifter_transformer`, with the sizes and ties of the dense model
    and without state of an optimizer: a training that restores it begins at update 0.

    Args:
        dense: checkpoint of `--arch transformer` or one of its presets, or of ours with all
            matrices dense.
        options: `FACTOR_OPTIONS`; those that are None or missing have fairseq-train's default.
        ema: project its EMA, see `read_weights`.
        force: replace `out`, once the new file is whole.
        progress: as for `factorize`.

    Raises:
        ShapeshifterError: if `dense` is not such a checkpoint, or factorized already; or as
            `read_weights`, `factorize` and `write_checkpoint` do.
    """
    refuse_to_replace(out, force, dense)
    state = read_weights(dense, ema)
    settings = _settings(dense, state)
    if _is_factorized(state):
        raise ShapeshifterError(
            f"{dense} is factorized already; project takes a dense model (shapeshifter fold makes "
            "one of it)"
        )
    # Files of pretrained embeddings; the checkpoint holds the trained tables.
    settings.encoder_embed_path = settings.decoder_embed_path = None
    # A dense model may have trained with these, which factorized models refuse.
    vars(settings).pop("ddp_backend", None)
    settings.quant_noise_pq = settings.quant_noise_scalar = 0
    task = _dictionaries(dense, state, settings)
    model = _model(dense, state, settings, task)
    for name in FACTOR_OPTIONS:
        vars(settings).pop(name, None)  # set if the dense model is ours ('*=dense')
        if (value := getattr(options, name, None)) is not None:
            setattr(settings, name, value)
    settings.arch = settings._name = ARCH
    ARCH_CONFIG_REGISTRY[ARCH](settings)
    ARCH_MODEL_REGISTRY[ARCH].refuse_what_cannot_work(settings, task)
    before = sum(parameter.numel() for parameter in model.parameters())
    plan = plan_of(settings, TRANSFORMER_RANKS)
    say_what_is_lowered(plan, model)
    found = matrices(model)  # they hold the dense weights
    factorize(model, plan, init="project", progress=progress, **gains_of(settings))
    projected = how_near(found, model)
    after = sum(parameter.numel() for parameter in model.parameters())
    if not projected:
        raise ShapeshifterError(f"the plan leaves every matrix of {dense} dense; nothing to do")
    write_checkpoint(_with_settings(state, settings) | _new(state, model, updates=0), out)
    return Projection(projected, before, after, _options_of(settings))


def fold_checkpoints(
    checkpoints: Sequence[Path], out: Path, *, ema: bool = False, force: bool = False
) -> None:
    """Write an ordinary checkpoint of fairseq's `--arch transformer`. It needs nothing of ours, and
    loads weights-only, without an allow-list.

    Args:
        checkpoints: of one factorized model; if there are several, their factors are averaged.
        ema: fold the EMA, see `read_weights`.
        force: replace `out`, once the new file is whole.

    Raises:
        ShapeshifterError: if a file is not of a factorized model, or as `mean_of`,
            `read_weights` and `write_checkpoint` do.
    """
    refuse_to_replace(out, force, *checkpoints)
    if len(checkpoints) == 1:
        state = read_weights(checkpoints[0], ema)
    else:
        state = mean_of(checkpoints, ema=ema)
    write_checkpoint(_folded(checkpoints[-1], state), out)


def load_model(path: Path, ema: bool = False) -> tuple[nn.Module, Namespace]:
    """The Transformer in a checkpoint, factorized or dense, in single precision, and its options.

    Args:
        ema: load its EMA instead, see `read_weights`.

    Raises:
        ShapeshifterError: if it is of another kind of model, or as `read_weights` does.
    """
    state = read_weights(path, ema)
    settings = _settings(path, state)
    return _model(path, state, settings, _dictionaries(path, state, settings)), settings


def _folded(path: Path, state: dict[str, Any]) -> dict[str, Any]:
    settings = _settings(path, state)
    if ARCH_MODEL_REGISTRY[settings.arch] is TransformerModel:
        raise ShapeshifterError(
            f"{path} is dense already (--arch {settings.arch}): nothing to fold"
        )
    model = fold(_model(path, state, settings, _dictionaries(path, state, settings)))
    # fairseq-hydra-train keeps the settings of the task elsewhere.
    task = _group((state.get("cfg") or {}).get("task"))
    vars(settings).update({name: task[name] for name in task if not name.startswith("_")})
    settings.task = task.get("_name") or getattr(settings, "task", "translation")
    for name in (*FACTOR_OPTIONS, "user_dir", "_name"):
        vars(settings).pop(name, None)
    settings.arch = "transformer"
    folded = _new(state, model, updates=_last(state).get("num_updates", 0))
    if averaged := state.get("extra_state", {}).get("averaged"):
        folded["extra_state"]["averaged"] = averaged
    return {"args": _plain(settings), "cfg": None, **folded}


def _plain(settings: Namespace) -> OrderedDict[str, Any]:
    """Settings that torch loads weights-only, and that have attributes, which fairseq reads.

    Of the types that torch loads so, only `OrderedDict` keeps attributes. The settings are its
    items too, because CTranslate2's converter takes an empty dict for missing settings.
    """
    plain = OrderedDict(vars(settings))
    plain.__dict__.update(vars(settings))
    return plain


def _settings(path: Path, state: dict[str, Any]) -> Namespace:
    """A copy of the options of the model in a checkpoint, with `arch`."""
    found = state.get("args") or (state.get("cfg") or {}).get("model")
    settings = Namespace(**copy.deepcopy(dict(_group(found))))
    settings.arch = getattr(settings, "arch", None) or getattr(settings, "_name", None)
    for part in ("encoder", "decoder", "quant_noise"):
        # fairseq-hydra-train nests the options it was given; the flat names hold the defaults.
        nested = dict(_group(vars(settings).pop(part, None)))
        if part == "decoder" and "embed_dim" in nested:
            nested = {"input_dim": nested["embed_dim"], "output_dim": nested["embed_dim"]} | nested
        vars(settings).update({f"{part}_{name}": value for name, value in nested.items()})
    family = ARCH_MODEL_REGISTRY.get(settings.arch)
    if family is not TransformerModel and not _is_ours(family):
        raise ShapeshifterError(
            f"{path} is of --arch {settings.arch}; only fairseq's --arch transformer, its presets "
            "and this project's factorized Transformers can be converted"
        )
    return settings


def _is_ours(family: type | None) -> bool:
    """Whether a model of fairseq's registry is a Transformer in factors."""
    return (
        family is not None
        and issubclass(family, FactorizedModel)
        and issubclass(family, TransformerModel)
    )


def _group(found: dict[str, Any] | Namespace | None) -> dict[str, Any]:
    """A group of settings as a dict; fairseq keeps one without a dataclass as a Namespace."""
    return vars(found) if isinstance(found, Namespace) else found or {}


def _is_factorized(state: dict[str, Any]) -> bool:
    return any(".factors." in name for name in state["model"])


def _dictionaries(path: Path, state: dict[str, Any], settings: Namespace) -> Namespace:
    """What a model needs from its task: dictionaries as large as the checkpoint's tables."""
    sizes = {}
    for side in ("encoder", "decoder"):
        names = [f"{side}.embed_tokens.{name}" for name in ("weight", "factors.size")]
        table = next((state["model"][name] for name in names if name in state["model"]), None)
        if table is None:
            raise ShapeshifterError(f"{path} is of another kind of model: it has no {names[0]}")
        sizes[side] = len(table)
    # Dictionaries that fairseq merges while it builds have the merged size here already.
    joined = any(
        getattr(settings, name, False) for name in ("share_all_embeddings", "merge_src_tgt_embed")
    )
    return task_with(sizes["encoder"], sizes["decoder"], joined)


def _model(path: Path, state: dict[str, Any], settings: Namespace, task: Namespace) -> nn.Module:
    """The model in a checkpoint, in single precision."""
    model = ARCH_MODEL_REGISTRY[settings.arch].build_model(settings, task)
    try:
        model.load_state_dict(of_file(path, state["model"]))
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise ShapeshifterError(f"{path}: its weights do not fit its settings: {reason}") from error
    return model


def _with_settings(state: dict[str, Any], settings: Namespace) -> dict[str, Any]:
    """The checkpoint with new settings of its model, stored where the old ones were."""
    if state.get("args"):
        return state | {"args": settings}
    return state | {"cfg": state["cfg"] | {"model": settings}}


def _new(state: dict[str, Any], model: nn.Module, updates: int) -> dict[str, Any]:
    """All of a checkpoint but the settings, as if there had been no training before.

    Without an optimizer's state fairseq begins at update 0 in the epoch that the checkpoint names.
    The best loss is left out, because fairseq would compare this model with the other one.
    """
    names = ("criterion_name", "optimizer_name")
    history = {name: _last(state).get(name) for name in names}
    return {
        "model": model.state_dict(),
        "criterion": state.get("criterion"),
        "optimizer_history": [history | {"lr_scheduler_state": {}, "num_updates": updates}],
        "last_optimizer_state": None,
        "extra_state": {"train_iterator": {"epoch": 1, "iterations_in_epoch": 0}},
        "task_state": state.get("task_state") or {},
    }


def _last(state: dict[str, Any]) -> dict[str, Any]:
    return (state.get("optimizer_history") or [{}])[-1]


def _options_of(settings: Namespace) -> list[str]:
    """The options of fairseq-train that build this model, `--arch` first."""
    chosen = Namespace(**{name: getattr(TransformerConfig, name) for name in _BESIDE})
    set_defaults = ARCH_CONFIG_REGISTRY[ARCH]
    set_defaults(default := copy.copy(chosen))
    options = ["--arch", ARCH]
    for name in vars(default):
        trial = copy.copy(chosen)
        set_defaults(trial)
        value = getattr(settings, name, getattr(default, name))
        if value != getattr(trial, name):
            setattr(chosen, name, value)
            options += ["--" + name.replace("_", "-"), *([] if value is True else [str(value)])]
    return options
