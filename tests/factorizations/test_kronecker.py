"""The Kronecker family against `torch.kron`, and the shape rule that makes it full rank."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shapeshifter_fairseq.factorizations import Kronecker, base, kronecker
from shapeshifter_fairseq.factorizations.kronecker import balanced_shape

from .conformance import FactorizationConformance


class TestKronecker(FactorizationConformance):
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
            monkeypatch.setattr(kronecker, "TOKENS_A_TERM", 0)
            monkeypatch.setattr(kronecker, "WORTH_BUILDING_AGAIN", 0)
        if request.param == "blocks of W":
            monkeypatch.setattr(base, "BLOCK", 1)
        return request.param

    def reference(self, factors):
        terms = [
            torch.kron(factors.A[:, :, k], factors.B[k]) for k in range(factors.rank)
        ]  # shapes: (n1*n2, m1*m2)
        return factors.scale * sum(terms)[: factors.n, : factors.m]


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
    monkeypatch.setattr(base, "BLOCK", 32 * 1024)
    largest = []
    multiply = kronecker._multiply

    def watched(*sides):
        W = multiply(*sides)
        largest.append(W.numel())
        return W

    monkeypatch.setattr(kronecker, "_multiply", watched)
    x = torch.randn(200, 256, requires_grad=True)
    (factors.linear(x).sum() + factors.rows(torch.arange(1000)).sum()).backward()
    assert len(largest) > 10 and max(largest) <= 16 * 1024


def test_few_terms_go_factor_by_factor(monkeypatch):
    monkeypatch.setattr(kronecker, "_multiply", None)
    factors = Kronecker(1024, 1024, 4)
    factors.initialize_(0.05, gain=1.0)
    factors.linear(torch.randn(8, 1024)).sum().backward()
    assert factors.A.grad.abs().max() > 0
