"""The Kronecker family against `torch.kron`, and the shape rule that makes it full rank."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from shapeshifter_fairseq import Plan, factorize
from shapeshifter_fairseq.factorizations import Kronecker, cost, kronecker, kronecker_autograd, svd
from shapeshifter_fairseq.factorizations.kronecker import balanced_shape
from shapeshifter_fairseq.testing import ProjectionConformance, discarded


class TestKronecker(ProjectionConformance):
    family = Kronecker
    shapes = [
        (512, 512, 4),
        (256, 128, 1),  # rank 1: one Kronecker product
        (128, 256, 16),
        (1009, 64, 8),  # a prime number of rows is padded
        (64, 1009, 8),
        (7, 5, 3),
        (1, 1, 1),
    ]

    @pytest.fixture(params=["W is kept", "W is built again", "blocks of W"])
    def way(self, request, monkeypatch):
        if request.param != "W is kept":
            monkeypatch.setattr(kronecker, "TOKENS_PER_TERM", 0)
            monkeypatch.setattr(kronecker, "WORTH_BUILDING_AGAIN", 0)
        if request.param == "blocks of W":
            monkeypatch.setattr(cost, "BLOCK", 1)
        return request.param

    def reference(self, factors):
        terms = [
            torch.kron(factors.A[:, :, k], factors.B[k]) for k in range(factors.rank)
        ]  # shapes: (n1*n2, m1*m2)
        return factors.scale * sum(terms)[: factors.n, : factors.m]

    def least_error(self, factors, weight):
        return (discarded(rearranged(weight, factors.shape), factors.rank),) * 2


def rearranged(weight, shape):
    """Each n2 x m2 block of W as a row."""
    n1, n2, m1, m2 = shape
    blocks = [row.split(m2, dim=1) for row in weight.split(n2)]
    return torch.stack([blocks[i][j].flatten() for i in range(n1) for j in range(m1)])


@pytest.mark.parametrize("n, m", [(101, 64), (97, 61)])
def test_rows_that_are_cut_off_are_filled_in(n, m):
    """Zeros there are not the best: of a matrix of the structure, cut, they would spoil a term."""
    torch.manual_seed(0)
    drawn, factors = Kronecker(n, m, 3).double(), Kronecker(n, m, 3).double()
    drawn.initialize_(0.1, gain=1.0)
    weight, (n1, n2, m1, m2) = drawn.weight().detach(), factors.shape
    padded = torch.nn.functional.pad(weight, (0, m1 * m2 - m, 0, n1 * n2 - n))
    with_zeros = discarded(rearranged(padded, factors.shape), 3) / weight.norm().item()
    factors.project_(weight, gain=2.0)
    assert factors.relative_error(weight) < 0.05 * with_zeros


def test_a_large_matrix_is_projected_to_a_small_rank(monkeypatch):
    """By the randomised decomposition, the same every time; its error is near the least. The random
    numbers of the user's devices go on as they were."""
    monkeypatch.setattr(svd, "LARGE", 100)
    monkeypatch.setattr(torch.cuda, "manual_seed_all", None)  # `torch.manual_seed` would call it
    spectrum = torch.linspace(1, 0.2, 256).diag()
    weight = torch.randn(1024, 256) @ spectrum @ torch.linalg.qr(torch.randn(256, 256))[0]
    least = discarded(rearranged(weight, balanced_shape(1024, 256)), 8) / weight.norm().item()
    errors, state = [], torch.get_rng_state()
    for _ in range(2):
        factors = Kronecker(1024, 256, 8)
        factors.project_(weight, gain=2.0)
        errors.append(factors.relative_error(weight))
    assert torch.equal(torch.get_rng_state(), state)
    assert errors[0] == errors[1] == pytest.approx(least, rel=5e-3)


@pytest.mark.parametrize(
    "n, m, expected, numbers_a_term",
    [
        (512, 512, (16, 32, 32, 16), 1024),
        (1024, 512, (32, 32, 16, 32), 1536),
        (2048, 512, (32, 64, 32, 16), 2048),
        (8848, 512, (79, 112, 32, 16), 4320),
    ],
)
def test_shapes_of_the_paper(n, m, expected, numbers_a_term):
    assert balanced_shape(n, m) == expected
    assert Kronecker.parameter_count(n, m, 1) == numbers_a_term


@given(st.integers(2, 60000), st.integers(2, 2048))
def test_both_sides_share_rows_and_columns(n, m):
    shape = balanced_shape(n, m)
    for size, first, second in ((n, shape.n1, shape.n2), (m, shape.m1, shape.m2)):
        assert first * second >= size
        if size > 3:  # neither side is degenerate: that would be the ordinary low-rank model
            assert max(first, second) <= 2 * min(first, second)
    products = sorted((shape.n1 * shape.m1, shape.n2 * shape.m2))
    assert sum(products) <= 2.6 * math.sqrt(n * m) + 8


@given(st.integers(100, 60000))
def test_padding_is_few_rows(n):
    shape = balanced_shape(n, 512)
    assert shape.n1 * shape.n2 - n < max(shape.n1, shape.n2)


@pytest.mark.parametrize("size", [64, 128, 512])
def test_rank_of_w_is_not_limited_to_r(size):
    torch.manual_seed(0)
    factors = Kronecker(size, size, 4).double()
    factors.initialize_(0.05, gain=1.0)
    assert torch.linalg.matrix_rank(factors.weight().detach()) == size


def test_a_large_w_is_never_whole(monkeypatch):
    """A tied table: neither in the forward nor in the backward pass, nor for lookups."""
    factors = Kronecker(1000, 256, 32)
    factors.initialize_(0.05, gain=1.0)
    monkeypatch.setattr(cost, "BLOCK", 32 * 1024)
    monkeypatch.setattr(kronecker, "WORTH_BUILDING_AGAIN", 32 * 1024)
    largest = []
    multiply = kronecker_autograd.multiply

    def watched(*sides):
        W = multiply(*sides)
        largest.append(W.numel())
        return W

    monkeypatch.setattr(kronecker_autograd, "multiply", watched)
    x = torch.randn(200, 256, requires_grad=True)
    (factors.linear(x).sum() + factors.rows(torch.arange(1000)).sum()).backward()
    assert len(largest) > 10 and max(largest) <= 16 * 1024


def test_few_terms_go_factor_by_factor(monkeypatch):
    for module in (kronecker, kronecker_autograd):
        monkeypatch.setattr(module, "multiply", None)
    factors = Kronecker(1024, 1024, 4)
    factors.initialize_(0.05, gain=1.0)
    factors.linear(torch.randn(8, 1024)).sum().backward()
    assert factors.A.grad.abs().max() > 0


def test_gradients_by_torch_func_are_those_of_backward():
    """Of a lookup, and of a product for which W is built a second time."""
    model = nn.Sequential(nn.Embedding(40, 1500), nn.Linear(1500, 1500))
    factorize(model, Plan.parse("*=2"))
    index = torch.arange(0, 40, 2)

    def loss(parameters):
        return torch.func.functional_call(model, parameters, (index,)).square().sum()

    parameters = dict(model.named_parameters())
    found = torch.func.grad(loss)(parameters)
    loss(parameters).backward()
    for name, parameter in parameters.items():
        torch.testing.assert_close(found[name], parameter.grad)
