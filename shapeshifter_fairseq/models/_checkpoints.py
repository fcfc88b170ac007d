"""Let fairseq's checkpoints load while torch loads weights only.

Since torch 2.6 `torch.load` unpickles nothing but tensors, plain containers and the types on an
allow-list. A fairseq checkpoint holds a few more, `checkpoints.TYPES`. And with several processes
one of them reads the file and sends the others what it holds, through `torch.load` again: with
OmegaConf's containers for the configuration, and placeholders for the tensors, which go by
themselves. Those types are put on the list, and the protection stays on: a checkpoint with anything
else in it is still refused.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from fairseq.distributed import utils as distributed
from omegaconf import AnyNode, DictConfig, ListConfig
from omegaconf.base import ContainerMetadata, Metadata

from ..checkpoints import TYPES

# What OmegaConf's containers are pickled as.
_OMEGACONF = [AnyNode, DictConfig, ListConfig, ContainerMetadata, Metadata]
_OMEGACONF += [Any, int, dict, list, defaultdict]


def allow_fairseq_checkpoints() -> None:
    """Register the types that fairseq's checkpoints need beyond torch's own."""
    sent = [distributed._TensorPlaceholder, *_OMEGACONF]
    torch.serialization.add_safe_globals([*TYPES, *sent])
