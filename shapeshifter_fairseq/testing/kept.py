"""W at inference: it is kept, but never out of date; and how factors are saved and loaded."""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from .case import Calls, FamilyCase, prefixed


class KeptWeightConformance(FamilyCase):
    def test_weight_is_kept_in_eval_and_dropped_by_training(self, nmr):
        factors = self.make(nmr).eval()
        with torch.no_grad():
            kept = factors.weight()
            assert factors.weight() is kept
            torch.testing.assert_close(factors.rows(torch.tensor([0])), kept[:1])
        factors.train()
        with torch.no_grad():
            assert factors.weight() is not kept
        assert factors._kept._weight is None

    def test_kept_weight_follows_every_change_of_the_factors(self, nmr):
        factors, other = self.make(nmr).eval(), self.make(nmr)
        other.initialize_(0.2, gain=1.0)

        def step_in_place():
            with torch.no_grad():
                for factor in factors.parameters():
                    factor.data.mul_(0.5)  # as fairseq's Adam does: the version stays the same

        def step():
            for factor in factors.parameters():
                factor.data = factor.data.clone()  # a fresh tensor, its version starts again
            optimizer = torch.optim.SGD(factors.parameters(), lr=0.1)
            factors.weight().sum().backward()  # in eval mode, with gradients: not the kept copy
            optimizer.step()

        def fused_step():  # the versions stay the same
            optimizer = torch.optim.SGD(factors.parameters(), lr=0.1, fused=True)
            factors.materialize().sum().backward()
            factors.rows(torch.tensor([0]))  # what a model does before a step
            optimizer.step()

        def other_memory():
            flat = parameters_to_vector(factors.parameters())
            vector_to_parameters(0.5 * flat, factors.parameters())

        changes = [
            step,
            other_memory,
            fused_step,
            lambda: factors.load_state_dict(other.state_dict()),
            lambda: factors.load_state_dict(
                {k: v.clone() for k, v in other.state_dict().items()}, assign=True
            ),
            lambda: factors.half(),
            lambda: factors.float(),
            lambda: factors.to(torch.float64),
            lambda: (factors.train(), step_in_place(), factors.eval()),
        ]
        for change in changes:
            with torch.no_grad():
                factors.weight()
            change()
            with torch.no_grad():
                kept = factors.weight()
            torch.testing.assert_close(kept, factors.materialize().detach(), rtol=0, atol=0)

    def test_kept_weight_is_of_the_tensors_in_place(self, nmr):
        factors = self.make(nmr).eval()
        names = [name for name, _ in factors.named_parameters()]
        call = torch.func.functional_call
        with torch.no_grad():
            for _ in range(3):  # fresh tensors, all of version 0
                drawn = [torch.randn_like(factor) for factor in factors.parameters()]
                state = prefixed(dict(zip(names, drawn)))
                expected = call(Calls(factors, "materialize"), state, ())
                assert torch.equal(call(Calls(factors, "weight"), state, ()), expected)
                assert not torch.equal(factors.weight(), expected)
            for _ in range(3):
                for name in names:
                    tensor = torch.randn_like(getattr(factors, name))
                    setattr(factors, name, torch.nn.Parameter(tensor))
                assert torch.equal(factors.weight(), factors.materialize())

    def test_factors_that_were_made_in_inference_mode(self, nmr):
        with torch.inference_mode():
            factors = self.make(nmr).eval()
            for _ in range(2):
                assert torch.equal(factors.weight(), factors.materialize())
                for factor in factors.parameters():
                    factor.mul_(0.5)

    def test_a_copy_has_a_kept_weight_of_its_own(self, nmr):
        factors = self.make(nmr).eval()
        with torch.no_grad():
            before = factors.weight()
            other = copy.deepcopy(factors)
            assert torch.equal(other.weight(), before)
            for factor in other.parameters():
                factor.mul_(0.5)
            torch.testing.assert_close(other.weight(), other.materialize())
            assert factors.weight() is before

    def test_kept_weight_is_never_saved(self, nmr):
        factors = self.make(nmr).eval()
        names = set(factors.state_dict())
        with torch.no_grad():
            factors.weight()
        assert set(factors.state_dict()) == names
        assert copy.deepcopy(factors)._kept._weight is None
        assert pickle.loads(pickle.dumps(factors))._kept._weight is None

    def test_state_dict_round_trip_restores_w_under_another_gain(self, nmr):
        factors, other = self.make(nmr), self.make(nmr)
        other.initialize_(1.0, gain=7.0)
        file = io.BytesIO()
        torch.save(factors.state_dict(), file)
        file.seek(0)
        other.load_state_dict(torch.load(file, weights_only=True))
        assert torch.equal(other.weight(), factors.weight())

    def test_another_vocabulary_size_does_not_load(self):
        # 38 and 39 rows are padded alike in some families: the factors have equal shapes
        with pytest.raises(RuntimeError, match="size"):
            self.family(39, 12, 2, **self.options).load_state_dict(
                self.family(38, 12, 2, **self.options).state_dict()
            )
