"""A training step launches about as many kernels as the dense model's, and waits no more often."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[1] / "benchmarks"))


@pytest.mark.parametrize(
    "name, options, held",
    [
        ("iwslt", "", None),
        ("wmt14", "", None),
        # Attention multiplies by its factors, and so without torch's fused attention.
        (
            "iwslt",
            "--factorization monarch --layer-rank 16 --factor-plan *embed*=kronecker:256",
            1.25,
        ),
    ],
)
def test_a_step_has_the_calls_of_a_dense_one(name, options, held):
    from kernels import BAR, HELD_BAR, calls_of_a_step
    from models import build

    *models, task = build(name, "cpu", *options.split())
    for autocast, bar in ((True, BAR), (False, held or HELD_BAR)):
        ours, dense = (calls_of_a_step(model, task, autocast=autocast) for model in models)
        assert ours.kernels <= bar * dense.kernels
        assert ours.waits <= dense.waits


def test_how_much_python_a_pass_runs():
    """A GPU that waits for launches waits for Python too; at 014e2a3 the ratio was 6."""
    from kernels import choices_of_a_gpu
    from models import batch, build

    *models, task = build("iwslt")
    inputs = batch(task, 25)["net_input"]
    with choices_of_a_gpu():
        ours, dense = (python_calls(partial(model, **inputs)) for model in models)
    assert ours < 3.4 * dense


def python_calls(action: Callable[[], object]) -> int:
    """How many functions an action calls, of Python's and of libraries."""
    found = 0

    def count(frame, event: str, argument) -> None:
        nonlocal found
        found += event in ("call", "c_call")

    action()  # what is done once does not count
    sys.setprofile(count)
    action()
    sys.setprofile(None)
    return found
