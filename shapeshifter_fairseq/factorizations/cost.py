"""Cost estimates: W or its factors, a whole table or single rows, and how much to build at once.

All figures count numbers or multiplications. docs/performance.md says how the figures for CPUs
were measured, and which of those for GPUs were not.
"""

from __future__ import annotations

import torch

# Training multiplies out at most this many numbers of a large W, or of a lookup's slices, at once.
# On a CPU they fit its cache; on a GPU a few blocks are enough.
BLOCK, GPU_BLOCK = 2**21, 2**24
# The W that are built together are split into parts of about this many numbers, or a single W. The
# gradients of a part are in memory together, so on a CPU parts are small. On a GPU they are large,
# because every part costs launches.
PART, GPU_PART = 2**18, 2**23
# `build_together` leaves out a W of more numbers than this.
TABLE, GPU_TABLE = 2**21, 2**25
# Looking up a token by itself costs as much as building this many rows of a whole table.
ROWS_PER_TOKEN = 2
# On a CPU, one call of torch takes as long as this many multiplications.
CALL = 2**17
# On a CPU, a number that passes from one factor to the next (it is written, often copied, and read)
# takes as long as this many multiplications in a large product.
INNER = 180
# On a GPU, a multiplication takes this many times longer in several small products than in a large
# one: it multiplies so fast that it waits for memory.
GPU_SLOWNESS = 8.0
# Vectors of a batch so large that the cost of building W does not matter.
MANY = 2**20


def is_gpu(device: torch.device) -> bool:
    """Whether launching a kernel costs more than running a small one: anywhere but on a CPU."""
    return device.type != "cpu"


def block_size(device: torch.device) -> int:
    """`BLOCK` of a device."""
    return GPU_BLOCK if is_gpu(device) else BLOCK


def part_size(device: torch.device) -> int:
    """`PART` of a device."""
    return GPU_PART if is_gpu(device) else PART


def table_size(device: torch.device) -> int:
    """`TABLE` of a device."""
    return GPU_TABLE if is_gpu(device) else TABLE
