"""Runs the conformance tests that take `nmr` on each of their family's shapes."""

import pytest


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "nmr" in metafunc.fixturenames:
        shapes = metafunc.cls.shapes  # n, m, rank
        metafunc.parametrize("nmr", shapes, ids=["x".join(map(str, shape)) for shape in shapes])
