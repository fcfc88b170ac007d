"""W of every family: its entries, rows, products with vectors, gradients, spread and gain."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from ..errors import ShapeshifterError
from ..factorizations import FAMILIES, Factorization, factorization
from .batches import BatchConformance
from .case import Calls, Made, prefixed
from .kept import KeptWeightConformance

PRECISIONS = pytest.mark.parametrize(
    "dtype, tolerance",
    [
        (torch.float64, 1e-12),
        (torch.float32, 1e-5),
        (torch.float16, 5e-3),
        (torch.bfloat16, 4e-2),
    ],
    ids=["fp64", "fp32", "fp16", "bf16"],
)


class FactorizationConformance(KeptWeightConformance, BatchConformance):
    """W, its rows and products, in all precisions; and W at inference, and built with others."""

    # --- W -------------------------------------------------------------------------------------

    def test_weight_equals_the_formula(self, nmr):
        factors = self.make(nmr)
        torch.testing.assert_close(
            factors.weight(), self.reference(factors), rtol=1e-12, atol=1e-14
        )

    @given(st.data())
    # Several classes share this test: that is what this class is for.
    @settings(
        max_examples=50, deadline=None, suppress_health_check=[HealthCheck.differing_executors]
    )
    def test_weight_equals_the_formula_at_any_size(self, data):
        n, m = (data.draw(st.integers(self.smallest, 60)) for _ in range(2))
        rank = data.draw(st.integers(1, min(8, self.family.max_rank(n, m, **self.options))))
        factors = self.make((n, m, rank))
        assert factors.weight().shape == (n, m)
        torch.testing.assert_close(
            factors.weight(), self.reference(factors), rtol=1e-10, atol=1e-12
        )

    def test_rows_equal_rows_of_weight(self, nmr):
        factors, n = self.make(nmr), nmr[0]
        for shape in ((2, 3), (3, n)):  # row by row, in a large table, and from W
            index = torch.randint(n, shape)
            torch.testing.assert_close(factors.rows(index), factors.weight()[index])
        assert factors.rows(torch.empty(0, dtype=torch.long)).shape == (0, nmr[1])

    @pytest.mark.parametrize("training", [True, False])
    def test_rows_outside_of_the_table_are_refused(self, nmr, training):
        factors = self.make(nmr).train(training)
        for index in (-1, nmr[0], 2 * nmr[0]):
            with pytest.raises(IndexError), torch.set_grad_enabled(training):
                factors.rows(torch.tensor([0, index]))

    def test_rows_do_not_build_the_table(self, nmr, monkeypatch):
        factors = self.make(nmr)
        if nmr[0] <= 2:
            pytest.skip("W has no more rows than are looked up")
        monkeypatch.setattr(factors, "materialize", None)
        assert factors.rows(torch.zeros(1, dtype=torch.long)).shape == (1, nmr[1])

    def test_rows_cost_the_same_in_a_large_table(self):
        """In multiplications, and in numbers that are made on the way. The bar leaves room for a
        copy of small factors, whose size grows with the root of n."""
        costs = []
        for n in (1_000, 64_000):
            factors = self.family(n, 64, 2, **self.options)
            index = torch.linspace(0, n - 1, 500).long()
            with FlopCounterMode(display=False) as counter, Made() as made, torch.no_grad():
                factors._rows(index)
            costs.append((counter.get_total_flops(), sum(count for _, count in made)))
        for small, large in zip(*costs):
            assert large <= 2 * small

    def test_standard_deviation_is_the_one_asked_for(self, nmr):
        if nmr[0] * nmr[1] < 1000:
            pytest.skip("too few entries for a standard deviation within 5%")
        factors = self.make(nmr, std=0.03)
        assert factors.weight().std().item() == pytest.approx(0.03, rel=0.05)
        assert abs(factors.weight().mean().item()) < 0.05 * 0.03 + 3 * 0.03 / 1000**0.5

    def test_gain_does_not_change_the_spread(self):
        for gain in (0.5, 4.0):
            factors = self.family(256, 128, 4, **self.options)
            factors.initialize_(0.03, gain)
            assert factors.weight().std().item() == pytest.approx(0.03, rel=0.05)

    def test_gain_is_the_first_step_of_adam_in_learning_rates(self):
        for gain in (0.5, 3.0):
            torch.manual_seed(1)
            factors = self.family(512, 256, 16, **self.options)
            factors.initialize_(0.05, gain)
            before = factors.weight().detach()
            adam = torch.optim.Adam(factors.parameters(), lr=1e-5)
            # Gradients of random sign, so that the steps do not depend on the factors.
            for factor in factors.parameters():
                factor.grad = torch.randn_like(factor)
            adam.step()
            moved = (factors.weight() - before).square().mean().sqrt().item()
            assert moved == pytest.approx(gain * 1e-5, rel=0.1)

    # --- counts and limits -----------------------------------------------------------------------

    def test_the_factors_are_the_parameters_in_their_order(self, nmr):
        factors = self.make(nmr)
        named = [id(factor) for factor, _ in factors._factors()]
        assert named == [id(parameter) for parameter in factors.parameters()]

    def test_parameter_count_is_what_is_stored(self, nmr):
        stored = sum(factor.numel() for factor in self.make(nmr).parameters())
        assert self.family.parameter_count(*nmr, **self.options) == stored

    def test_impossible_ranks_are_refused(self):
        largest = self.family.max_rank(30, 20, **self.options)
        self.family(30, 20, largest, **self.options)
        for rank in (0, -1, largest + 1):
            with pytest.raises(ShapeshifterError, match=f"1 to {largest}"):
                self.family(30, 20, rank, **self.options)

    def test_is_registered(self):
        assert self.family in FAMILIES.values()

    # --- products with vectors -------------------------------------------------------------------

    @pytest.mark.parametrize("vectors", [0, 1, 6])
    @pytest.mark.parametrize("cheaper", ["W", "factors"])
    def test_products_with_vectors_both_ways(self, nmr, vectors, cheaper, monkeypatch):
        if cheaper == "factors":
            if self.family._by_factors is Factorization._by_factors:
                pytest.skip("the family always multiplies W out")
            monkeypatch.setattr(self.family, "_linear_with_w", None)  # W is not built
        n, m, _ = nmr
        factors = self.make(nmr, zero_row=n // 2)
        monkeypatch.setattr(
            self.family,
            "_by_factors_cost",
            lambda self, t: -math.inf if cheaper == "factors" else math.inf,
        )
        x, bias = torch.randn(1, m, vectors).double(), torch.randn(n).double()
        x = x.transpose(1, 2)  # as after a convolution: each vector's numbers lie far apart
        for b in (bias, None):
            expected = F.linear(x, factors.materialize(), b)
            torch.testing.assert_close(factors.linear(x, b), expected, rtol=1e-10, atol=1e-12)

    def test_the_multiplications_are_counted_right(self, nmr):
        factors = self.make(nmr)
        if factors._by_factors_cost(5) == math.inf:
            pytest.skip("the family always multiplies W out")
        if nmr[0] * nmr[1] <= 16:
            pytest.skip("torch makes no matrix product of a sum over one number")
        with FlopCounterMode(display=False) as counter, Made() as made:
            factors._by_factors(torch.randn(5, nmr[1]).double())
        assert factors._by_factors_cost(5) * 2 == counter.get_total_flops()
        *before, last = (count for name, count in made if name in ("aten::mm", "aten::bmm"))
        assert sum(before) <= factors._by_factors_inner(5) <= sum(before) + last

    # --- fast paths against plain ones, in all precisions ----------------------------------------

    @pytest.fixture
    def way(self) -> str:
        """How the family multiplies; override this with parameters if it has several ways."""
        return "the only one"

    @PRECISIONS
    @pytest.mark.parametrize("cheaper", ["W", "factors"])
    def test_products_and_gradients_are_the_plain_ones(
        self, nmr, way, cheaper, dtype, tolerance, monkeypatch
    ):
        if cheaper == "factors" and self.family._by_factors is Factorization._by_factors:
            pytest.skip("the family always multiplies W out")
        monkeypatch.setattr(
            self.family,
            "_by_factors_cost",
            lambda self, t: -math.inf if cheaper == "factors" else math.inf,
        )
        n, m, _ = nmr
        factors = self.make(nmr, zero_row=n // 2)
        x, bias, gradient = (torch.randn(size).double() for size in ((6, m), (n,), (6, n)))

        def plain(factors, x, bias):
            return F.linear(x, factors.materialize(), bias)

        def fast(factors, x, bias):
            return factors.linear(x, bias)

        expected = _values_and_gradients(plain, factors, [x, bias], gradient, torch.float64)
        found = _values_and_gradients(fast, factors, [x, bias], gradient, dtype)
        _assert_near(found, expected, dtype, tolerance)

    @PRECISIONS
    def test_rows_and_gradients_are_the_plain_ones(self, nmr, way, dtype, tolerance, monkeypatch):
        n, m, _ = nmr
        factors = self.make(nmr, zero_row=n // 2)
        monkeypatch.setattr(factorization, "ROWS_PER_TOKEN", 0)  # row by row, in any table
        index, gradient = torch.randint(n, (9,)), torch.randn(9, m).double()
        expected, found = (
            _values_and_gradients(look_up, factors, [], gradient, precision)
            for look_up, precision in (
                (lambda factors: F.embedding(index, factors.materialize()), torch.float64),
                (lambda factors: factors.rows(index), dtype),
            )
        )
        _assert_near(found, expected, dtype, tolerance)

    # --- gradients -------------------------------------------------------------------------------

    def test_gradients_of_weight_and_rows(self):
        factors = self.make(self.tiny, zero_row=2)
        names = [name for name, _ in factors.named_parameters()]
        inputs = tuple(p.detach().requires_grad_() for p in factors.parameters())
        index = torch.tensor([[0, 3, 3], [6, 2, 1]])

        def call(method, *args):
            def function(*values):
                state = dict(zip(names, values))
                return torch.func.functional_call(Calls(factors, method), prefixed(state), args)

            return function

        assert torch.autograd.gradcheck(call("weight"), inputs)
        if self.family._by_factors is not Factorization._by_factors:
            x = torch.randn(3, self.tiny[1]).double()
            assert torch.autograd.gradcheck(call("_by_factors", x), inputs)
        assert torch.autograd.gradcheck(call("rows", index), inputs)

    def test_zero_row_is_zero_and_gets_no_gradient(self, nmr):
        row = nmr[0] // 2
        factors = self.make(nmr, zero_row=row)
        assert factors.weight()[row].abs().max() == 0
        assert factors.rows(torch.tensor([row])).abs().max() == 0
        for used in (factors.weight()[row], factors.rows(torch.tensor([row]))):
            used.sum().backward()
        assert all(factor.grad.abs().max() == 0 for factor in factors.parameters())

    def test_zero_row_stays_zero_while_training(self, nmr):
        row = nmr[0] // 2
        factors = self.make(nmr, zero_row=row)
        optimizer = torch.optim.Adam(factors.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            (factors.weight() - 1).square().sum().backward()
            optimizer.step()
        assert factors.weight()[row].abs().max() == 0

    @pytest.mark.parametrize(
        "dtype, tolerance", [(torch.float32, 1e-6), (torch.float16, 2e-3), (torch.bfloat16, 2e-2)]
    )
    def test_lower_precision_stays_low_and_close(self, nmr, dtype, tolerance):
        factors = self.make(nmr)
        index, x = torch.randint(nmr[0], (9,)), torch.randn(4, nmr[1])
        exact = [factors.weight(), factors.rows(index), factors.linear(x.double())]
        factors = factors.to(dtype)
        found = [factors.weight(), factors.rows(index), factors.linear(x.to(dtype))]
        for low, high in zip(found, exact):
            assert low.dtype == dtype
            assert (low.double() - high).norm() / high.norm() < tolerance


def _values_and_gradients(
    call, factors: Factorization, inputs: list[Tensor], gradient: Tensor, dtype: torch.dtype
) -> list[Tensor]:
    """The result of `call(factors, *inputs)` in a precision, and the gradients of both."""
    factors = copy.deepcopy(factors).to(dtype)
    inputs = [tensor.detach().to(dtype).requires_grad_() for tensor in inputs]
    value = call(factors, *inputs)
    value.backward(gradient.to(dtype))
    return [value.detach(), *(leaf.grad for leaf in [*inputs, *factors.parameters()])]


def _assert_near(
    found: list[Tensor], expected: list[Tensor], dtype: torch.dtype, tolerance: float
) -> None:
    for low, high in zip(found, expected):
        assert low.dtype == dtype
        assert (low.double() - high).norm() <= tolerance * high.norm() + 1e-12
