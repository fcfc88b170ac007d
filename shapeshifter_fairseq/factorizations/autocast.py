"""What torch's autocast does to products on a device."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch


def autocast_dtype(device: str) -> torch.dtype | None:
    """The precision that autocast gives to products, or None if it is off or the device has none
    (meta)."""
    autocasts = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    return torch.get_autocast_dtype(device) if autocasts else None


def without_autocast(device: str) -> AbstractContextManager:
    """Inside, products keep the precision of the factors."""
    if torch.amp.is_autocast_available(device):
        return torch.autocast(device, enabled=False)
    return nullcontext()
