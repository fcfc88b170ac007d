"""What every family of factorizations must do, as test classes that a family's own test inherits.

For pytest, with hypothesis (the extra `test`). docs/adding-a-family.md shows how::

    class TestTucker(ProjectionConformance):   # or FactorizationConformance
        family = Tucker
        shapes = [(512, 512, 8), (1009, 64, 8), (7, 5, 3), (1, 1, 1)]   # n, m, rank

        def reference(self, factors): ...      # W by independent code
"""

import pytest

ROOMS = ("batches", "case", "conformance", "kept", "projection")
pytest.register_assert_rewrite(*(f"{__name__}.{name}" for name in ROOMS))

from .conformance import FactorizationConformance  # noqa: E402  (after the registration)
from .projection import ProjectionConformance, discarded  # noqa: E402

__all__ = ["FactorizationConformance", "ProjectionConformance", "discarded"]
