"""Parameter-efficient Transformers: matrices as sums of Kronecker products, for fairseq and torch.

As a fairseq user-dir::

    fairseq-train DATA --user-dir shapeshifter_fairseq --arch shapeshifter_transformer_iwslt ...

In Python, on any model (fairseq is not needed for it)::

    from shapeshifter_fairseq import Plan, factorize, fold
    factorize(model, Plan.parse("*=64"))
"""

import logging
from importlib.util import find_spec

from .errors import ShapeshifterError
from .factorizing import factorize, fold
from .layers import FactorizedEmbedding, FactorizedLinear
from .plan import Plan

__version__ = "0.1.0"

__all__ = [
    "FactorizedEmbedding",
    "FactorizedLinear",
    "Plan",
    "ShapeshifterError",
    "factorize",
    "fold",
]

if find_spec("fairseq") is not None:  # without it the layers work all the same
    # fairseq names at import what it could not find for speech; that is not our user's problem.
    silenced = logging.root.manager.disable
    logging.disable(logging.INFO)
    from .models import ShapeshifterTransformerModel

    logging.disable(silenced)
    __all__ += ["ShapeshifterTransformerModel"]
