"""Let fairseq's checkpoints load while torch loads weights only.

Since torch 2.6 `torch.load` unpickles nothing but tensors, plain containers and the types on an
allow-list. A fairseq checkpoint holds a few more, `IN_FILES`. And with several processes one of
them reads the file and sends the others what it holds, through `torch.load` again: with OmegaConf's
containers for the configuration, and placeholders for the tensors, which go by themselves. Those
types are put on the list, and the protection stays on: a checkpoint with anything else in it is
still refused.
"""

from __future__ import annotations

from argparse import Namespace
from collections import defaultdict
from typing import Any

import numpy
import torch

# What an array of 64-bit integers is pickled as: a function that makes an empty array, the types of
# the array and of its entries.
_COUNTS = numpy.zeros(1, numpy.int64)
_NUMPY = [_COUNTS.__reduce__()[0], numpy.ndarray, numpy.dtype, type(_COUNTS.dtype)]
# What a file of fairseq's holds beyond the types that torch loads by itself: its configuration, a
# bag of values that runs no code, and the counts that --eval-bleu adds.
IN_FILES = [Namespace, *_NUMPY]


def allow_fairseq_checkpoints() -> None:
    """Register the types that fairseq's checkpoints need beyond torch's own."""
    # Here, for who only reads files needs neither: `shapeshifter average` does without fairseq.
    from fairseq.distributed import utils as distributed
    from omegaconf import AnyNode, DictConfig, ListConfig
    from omegaconf.base import ContainerMetadata, Metadata

    # What OmegaConf's containers are pickled as.
    omegaconf = [AnyNode, DictConfig, ListConfig, ContainerMetadata, Metadata]
    omegaconf += [Any, int, dict, list, defaultdict]
    sent = [distributed._TensorPlaceholder, *omegaconf]
    torch.serialization.add_safe_globals([*IN_FILES, *sent])
