"""Parameter-efficient Transformers: matrices as sums of Kronecker products, for fairseq and torch.

As a fairseq user-dir::

    fairseq-train DATA --user-dir shapeshifter_fairseq --arch shapeshifter_transformer_iwslt ...

In Python, on any model, without fairseq::

    from shapeshifter_fairseq import Plan, build_together, factorize, fold
    factorize(model, Plan.parse("*=64"))
    build_together(model)

A name is loaded when it is first used: most need torch, the model needs fairseq.
`import shapeshifter_fairseq.models` registers the architectures with fairseq.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .errors import ShapeshifterError
    from .factorizing import factorize, fold
    from .layers import FactorizedEmbedding, FactorizedLinear
    from .models import ShapeshifterTransformerModel as ShapeshifterTransformerModel
    from .plan import Plan
    from .together import build_together, built_together

__version__ = "0.2.0.dev0"

_MODULES = {
    "FactorizedEmbedding": ".layers",
    "FactorizedLinear": ".layers",
    "Plan": ".plan",
    "ShapeshifterError": ".errors",
    "ShapeshifterTransformerModel": ".models",
    "build_together": ".together",
    "built_together": ".together",
    "factorize": ".factorizing",
    "fold": ".factorizing",
}

# ShapeshifterTransformerModel is left out, so that `import *` needs no fairseq.
__all__ = [
    "FactorizedEmbedding",
    "FactorizedLinear",
    "Plan",
    "ShapeshifterError",
    "build_together",
    "built_together",
    "factorize",
    "fold",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_MODULES[name], __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
