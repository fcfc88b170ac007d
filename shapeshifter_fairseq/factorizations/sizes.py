"""Whole numbers that sizes are split into, and their limits."""

from __future__ import annotations

from functools import cache
from math import ceil

from ..errors import ShapeshifterError


def root(size: int, order: int) -> int:
    """The smallest q with q**order >= size."""
    q = max(1, round(size ** (1 / order)) - 1)  # the root in floating point may be off
    while q**order < size:
        q += 1
    return q


def most_digits(size: int) -> int:
    """How many binary digits number `size` rows or columns, but at least 2: the highest order."""
    return max(2, (size - 1).bit_length())


@cache
def balanced_sizes(size: int, parts: int) -> tuple[int, ...]:
    """Whole numbers near each other whose product is `size`, or a little more if it has to be.

    >>> balanced_sizes(512, 3), balanced_sizes(1009, 3)
    ((8, 8, 8), (11, 10, 10))
    """
    if parts == 1:
        return (size,)
    exact = size ** (1 / parts)
    divisors = [d for d in range(1, size + 1) if size % d == 0 and exact / 1.5 <= d <= exact * 1.5]
    first = min(divisors, key=lambda d: abs(d - exact), default=ceil(exact))
    return (first, *balanced_sizes(ceil(size / first), parts - 1))


def require_between(low: int, high: int, n: int, m: int, **option: int) -> None:
    """Raise a `ShapeshifterError` unless the option of an n by m matrix lies in low..high."""
    for name, value in option.items():
        if not low <= value <= high:
            raise ShapeshifterError(
                f"{name}={value} does not fit a {n} x {m} matrix: choose {low} to {high}"
            )
