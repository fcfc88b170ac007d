"""word2ket: every row of a table is a sum of tensor products of short vectors."""

from __future__ import annotations

import math
from collections.abc import Hashable
from math import ceil

import torch
from torch import Tensor, nn

from ..errors import ShapeshifterError
from .drawing import need_gain
from .factorization import Factorization
from .sizes import most_digits, require_between, root
from .tensor_products import gain_of, nearer_sum, sum_of_tensor_products, tensor_product

# Steps of Adam that project a table through LayerNorms.
NORMED_ROUNDS = 300


class Word2Ket(Factorization):
    """Row i of W is  scale^o * sum over k of  v_ik1 (x) v_ik2 (x) ... (x) v_iko, cut to m numbers
    (dissertation, section 3.3, equation 3.3; Panahi et al., ICLR 2020).

    Each v_ikj has q numbers, the smallest q with q^o >= m. It stores n*r*o*q numbers. The products
    are multiplied as a balanced tree. Every row has numbers of its own, so this is for embeddings
    only; for a layer's matrix use `Word2KetXS`.

    With ``norm=1`` every product in the tree goes through a LayerNorm (one without weights of its
    own), which keeps gradients from growing with the order (section 3.3.3)::

        W[i] = spread * sum over k of  LN(LN(u_ik1 (x) u_ik2) (x) LN(u_ik3 (x) u_ik4)),  u = scale*v

    A projection goes row by row: one SVD for order 2, alternating least squares for higher orders
    (`nearer_sum`), or Adam if there are LayerNorms. `_fit_padded` fills in the entries past m.
    """

    for_linear = False
    scale_each = True

    def __init__(
        self,
        n: int,
        m: int,
        rank: int,
        zero_row: int | None = None,
        *,
        order: int = 2,
        norm: int = 0,
    ) -> None:
        super().__init__(n, m, rank, zero_row, order=order, norm=norm)
        self.order, self.norm, self.q = order, norm, root(m, order)
        self.v = nn.Parameter(torch.empty(n, rank, order, self.q))  # shape: (n, r, o, q)
        if norm:
            self.register_buffer("spread", torch.ones(()))  # shape: ()

    @classmethod
    def max_rank(cls, n: int, m: int, *, order: int = 2, norm: int = 0) -> int:
        require_between(2, most_digits(m), n, m, order=order)
        require_between(0, 1, n, m, norm=norm)
        # One term can hold any q neighbouring entries of a row: its first vectors are one-hot.
        return ceil(m / root(m, order))

    @classmethod
    def parameter_count(cls, n: int, m: int, rank: int, *, order: int = 2, norm: int = 0) -> int:
        return n * rank * order * root(m, order)

    @property
    def degree(self) -> int:
        return self.order

    def _factors(self) -> list[tuple[nn.Parameter, tuple[int, ...]]]:
        return [(self.v, (3,))]

    def initialize_(self, std: float, gain: float) -> None:
        if self.norm:
            self._initialize_normed_(std, gain)
        else:
            super().initialize_(std, gain)
            self._match_spread_(std)

    @torch.no_grad()
    def _initialize_normed_(self, std: float, gain: float) -> None:
        need_gain(gain)
        # A LayerNorm removes the size of its input. So only the part of a step across the vector
        # moves W: 1 - 1/q of a random step's square. A step of +-lr on a vector of spread s changes
        # it by the fraction lr/s. Each of o vectors moves a product by its fraction, so W moves by
        #     gain * lr = std * sqrt(o * (1 - 1/q)) * lr / s,
        # which gives s. The vectors are scaled to spread 1, far above LayerNorm's epsilon.
        factor_std = math.sqrt(self.order * (1 - 1 / max(self.q, 2))) * std / gain
        self._set_scale(1 / factor_std)
        self.v.normal_()
        self.v.mul_(factor_std / self.v.square().mean(3, keepdim=True).sqrt())
        # r products of mean square 1; rounded as `scale` is.
        self.spread.fill_(torch.tensor(std / math.sqrt(self.rank)).bfloat16().item())

    def _project(self, weight: Tensor) -> None:
        self.v.normal_(generator=torch.Generator(weight.device).manual_seed(0))
        if self.norm:
            self._descend(weight)
        else:
            self.v[:, :, 0, self._first :] = 0
            self._fit_padded(weight, self._fit, closed_form=self.order == 2)

    def _leaves(self) -> list[Tensor]:
        first, *others = self.v.unbind(2)  # shapes: (n, r, q)
        return [first[:, :, : self._first], *others]

    def _fit(self, whole: Tensor) -> None:  # shape: (n, q_1*q*...*q)
        leaves = self._leaves()
        sizes = [leaf.shape[2] for leaf in leaves]
        for leaf, found in zip(leaves, nearer_sum(whole.view(self.n, *sizes), leaves)):
            leaf.copy_(found)

    @torch.enable_grad()
    def _descend(self, weight: Tensor) -> None:
        # A vector's size makes no difference: a step of Adam only turns its direction.
        vectors = self.v.detach().clone().requires_grad_()
        adam = torch.optim.Adam([vectors], lr=0.2)
        schedule = torch.optim.lr_scheduler.LinearLR(adam, 1, 0, NORMED_ROUNDS)
        known = torch.ones_like(weight[:, :1])
        if self.zero_row is not None:
            known[self.zero_row] = 0
        self.spread.fill_(1)
        for _ in range(NORMED_ROUNDS):
            made = self._products_of(vectors)[:, : self.m] * known
            with torch.no_grad():  # the best multiple
                spread = (made * weight).sum() / made.square().sum()
            (made * spread - weight).square().sum().backward()
            adam.step()
            adam.zero_grad()
            schedule.step()
        with torch.no_grad():
            self.v.copy_(vectors / vectors.square().mean(3, keepdim=True).sqrt())
            made = self._products_of(self.v)[:, : self.m] * known
            spread = (made * weight).sum() / made.square().sum()
            self.spread.fill_(spread.bfloat16().item())

    def _gain(self) -> float:
        if self.norm:  # measured: how much a LayerNorm enlarges a step depends on its input
            draw = torch.Generator(self.v.device).manual_seed(0)
            step = torch.empty_like(self.v).normal_(generator=draw).sign() * 1e-3
            moved = self._products_of(self.v + step) - self._products_of(self.v)
            return moved.square().mean().sqrt().item() / 1e-3
        squares = [(leaf * self.scale).square().mean(2) for leaf in self._leaves()]
        moved = gain_of(torch.stack(squares, 2))
        return self.scale.item() * math.sqrt(self.rank) * moved

    def _materialize(self, v: Tensor) -> Tensor:
        leaves = v.unbind(-2)  # shapes: (*, n, r, q)
        if self.norm:
            return tensor_product(leaves, norm=True).sum(-2) * self.spread
        return sum_of_tensor_products([leaves[0][..., : self._first], *leaves[1:]])

    def _rows(self, index: Tensor) -> Tensor:
        return self._products_of(self.v.index_select(0, index))[:, : self.m]

    def _products_of(self, vectors: Tensor) -> Tensor:  # (T, r, o, q) -> (T, m or a little more)
        return self._materialize(vectors * self.scale)

    def alike(self) -> Hashable:
        # `spread` is no factor: it belongs to this table alone, which is then built by itself.
        return (*super().alike(), id(self)) if self.norm else super().alike()

    @property
    def _first(self) -> int:
        """How many entries of a first vector are used after the cut to m columns."""
        return ceil(self.m / self.q ** (self.order - 1))

    def inner_products(self, left: Tensor, right: Tensor) -> Tensor:
        """Inner products of rows of W, at a cost of r*r*o*q each: no row is built.

        For whole tensor products (m = q^o) it is the sum over k and l of the products over j of
        <v_ikj, v_i'lj> (dissertation, section 3.3.3). Where m < q^o, only columns 0 to m - 1 count.
        Their sum is split by the first digit, in base q, in which a column is smaller than m - 1:
        the digits before it are fixed, those after it are free.

        Args:
            left, right: indices of rows.  # shapes: (T,), (T,)

        Returns:
            Tensor, shape: (T,)

        Raises:
            ShapeshifterError: if the products go through a LayerNorm.
        """
        if self.norm:
            raise ShapeshifterError(
                "inner_products does not work with LayerNorms; build the factors with norm=0"
            )
        v = (self.v.index_select(0, left) * self.scale).unbind(2)  # o of shape (T, r, q)
        w = (self.v.index_select(0, right) * self.scale).unbind(2)
        # Sums over the digits from j on: up to those of m - 1, and over all.  # shape: (T, r, r)
        within = free = v[0].new_ones(len(left), self.rank, self.rank)
        for j in reversed(range(self.order)):
            digit = (self.m - 1) // self.q ** (self.order - 1 - j) % self.q
            below = v[j][:, :, :digit] @ w[j][:, :, :digit].transpose(1, 2)
            equal = v[j][:, :, digit].unsqueeze(2) * w[j][:, :, digit].unsqueeze(1)
            within = below * free + equal * within
            free = free * (v[j] @ w[j].transpose(1, 2))
        products = within.sum((1, 2))
        if self.zero_row is not None:
            products = products.masked_fill((left == self.zero_row) | (right == self.zero_row), 0)
        return products
