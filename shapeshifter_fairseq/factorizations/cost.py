"""What is cheaper: W or its factors, a table whole or row by row, and how much is built at once.

All figures are counts of numbers or of multiplications; docs/performance.md says how the
processor's were measured, and what is not measured of a GPU's.
"""

from __future__ import annotations

import torch

# Most numbers of a large W, or of a lookup's slices, that training multiplies out at once: on a
# processor as many as its cache holds, on a GPU so many that the blocks are few.
BLOCK, GPU_BLOCK = 2**21, 2**24
# Most numbers of the W that are built together: few on a processor, where a launch costs nothing,
# and on a GPU so many that the parts are few. Their gradients are in memory at the same time.
PART, GPU_PART = 2**18, 2**23
# Most numbers of a table that a forward pass builds whole to look rows up in it.
TABLE, GPU_TABLE = 2**21, 2**25
# Row by row, a token costs as much as this many rows of a table that is built whole.
ROWS_A_TOKEN = 2
# As many multiplications as one of torch's calls takes time for, on a processor.
CALL = 2**17
# How many times longer several small products take for a multiplication than a large one does. A
# processor's figure is the family's; a GPU multiplies so fast that it waits for memory instead.
GPU_SLOWNESS = 8.0
# Vectors of a large batch, beside which building W costs nothing.
MANY = 2**20


def is_gpu(device: torch.device) -> bool:
    """Whether launching a kernel costs more than a small one does."""
    return device.type != "cpu"


def block_of(device: torch.device) -> int:
    """`BLOCK` of a device."""
    return GPU_BLOCK if is_gpu(device) else BLOCK


def part_of(device: torch.device) -> int:
    """`PART` of a device."""
    return GPU_PART if is_gpu(device) else PART


def table_of(device: torch.device) -> int:
    """`TABLE` of a device."""
    return GPU_TABLE if is_gpu(device) else TABLE
