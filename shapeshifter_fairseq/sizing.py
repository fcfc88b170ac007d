"""Find the rank at which a family's factors of several matrices hold a wanted count of numbers."""

from __future__ import annotations

from collections.abc import Mapping

from .errors import ShapeshifterError
from .factorizations import family_named
from .plan import Family

Shapes = Mapping[tuple[int, int], int]  # how many matrices there are of each shape (n, m)


def numbers(shapes: Shapes, family: Family, rank: int) -> int:
    """How many numbers the factors of these matrices hold at one rank."""
    kind = family_named(family.name)
    counts = {shape: kind.parameter_count(*shape, rank, **family.options) for shape in shapes}
    return sum(counts[shape] * times for shape, times in shapes.items())


def largest_rank(shapes: Shapes, family: Family, most: int) -> int:
    """The rank whose factors come nearest to `most` numbers in all, without exceeding it.

    Raises:
        ShapeshifterError: if every rank needs more.
    """
    kind = family_named(family.name)
    end = min(kind.max_rank(*shape, **family.options) for shape in shapes)
    sizes = {rank: numbers(shapes, family, rank) for rank in range(1, end + 1)}
    small = [rank for rank in sizes if sizes[rank] <= most]
    if small:
        return max(small, key=sizes.__getitem__)
    fewest = min(sizes.values())
    raise ShapeshifterError(
        f"{family.name} cannot hold these matrices in {max(most, 0):,} numbers; it needs "
        f"{fewest:,} or more"
    )
