"""Let fairseq's checkpoints load while torch loads weights only.

Since torch 2.6 `torch.load` unpickles nothing but tensors, plain containers and the types on an
allow-list. A fairseq checkpoint holds one more type: its configuration is kept as an
`argparse.Namespace`, a bag of values that runs no code. That type is put on the list, and the
protection stays on: a checkpoint with anything else in it is still refused.
"""

from __future__ import annotations

from argparse import Namespace

import torch


def allow_fairseq_checkpoints() -> None:
    """Register the one type that fairseq's checkpoints need beyond torch's own."""
    torch.serialization.add_safe_globals([Namespace])
