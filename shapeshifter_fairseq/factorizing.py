"""Turn a model's dense matrices into factors according to a plan, and back again.

Works on any `nn.Module` in place::

    model = factorize(model, Plan.parse("*=64,*embed*=256"))
    ...train...
    model = fold(model)          # ordinary nn.Linear and nn.Embedding again
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Literal

import torch
from torch import nn

from .beside_weights import (
    hand_over,
    parameter_of,
    refuse_what_would_be_lost,
    warn_of_what_ends,
)
from .errors import ShapeshifterError
from .factorizations import Factorization, family_named
from .factorizations.autocast import without_autocast
from .layers import EMBED_GAIN, LAYER_GAIN, FactorizedEmbedding, FactorizedLinear
from .matrices import Matrix, matrices
from .plan import Plan, Rule
from .together import build_apart


def factorize(
    model: nn.Module,
    plan: Plan,
    *,
    init: Literal["random", "project"] = "random",
    layer_gain: float = LAYER_GAIN,
    embed_gain: float = EMBED_GAIN,
    progress: Callable[[list[Matrix]], Iterable[Matrix]] = iter,
    std_of: Callable[[nn.Parameter], float | None] = lambda weight: None,
) -> nn.Module:
    """Replace a model's dense matrices in place with factors; ties and biases stay, and what is
    frozen (`requires_grad`) stays frozen.

    Args:
        model: any module; its device and dtype are kept. On the meta device the factors have shapes
            but no numbers: enough to count them, or to load a checkpoint.
        plan: which matrix gets which factorization.
        init: "random" draws the factors so that each W starts with the standard deviation that its
            dense weight had (the padding row aside); "project" makes each W an approximation
            of its dense weight, see `Factorization.project_`.
        layer_gain, embed_gain: how far a step of Adam moves W, of linear layers and of tables that
            serve as an embedding, see `Factorization.initialize_`. The defaults suit optimizers of
            `torch.optim` that divide by the gradient's size (Adam, AdamW, NAdam, Adamax, Adagrad,
            Adadelta, RMSprop); with SGD give 1 and 1 (docs/gains.md).
        progress: wraps the list of matrices, as `tqdm.tqdm` does; large ones take a while.
        std_of: gives the standard deviation of a weight that holds no numbers, and None for all
            others, see `Undrawn`.

    Returns:
        The same model.

    Raises:
        ShapeshifterError: if a rule matches nothing, a rank, an option or the family does not fit
            its matrix, a weight to project holds NaN, infinity or (unless it is frozen) only zeros,
            a weight to draw has no spread, or a layer has what factors cannot have (`sparse`, a
            `forward` of its own, hooks of its weight). The model is then as it was.
    """
    if init not in ("random", "project"):
        raise ShapeshifterError(f"init={init!r}: choose 'random' or 'project'")
    found = matrices(model)
    _check_every_rule_matches(plan, found)
    # All factors are made before the first layer is replaced, so that an error changes nothing.
    factors = [
        _factors_for(matrix, plan, init, embed_gain if matrix.is_embedding else layer_gain, std_of)
        for matrix in progress(found)
    ]
    for matrix, made in zip(found, factors):
        if made is not None:
            made.requires_grad_(matrix.weight.requires_grad)
            for name, module in matrix.modules.items():
                warn_of_what_ends(name, module)
            model = _replace(model, matrix.modules, partial(_factorized_layer, made))
    return model


def fold(model: nn.Module, keep: Callable[[nn.Module], bool] = lambda layer: False) -> nn.Module:
    """Replace every factorized layer in place with the ordinary layer that computes the same.

    Layers that share factors share the weight afterwards.

    Args:
        keep: whether a factorized layer stays as it is.

    Returns:
        The same model.
    """
    weights: dict[Factorization, nn.Parameter] = {}

    def dense_layer(layer: nn.Module) -> nn.Module:
        factors = layer.factors
        if factors not in weights:
            with torch.no_grad(), without_autocast(factors.scale.device.type):
                weight = factors.materialize().clone()
            trainable = any(factor.requires_grad for factor in factors.parameters())
            weights[factors] = nn.Parameter(weight, requires_grad=trainable)
        return _dense_layer(layer, weights[factors])

    layers = {
        name: module
        for name, module in model.named_modules(remove_duplicate=False)
        if isinstance(module, (FactorizedLinear, FactorizedEmbedding)) and not keep(module)
    }
    model = _replace(model, layers, dense_layer)
    if not any(isinstance(module, Factorization) for module in model.modules()):
        build_apart(model)
    return model


def check(model: nn.Module, plan: Plan) -> None:
    """Raise the errors about a plan that `factorize` would raise; this replaces nothing."""
    found = matrices(model)
    _check_every_rule_matches(plan, found)
    for matrix in found:
        rule = plan.rule_for(list(matrix.modules))
        if rule is not None and rule.spec is not None:
            _new_factors(rule, matrix)


def fitting_rank(rule: Rule, matrix: Matrix) -> int:
    """The largest rank that fits a matrix in the family of a rule that factorizes it.

    Raises:
        ShapeshifterError: if the family or its options do not fit the matrix.
    """
    family = rule.spec.family
    with _naming(rule, matrix):
        kind = family_named(family.name, family.options, for_linear=not matrix.is_embedding)
        return kind.max_rank(*matrix.weight.shape, **family.options)


def is_factorized(model: nn.Module, name: str) -> bool:
    """Whether the module of that name holds factors."""
    return isinstance(model.get_submodule(name), (FactorizedLinear, FactorizedEmbedding))


def _check_every_rule_matches(plan: Plan, found: list[Matrix]) -> None:
    names = [name for matrix in found for name in matrix.modules]
    for rule in plan.rules:
        if not rule.matches(names):
            some = ", ".join(names[:: max(1, len(names) // 3)][:3])
            known = f"the model has, for example, {some}" if some else "the model has none"
            raise ShapeshifterError(f"{rule.origin} matches no matrix of the model; {known}")


def _factors_for(
    matrix: Matrix,
    plan: Plan,
    init: str,
    gain: float,
    std_of: Callable[[nn.Parameter], float | None],
) -> Factorization | None:
    rule = plan.rule_for(list(matrix.modules))
    if rule is None or rule.spec is None:
        return None
    for name, module in matrix.modules.items():
        refuse_what_would_be_lost(name, module)
    name = next(iter(matrix.modules))
    leave_dense = f"leave it dense with the rule {name or '*'}=dense"
    if matrix.weight.is_complex():
        raise ShapeshifterError(
            f"{name}: factors are real and the weight is complex; {leave_dense}"
        )
    factors = _new_factors(rule, matrix)
    if matrix.weight.is_meta:
        return factors.to("meta")
    weight = matrix.weight.detach()
    weight = weight.to(torch.promote_types(weight.dtype, torch.float32))
    if init == "project":
        if matrix.weight.requires_grad and not weight.any():
            raise ShapeshifterError(
                f"{name}: factors of zeros cannot learn; initialise the weight first, or "
                f"{leave_dense}"
            )
        _warn_of_a_lost_row(name, matrix)
        try:
            factors.to(weight).project_(weight, gain)
        except ShapeshifterError as error:
            raise ShapeshifterError(f"{name}: {error}") from None
        return factors.to(matrix.weight)
    std = std_of(matrix.weight)
    if std is None:
        if matrix.zero_row is not None:
            weight = torch.cat([weight[: matrix.zero_row], weight[matrix.zero_row + 1 :]])
        std = weight.std().item()
    if not 0 < std < math.inf:
        raise ShapeshifterError(
            f"{name}: factors cannot be drawn for a weight of standard deviation {std}; initialise "
            f"the weight first, or {leave_dense}"
        )
    factors.initialize_(std, gain)
    return factors.to(matrix.weight)


def _warn_of_a_lost_row(name: str, matrix: Matrix) -> None:
    """Warn if the padding token's row, which becomes zero, holds something."""
    zero_row = matrix.zero_row
    if zero_row is None or not matrix.weight[zero_row].any():
        return
    others = [
        other
        for other, module in matrix.modules.items()
        if getattr(module, "padding_idx", None) != zero_row
    ]
    also = f", also for {', '.join(others)}" if others else ""
    warnings.warn(
        f"{name}: row {zero_row}, the padding token's, becomes zero{also}; if the model uses that "
        "token for more than padding, set padding_idx = None first",
        stacklevel=4,
    )


def _new_factors(rule: Rule, matrix: Matrix) -> Factorization:
    family, rank = rule.spec.family, rule.spec.rank
    if rule.spec.at_most:
        rank = min(rank, fitting_rank(rule, matrix))
    n, m = matrix.weight.shape
    with _naming(rule, matrix):
        if not n * m:
            raise ShapeshifterError(f"a {n} x {m} matrix holds no numbers; leave it dense")
        make = family_named(family.name, family.options, for_linear=not matrix.is_embedding)
        return make(n, m, rank, zero_row=matrix.zero_row, **family.options)


@contextmanager
def _naming(rule: Rule, matrix: Matrix) -> Iterator[None]:
    """Inside, an error begins with the rule and the matrix that it is about."""
    try:
        yield
    except ShapeshifterError as error:
        raise ShapeshifterError(f"{rule.origin} ({next(iter(matrix.modules))}): {error}") from None


def _factorized_layer(
    factors: Factorization, module: nn.Module
) -> FactorizedLinear | FactorizedEmbedding:
    if isinstance(module, nn.Embedding):
        layer = FactorizedEmbedding.holding(factors)
    else:
        layer = FactorizedLinear.holding(factors, parameter_of(module, "bias"))
    hand_over(module, layer)
    return layer.train(module.training)


def _dense_layer(layer: nn.Module, weight: nn.Parameter) -> nn.Linear | nn.Embedding:
    # Skip torch's random initialisation. An embedding skips it if it is given `_weight`. (On the
    # meta device it would make torch import its compiler, which takes seconds.)
    n, m = weight.shape
    if isinstance(layer, FactorizedEmbedding):
        dense = nn.Embedding(n, m, layer.padding_idx, _weight=weight)
    else:
        dense = nn.Linear(m, n, bias=layer.bias is not None, device="meta")
        dense.bias = layer.bias
    dense.weight = weight
    hand_over(layer, dense)
    return dense.train(layer.training)


def _replace(
    model: nn.Module, layers: dict[str, nn.Module], make: Callable[[nn.Module], nn.Module]
) -> nn.Module:
    """Put `make(layer)` where each of `layers` is; a layer with several names stays one layer."""
    made: dict[nn.Module, nn.Module] = {}
    for name, layer in layers.items():
        if layer not in made:
            made[layer] = make(layer)
        if not name:  # the model is itself such a layer
            return made[layer]
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, made[layer])
    return model
