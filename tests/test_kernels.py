"""A training step launches no more kernels than the dense model's, and waits no more often."""

from __future__ import annotations

from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "name, options",
    [
        ("iwslt", ""),
        ("wmt14", ""),
        ("iwslt", "--factorization monarch --layer-rank 16 --factor-plan *embed*=kronecker:256"),
    ],
)
def test_a_step_has_the_calls_of_a_dense_one(name, options, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[1] / "benchmarks"))
    from kernels import BAR, calls_of_a_step
    from models import build

    ours, dense, task = build(name, "cpu", *options.split())
    ours, dense = (calls_of_a_step(model, task) for model in (ours, dense))
    assert ours.kernels <= BAR * dense.kernels
    assert ours.waits <= dense.waits
