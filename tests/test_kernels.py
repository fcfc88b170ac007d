"""A training step launches about as many kernels as the dense model's, and waits no more often."""

from __future__ import annotations

from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


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
def test_a_step_has_the_calls_of_a_dense_one(name, options, held, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[1] / "benchmarks"))
    from kernels import BAR, HELD_BAR, calls_of_a_step
    from models import build

    *models, task = build(name, "cpu", *options.split())
    for autocast, bar in ((True, BAR), (False, held or HELD_BAR)):
        ours, dense = (calls_of_a_step(model, task, autocast=autocast) for model in models)
        assert ours.kernels <= bar * dense.kernels
        assert ours.waits <= dense.waits
