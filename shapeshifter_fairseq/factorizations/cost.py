"""What is cheaper: W or its factors, a table whole or row by row, and how much is built at once.

All figures are counts of numbers or of multiplications, measured as docs/performance.md says.
"""

from __future__ import annotations

import torch

# Most numbers of W, or of a lookup's slices, that training multiplies out at once: on a processor
# as many as its cache holds, elsewhere so many that the parts are few.
BLOCK, GPU_BLOCK = 2**21, 2**23
# Most numbers of a table that a forward pass builds whole to look rows up in it.
TABLE, GPU_TABLE = 2**21, 2**25
# Row by row, a token costs as much as this many rows of a table that is built whole.
ROWS_A_TOKEN = 2


def block_of(device: torch.device) -> int:
    """`BLOCK` of a device."""
    return BLOCK if device.type == "cpu" else GPU_BLOCK


def table_of(device: torch.device) -> int:
    """`TABLE` of a device."""
    return TABLE if device.type == "cpu" else GPU_TABLE
