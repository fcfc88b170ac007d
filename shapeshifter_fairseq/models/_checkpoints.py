"""Let fairseq's checkpoints load while torch loads weights only.

Since torch 2.6 `torch.load` unpickles nothing but tensors, plain containers and the types on an
allow-list. A fairseq checkpoint holds one more type: its configuration is kept as an
`argparse.Namespace`, a bag of values that runs no code. `--eval-bleu` adds counts that are NumPy
arrays of integers. Those types are put on the list, and the protection stays on: a checkpoint with
anything else in it is still refused.
"""

from __future__ import annotations

from argparse import Namespace

import numpy
import torch

# What an array of 64-bit integers is pickled as: a function that makes an empty array, the types of
# the array and of its entries.
_COUNTS = numpy.zeros(1, numpy.int64)
_NUMPY = [_COUNTS.__reduce__()[0], numpy.ndarray, numpy.dtype, type(_COUNTS.dtype)]


def allow_fairseq_checkpoints() -> None:
    """Register the types that fairseq's checkpoints need beyond torch's own."""
    torch.serialization.add_safe_globals([Namespace, *_NUMPY])
