"""What stacks of Kronecker layers can represent: theorems 2 and 4 and corollary 3, as code.

The dissertation (section 4.3.1) proves that a product of layers, each a sum of a few Kronecker
products of m by m matrices, can be any orthogonal matrix of n = m^2 rows, and from there any
matrix at all. Its proofs construct the layers, and so does this file::

    layers = orthogonal(u, rank=2)      # theorem 2; with a larger rank, theorem 4
    product(layers)                     # u again

docs/theory.md goes along with it, and says where the proofs do not hold as they are written.

Think of an index i < n as a place in a tile: i = tile * m + place. So a Kronecker product
A kron B mixes the tiles as A says, and the places as B says.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from math import isqrt

import torch
from torch import Tensor

from .errors import ShapeshifterError

Layer = list[tuple[Tensor, Tensor]]  # the terms A kron B of a sum, shapes: (m, m), (m, m)


def dense(layer: Layer) -> Tensor:
    """The sum of a layer's Kronecker products.  # shape: (m*m, m*m)"""
    return sum(torch.kron(a, b) for a, b in layer)


def product(layers: Sequence[Layer]) -> Tensor:
    """The matrix of a stack of layers; the last layer is applied first, as in the theorems."""
    return reduce(torch.matmul, map(dense, layers))


# --- the theorems --------------------------------------------------------------------------------


def orthogonal(u: Tensor, rank: int = 2) -> list[Layer]:
    """Any orthogonal matrix as at most 3 n^2 / rank sums of at most `rank` Kronecker products.

    Theorem 2 is rank 2, theorem 4 any rank up to m. As in their proofs, u is turned into the
    identity column by column; each turn acts on `rank` neighbouring rows, and `variant` makes
    layers of it.

    Args:
        u: orthogonal, in float64.  # shape: (n, n) with n = m^2
        rank: Kronecker products in a layer, from 2 up to m.

    Raises:
        ShapeshifterError: if u is not orthogonal, n is not a square, or the rank does not fit.
    """
    m, rest, layers = _sides(u, rank), u.to(torch.float64, copy=True), []
    n = m * m
    last = max(0, n - rank)
    for column in range(last):
        for bottom in range(n, column + 1, 1 - rank):
            rows = range(max(column, bottom - rank), bottom)
            turn = _onto_first(rest[rows, column])
            rest[rows] = turn @ rest[rows]
            layers += variant(turn.T, rows, m)
    # What is left is one turn, a reflection perhaps.
    return layers + variant(rest[last:, last:], range(last, n), m)


def variant(block: Tensor, indices: Sequence[int], m: int) -> list[Layer]:
    """Layers that act as `block` on r of the m^2 indices, and as the identity on the others.

    The r-variant matrices of the proofs (definition 1), as 1, 3 or, where the text's construction
    does not hold, 5 layers, each a sum of at most r Kronecker products (2, if r is 1).

    Args:
        block: orthogonal.  # shape: (r, r), r <= m
        indices: different numbers from 0 to m^2 - 1, in the order of the block's rows.
        m: side of the factors.
    """
    tiles, places = [i // m for i in indices], [i % m for i in indices]
    r = len(indices)
    if len(set(tiles)) == 1:  # the special case: act within that tile
        return [tilewise({tiles[0]: _acting_on(places, block, m)}, m)]
    if len(set(places)) == r:  # the general case: bring them into one tile, each at its place
        to = tiles[-1]
        moved = {p: _permutation({t: to}, m) for t, p in zip(tiles, places) if t != to}
        move, moved_to = mirrored(tilewise(moved, m)), [to * m + p for p in places]
    elif len(set(tiles)) == r:  # both cases with tiles and places exchanged
        layers = variant(block, [p * m + t for t, p in zip(tiles, places)], m)
        return [mirrored(layer) for layer in layers]
    else:  # not in the text: give them different places first, each within its tile
        new = _different(places, m)
        pairs = [(t, p, q) for t, p, q in zip(tiles, places, new)]
        moves = {t: {p: q for s, p, q in pairs if s == t} for t, p, q in pairs if p != q}
        move = tilewise({t: _permutation(each, m) for t, each in moves.items()}, m)
        moved_to = [t * m + q for t, q in zip(tiles, new)]
    return [transposed(move), *variant(block, moved_to, m), move]


def in_fewer_layers(u: Tensor, rank: int = 2) -> list[Layer]:
    """As `orthogonal`, in at most n (ceil(m / (rank - 1)) + 1) layers, about n^1.5 / (rank - 1).

    Not in the text. One layer can act within rank - 1 whole tiles, or on one place across all
    tiles; no index has to be moved for that.
    """
    m, rest, layers = _sides(u, rank), u.to(torch.float64, copy=True), []
    n = m * m

    def apply(layer: Layer) -> None:
        nonlocal rest
        rest = dense(layer) @ rest
        layers.append(transposed(layer))

    for column in range(n - m):
        tile, place = divmod(column, m)
        for some in _chunks(range(tile, m), rank - 1):
            turns = {}
            for t in some:  # gather a tile's entries of the column at one place
                free = range(place + 1 if t == tile else 0, m)
                places = [place, *(p for p in free if p != place)]
                turn = _onto_first(rest[[t * m + p for p in places], column])
                turns[t] = _acting_on(places, turn, m)
            apply(tilewise(turns, m))
        tiles = range(tile, m)  # gather that place's entries in one tile
        turn = _onto_first(rest[[t * m + place for t in tiles], column])
        apply(mirrored(tilewise({place: _acting_on(tiles, turn, m)}, m)))
    return layers + variant(rest[n - m :, n - m :], range(n - m, n), m)


def any_matrix(w: Tensor, rank: int = 2) -> list[Layer]:
    """Corollary 3: layers whose product has w in its upper left corner.

    Orthogonal, diagonal, orthogonal: the singular value decomposition. The factors are m by m with
    m^2 the first square that neither side of w exceeds.

    Args:
        w: any matrix in float64.  # shape: (rows, columns)
        rank: Kronecker products in a layer, from 2 up to m.
    """
    m = isqrt(max(w.shape) - 1) + 1
    square = torch.zeros(m * m, m * m, dtype=torch.float64)
    square[: w.shape[0], : w.shape[1]] = w
    u, d, vt = torch.linalg.svd(square)
    left, right = orthogonal(u, rank), orthogonal(vt, rank)
    scales = {t: torch.diag(d[t * m : (t + 1) * m]) for t in range(m)}
    diagonal = [tilewise({t: scales[t] for t in some}, m) for some in _chunks(range(m), rank - 1)]
    return left + diagonal + right


# --- layers --------------------------------------------------------------------------------------


def tilewise(matrices: dict[int, Tensor], m: int) -> Layer:
    """The layer that applies a matrix within each of some tiles: one Kronecker product per tile.

    One more product is the identity in the other tiles.
    """
    eye = torch.eye(m, dtype=torch.float64)
    terms = [(torch.diag(eye[tile]), matrix) for tile, matrix in matrices.items()]
    return [*terms, (eye - sum(selector for selector, _ in terms), eye)]


def mirrored(layer: Layer) -> Layer:
    """The layer with tiles and places exchanged."""
    return [(b, a) for a, b in layer]


def transposed(layer: Layer) -> Layer:
    return [(a.T, b.T) for a, b in layer]


# --- small matrices ------------------------------------------------------------------------------


def _onto_first(x: Tensor) -> Tensor:
    """An orthogonal matrix that makes x a positive multiple of (1, 0, 0, ...)."""
    q, r = torch.linalg.qr(x.unsqueeze(1), mode="complete")
    q[:, 0] *= 1 if r[0, 0] >= 0 else -1
    return q.T


def _acting_on(indices: Sequence[int], block: Tensor, m: int) -> Tensor:
    whole, at = torch.eye(m, dtype=torch.float64), torch.tensor(indices)
    whole[at[:, None], at] = block
    return whole


def _permutation(moves: dict[int, int], m: int) -> Tensor:
    """Moves indices as told; the others fill what is left, in order."""
    others = [i for i in range(m) if i not in moves]
    left = [i for i in range(m) if i not in moves.values()]
    moves = {**moves, **dict(zip(others, left))}
    matrix = torch.zeros(m, m, dtype=torch.float64)
    matrix[list(moves.values()), list(moves)] = 1
    return matrix


def _different(places: Sequence[int], m: int) -> list[int]:
    """The places, with each repeated one replaced by the first free one."""
    new: list[int] = []
    for place in places:
        free = place if place not in new else next(p for p in range(m) if p not in new)
        new.append(free)
    return new


def _chunks(values: Sequence[int], size: int) -> list[Sequence[int]]:
    return [values[i : i + size] for i in range(0, len(values), size)]


def _sides(u: Tensor, rank: int) -> int:
    """m of an orthogonal (m*m, m*m) matrix, or an error that says what is wrong."""
    n = u.shape[-1]
    m = isqrt(n)
    if u.shape != (m * m, m * m):
        raise ShapeshifterError(
            f"a {tuple(u.shape)} matrix: its sides must be equal, and a square number (4, 9, ...)"
        )
    if not 2 <= rank <= max(2, m):
        raise ShapeshifterError(f"rank {rank}: with factors of {m} x {m} choose 2 to {max(2, m)}")
    if (u @ u.T - torch.eye(n, dtype=torch.float64)).abs().max() > 1e-9:
        raise ShapeshifterError(
            "the matrix is not orthogonal to 1e-9; `any_matrix` takes all others"
        )
    return m
