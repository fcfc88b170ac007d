"""Theorems 2 and 4 and corollary 3: the products, the layers' ranks, how many layers there are."""

import itertools
import math
from collections import Counter
from functools import reduce
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from shapeshifter_fairseq import ShapeshifterError
from shapeshifter_fairseq.theory import (
    Layer,
    any_matrix,
    in_fewer_layers,
    orthogonal,
    product,
    variant,
)

pytestmark = pytest.mark.slow

SIDES_AND_RANKS = [(1, 2), *((m, rank) for m in (2, 3, 4) for rank in range(2, m + 1))]


def kronecker_ranks(matrices: Tensor, m: int) -> Tensor:
    """The fewest Kronecker products of m by m matrices that each is a sum of.

    That is the rank of the matrix whose rows are its tiles (Van Loan and Pitsianis, 1993).
    """  # shape: (L, m*m, m*m) -> (L,)
    starts = range(0, m * m, m)
    tiles = [matrices[:, i : i + m, j : j + m].flatten(1) for i in starts for j in starts]
    return torch.linalg.matrix_rank(torch.stack(tiles, dim=1), rtol=0, atol=1e-9)


def check(layers: list[Layer], expected: Tensor, m: int, rank: int) -> None:
    """The layers multiply out to a matrix, and each is a sum of `rank` Kronecker products."""
    assert all(a.shape == b.shape == (m, m) for layer in layers for a, b in layer)
    assert max(len(layer) for layer in layers) <= rank
    matrices = [sum(torch.kron(a, b) for a, b in layer) for layer in layers]
    assert kronecker_ranks(torch.stack(matrices), m).max() <= rank
    rows, columns = expected.shape
    whole = reduce(torch.matmul, matrices)[:rows, :columns]
    assert (whole - expected).abs().max() < 1e-8


def random_orthogonal(n: int) -> Tensor:
    draw = torch.Generator().manual_seed(0)
    return torch.linalg.qr(torch.randn(n, n, dtype=torch.float64, generator=draw)).Q


def orthogonal_matrices(n: int) -> dict[str, Tensor]:
    eye = torch.eye(n, dtype=torch.float64)
    return {
        "random": random_orthogonal(n),
        "random, reflected": random_orthogonal(n) @ torch.diag(1 - 2 * eye[0]),
        "identity": eye,
        "minus identity": -eye,  # n negative entries, an odd number for an odd m
        "one sign": torch.diag(1 - 2 * eye[-1]),
        "permutation": eye[torch.randperm(n, generator=torch.Generator().manual_seed(1))],
        "reversed": eye.flip(0),
    }


# --- the theorems --------------------------------------------------------------------------------


@pytest.mark.parametrize("m, rank", SIDES_AND_RANKS)
def test_any_orthogonal_matrix(m, rank):
    n = m * m
    for u in orthogonal_matrices(n).values():
        layers, fewer = orthogonal(u, rank), in_fewer_layers(u, rank)
        check(layers, u, m, rank)
        check(fewer, u, m, rank)
        assert len(layers) <= 3 * n**2 / rank  # as theorems 2 and 4 promise
        assert len(fewer) <= n * (math.ceil(m / (rank - 1)) + 1)
        assert len(fewer) <= len(layers)


def test_the_bound_is_kept_at_a_larger_size():
    m = 6
    u = random_orthogonal(m * m)
    for rank in (2, 3, 6):
        layers = orthogonal(u, rank)
        assert len(layers) <= 3 * m**4 / rank
        assert (product(layers) - u).abs().max() < 1e-8


@given(st.integers(1, 13), st.integers(1, 13), st.integers(2, 4), st.integers(0, 13), st.data())
@settings(max_examples=15, deadline=None)
def test_any_matrix(rows, columns, rank, rank_of_w, data):
    """Of any shape, and of any rank, zero included."""
    m = math.ceil(math.sqrt(max(rows, columns)))
    rank = min(rank, max(2, m))
    draw = torch.Generator().manual_seed(data.draw(st.integers(0, 9)))
    left = torch.randn(rows, rank_of_w, dtype=torch.float64, generator=draw)
    right = torch.randn(rank_of_w, columns, dtype=torch.float64, generator=draw)
    w = left @ right
    layers = any_matrix(w, rank)
    check(layers, w, m, rank)
    n = m * m
    assert len(layers) <= 2 * (3 * n**2 / rank) + m  # two orthogonal matrices and a diagonal


# --- every index case of the proofs --------------------------------------------------------------


def acting_on(indices: tuple[int, ...], block: Tensor, n: int) -> Tensor:
    """The n by n matrix that is `block` on some indices and the identity elsewhere."""
    whole = torch.eye(n, dtype=torch.float64)
    for (a, i), (b, j) in itertools.product(enumerate(indices), repeat=2):
        whole[i, j] = block[a, b]
    return whole


@pytest.mark.parametrize(
    "m, r, cases",
    [
        (2, 2, {1: 8, 3: 4}),
        (3, 2, {1: 36, 3: 36}),
        (4, 2, {1: 96, 3: 144}),
        (2, 1, {1: 4}),
        (3, 3, {1: 36, 3: 252, 5: 216}),
    ],
)
def test_every_choice_of_indices(m, r, cases):
    """All of them in all orders, with rotations and with reflections."""
    found, blocks = Counter(), orthogonal_matrices(r)
    blocks = [blocks["random"], blocks["random, reflected"]]
    for indices in itertools.permutations(range(m * m), r):
        block = blocks[sum(indices) % 2]
        layers = variant(block, indices, m)
        check(layers, acting_on(indices, block, m * m), m, max(r, 2))
        found[len(layers)] += 1
    assert found == cases


@given(st.integers(3, 5), st.data())
@settings(max_examples=30, deadline=None)
def test_more_indices(m, data):
    r = data.draw(st.integers(2, m))
    indices = data.draw(st.lists(st.integers(0, m * m - 1), min_size=r, max_size=r, unique=True))
    block = random_orthogonal(r)
    layers = variant(block, indices, m)
    check(layers, acting_on(indices, block, m * m), m, r)
    assert len(layers) <= 5


def as_the_text_has_it(block: Tensor, indices: tuple[int, ...], m: int) -> tuple[Tensor, Tensor]:
    """Theorem 4's V for r = 3, and V^T (special case) V, by its formulas; V, the product.

    With kappa -> tau and pi -> tau as transpositions.
    """
    eye = torch.eye(m, dtype=torch.float64)
    (kappa, lam), (pi, rho), (tau, nu) = (divmod(i, m) for i in indices)

    def one(i: int) -> Tensor:
        return torch.diag(eye[i])

    def moving(i: int, j: int) -> Tensor:
        order = list(range(m))
        order[i], order[j] = j, i
        return eye[order]

    v = (
        torch.kron(moving(kappa, tau), one(lam))
        + torch.kron(moving(pi, tau), one(rho))
        + torch.kron(eye, eye - one(lam) - one(rho))
    )
    special = torch.kron(one(tau), acting_on((lam, rho, nu), block, m))
    special += torch.kron(eye - one(tau), eye)
    return v, v.T @ special @ v


def test_where_the_text_of_theorem_4_holds():
    """Where lambda, rho and nu differ, whatever kappa, pi and tau are; nowhere else."""
    m, block = 3, random_orthogonal(3)
    for indices in itertools.permutations(range(m * m), 3):
        v, found = as_the_text_has_it(block, indices, m)
        close = (found - acting_on(indices, block, m * m)).abs().max() < 1e-12
        assert close == (len({i % m for i in indices}) == 3)
    # Two indices with one lambda: V is not even orthogonal.
    v, _ = as_the_text_has_it(block, (0, 3, 7), m)
    assert (v @ v.T - torch.eye(9)).abs().max() > 0.5


# --- the figure ----------------------------------------------------------------------------------


def test_the_figure_shows_the_rank_of_a_stack(tmp_path, monkeypatch):
    script = Path(__file__).parents[1] / "docs" / "rank_of_a_stack.py"
    spec = spec_from_file_location("rank_of_a_stack", script)
    figure = module_from_spec(spec)
    spec.loader.exec_module(figure)
    monkeypatch.setattr(figure, "N", 64)
    monkeypatch.setattr(figure, "OUT", tmp_path / "figure.png")
    assert figure.stored("kronecker", 4) == figure.stored("low_rank", 4)
    for family, rank in (("kronecker", 64), ("low_rank", 4), ("dense", 64)):
        values = figure.stacks(family, 4)
        assert len(values) == figure.LAYERS
        assert {figure.numerical_rank(each) for each in values} == {rank}
    figure.main()
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


# --- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "u, rank, words",
    [
        (torch.eye(8).double(), 2, "sides must be equal, and a square number"),
        (torch.ones(4, 9).double(), 2, "sides must be equal, and a square number"),
        (torch.eye(9).double(), 1, "choose 2 to 3"),
        (torch.eye(9).double(), 4, "choose 2 to 3"),
        (2 * torch.eye(9).double(), 2, "any_matrix"),
    ],
)
@pytest.mark.parametrize("function", [orthogonal, in_fewer_layers])
def test_what_does_not_fit_is_refused(function, u, rank, words):
    with pytest.raises(ShapeshifterError, match=words):
        function(u, rank)
