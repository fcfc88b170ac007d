"""Let fairseq's checkpoints load while torch loads weights only.

Since torch 2.6 `torch.load` unpickles nothing but tensors, plain containers and the types on an
allow-list. A fairseq checkpoint holds a few more, `IN_FILES`. With several processes, one of them
reads the file and sends its contents to the others, again through `torch.load`: the configuration
in OmegaConf's containers, and placeholders for the tensors, which are sent separately. These types
are put on the list. The protection stays on: a checkpoint with anything else in it is still
refused.
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
    # Imported here, so that `shapeshifter average` can read files without fairseq and OmegaConf.
    from fairseq.distributed import utils as distributed
    from omegaconf import AnyNode, DictConfig, ListConfig
    from omegaconf.base import ContainerMetadata, Metadata

    # What OmegaConf's containers are pickled as.
    omegaconf = [AnyNode, DictConfig, ListConfig, ContainerMetadata, Metadata]
    omegaconf += [Any, int, dict, list, defaultdict]
    sent = [distributed._TensorPlaceholder, *omegaconf]
    torch.serialization.add_safe_globals([*IN_FILES, *sent])
