"""The matrices of a model that can become factors: which weights, and which layers use them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from torch import nn
from torch.nn.utils import parametrize

from .beside_weights import parameter_of


@dataclass
class Matrix:
    """One weight of a model, with every module that uses it."""

    weight: nn.Parameter  # shape: (n, m)
    modules: dict[str, nn.Module]  # by full name; a module that is used twice is there twice

    @property
    def is_embedding(self) -> bool:
        return any(isinstance(module, nn.Embedding) for module in self.modules.values())

    @property
    def zero_row(self) -> int | None:
        """The padding token, if one of the modules is an embedding that has one."""
        indices = [getattr(module, "padding_idx", None) for module in self.modules.values()]
        return next((index for index in indices if index is not None), None)


def matrices(model: nn.Module) -> list[Matrix]:
    """The weights of a model's linear layers and embeddings, tied ones once.

    A weight that is computed (`weight_norm`, pruning, a parametrization) is taken as it is now.

    Subclasses of `nn.Linear` and `nn.Embedding` are left out: they may compute something else
    (fairseq's learned positions, torch's own attention). So is a table with `max_norm`, which
    rewrites its rows in place. A weight that such a module shares is left out with it, or the tie
    would break (BART's output projection, tied to an embedding that scales what it looks up).
    """
    found: dict[int, Matrix] = {}
    left_out: set[int] = set()
    uses = Counter(id(p) for module in model.modules() for p in module._parameters.values())
    for name, module in model.named_modules(remove_duplicate=False):
        kind = parametrize.type_before_parametrizations(module)
        is_matrix = kind is nn.Linear or (kind is nn.Embedding and module.max_norm is None)
        if is_matrix and "parametrizations" not in name.split("."):
            computed = "weight" not in module._parameters
            key = id(module) if computed else id(module.weight)
            if key not in found:
                found[key] = Matrix(parameter_of(module, "weight"), {})
            found[key].modules[name] = module
            if computed and any(uses[id(source)] > 1 for source in module.parameters()):
                left_out.add(key)
        else:
            left_out.update(map(id, module.parameters(recurse=False)))
    return [matrix for key, matrix in found.items() if key not in left_out]
