"""What every family of factorizations has in common: a matrix W that is never stored whole."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import ShapeshifterError
from .computed import computed, is_exported, is_followed
from .cost import ROWS_PER_TOKEN
from .drawing import Drawn
from .fitting import Fitted
from .kept import KeptWeight
from .multiplying import Multiplied


class Builder(Protocol):
    """Builds the W of several factorizations together (`together.Group`)."""

    read_only: bool

    def weight_of(self, factors: Factorization) -> Tensor: ...  # shape: (n, m)


class Factorization(Drawn, Fitted, Multiplied, nn.Module, ABC):
    """A matrix W of n rows and m columns that is held as small factors.

    A family is a subclass in a file of its own. This class adds what all of them need: factors
    drawn for a wanted spread of W (`Drawn`), factors of a given matrix (`Fitted`), products with
    vectors, with W or its factors (`Multiplied`), a row that is always zero (an embedding's padding
    token), and W reused at inference (`KeptWeight`).

    A family must define

    - `_factors`: its factors, which are all its parameters in the order of their making, each with
      the dimensions that lie within one term of W (the others count terms, blocks or rows); drawing
      gives each term the same mean square over these;
    - `_materialize`: how they are multiplied out;
    - `_rows`: how rows of W are found at a cost that does not depend on n;
    - `max_rank` and `parameter_count`, in closed form;

    and may override

    - `terms` and `degree`: W is a sum of `terms` products of `degree` numbers (rank and 2);
    - `scale_each`: `scale` multiplies every factor (default: only the first);
    - `_project`: finds the factors of a given matrix (default: raises an error);
    - `_by_factors`: products with vectors without W (default: never), and their estimated cost:
      multiplications (`_by_factors_cost`), intermediate numbers (`_by_factors_inner`) and calls of
      torch (`by_factors_calls`);
    - `_linear_with_w`: a product with a W that is used once (default: W is built, and kept until
      the backward pass);
    - `alike`: which matrices are built together (default: those of one shape, rank and options);
    - `for_linear`: whether a linear layer may hold the family by itself (default: yes);
    - options: whole numbers, such as a count of blocks, that are keyword-only arguments of the
      constructor, `max_rank` and `parameter_count`, each with a default.

    Several layers may hold the same `Factorization`; that is how an output projection is tied to
    an embedding.

    Args:
        n: rows of W (out_features of a linear layer, size of a vocabulary).
        m: columns of W (in_features, embedding width).
        rank: how many terms W is the sum of.
        zero_row: index of a row that is zero and gets no gradient, or None.
        options: the family's options, passed on by its constructor.

    Raises:
        ShapeshifterError: if the rank is below 1 or larger than the shape allows, or an option
            does not fit the shape.
    """

    for_linear = True

    def __init__(
        self, n: int, m: int, rank: int, zero_row: int | None = None, **options: int
    ) -> None:
        super().__init__()
        largest = self.max_rank(n, m, **options)
        if not 1 <= rank <= largest:
            raise ShapeshifterError(
                f"rank {rank} does not fit a {n} x {m} matrix: choose 1 to {largest}"
            )
        self.n, self.m, self.rank, self.zero_row, self.chosen = n, m, rank, zero_row, options
        # Holds no numbers. Its shape stops a checkpoint of another size from loading where padding
        # gives the factors equal shapes (for example, a vocabulary with a few more tokens).
        self.register_buffer("size", torch.empty(n, 0, m))
        # Multiplies the first factor, or each one (`scale_each`); `initialize_` sets it for the
        # wanted gain.
        self.register_buffer("scale", torch.ones(()))  # shape: ()
        # Plain attributes: they are not in the state dict.
        self._kept = KeptWeight()
        self._builder: Builder | None = None  # while a pass builds W together with others

    # --- what a family defines -------------------------------------------------------------

    @classmethod
    @abstractmethod
    def max_rank(cls, n: int, m: int) -> int:
        """The largest useful rank: a higher one cannot represent more n by m matrices."""

    @classmethod
    @abstractmethod
    def parameter_count(cls, n: int, m: int, rank: int) -> int:
        """How many numbers the factors of an n by m matrix hold, in closed form."""

    @abstractmethod
    def _factors(self) -> Iterable[tuple[nn.Parameter, tuple[int, ...]]]:
        """The factors, each with the dimensions that run over the entries of one term of W."""

    @abstractmethod
    def _materialize(self, *factors: Tensor) -> Tensor:
        """Multiply out factors that have been multiplied by the scale.

        Args:
            factors: as `_factors` has them; those of several matrices come stacked, with leading
                dimensions (*).

        Returns:
            W, perhaps with extra rows and columns, which are cut off.
            # shape: (*, n or more, m or more)
        """

    @abstractmethod
    def _rows(self, index: Tensor) -> Tensor:
        """The rows of W at `index`, at a cost that does not depend on n."""  # (T,) -> (T, m)

    # --- W ---------------------------------------------------------------------------------

    def weight(self) -> Tensor:
        """W, read-only: differentiable, or the kept copy if the module is in eval mode and autograd
        is off.

        Returns:
            Tensor, shape: (n, m); a write into it raises, see `ComputedWeight`. Within the forward
            pass of a model that builds its matrices together, it is an ordinary tensor.
        """
        weight = self._weight()
        if is_followed() or (self._builder is not None and not self._builder.read_only):
            return weight
        return self._kept.to_read(weight) if self._keeps_w else computed(weight)

    def _weight(self) -> Tensor:
        """W for the layers: kept, built with others, or built now; an ordinary tensor."""
        if self._keeps_w:
            return self._kept.of(self, self.materialize)
        return self.materialize() if self._builder is None else self._builder.weight_of(self)

    def build_with(self, builder: Builder | None) -> None:
        """Let a builder make W from now on; None ends that."""
        object.__setattr__(self, "_builder", builder)  # ten times as fast as nn.Module's own

    def materialize(self) -> Tensor:
        """Build W from the factors.  # shape: (n, m)"""
        return self.materialize_from(self.scale, [factor for factor, _ in self._factors()])

    def materialize_from(self, scale: Tensor, factors: Sequence[Tensor]) -> Tensor:
        """Build the W of given factors, or of several matrices like this one at once.

        Args:
            scale: shape: (*)
            factors: as `_factors` has them, with leading dimensions (*).

        Returns:
            Tensor, shape: (*, n, m)
        """
        weight = self._materialize(*self._scaled(scale, factors))[..., : self.n, : self.m]
        if self.zero_row is not None:
            weight[..., self.zero_row, :] = 0
        return weight

    def _scaled(self, scale: Tensor, factors: Sequence[Tensor]) -> list[Tensor]:
        scaled = len(factors) if self.scale_each else 1

        def times_scale(factor: Tensor) -> Tensor:
            return factor * scale.view(scale.shape + (1,) * (factor.dim() - scale.dim()))

        return [*map(times_scale, factors[:scaled]), *factors[scaled:]]

    def _padded(self) -> Tensor:
        """W with the rows and columns that are cut off.  # shape: (n or more, m or more)"""
        return self._materialize(*self._scaled(self.scale, [f for f, _ in self._factors()]))

    def alike(self) -> Hashable:
        """A key: factorizations with equal keys can be built together, from stacked factors."""
        options = tuple(self.chosen.values())
        return type(self), self.n, self.m, self.rank, self.zero_row, options

    @property
    def _keeps_w(self) -> bool:
        if self.training or is_exported():
            return False
        if torch.is_grad_enabled():
            self._kept.forget()  # a fused optimizer's step may follow, which raises no versions
            return False
        return True

    @property
    def _has_w(self) -> bool:
        """Whether W is kept, shared with other uses in a pass, or part of an exported graph."""
        return self._keeps_w or self._builder is not None or is_exported()

    # --- what layers use -------------------------------------------------------------------

    def rows(self, index: Tensor) -> Tensor:
        """Rows of W, in the precision of its factors.

        Training does not build a large W for a few rows. At inference W is built once, and kept.

        Args:
            index: integer tensor of any shape (*).

        Returns:
            Tensor, shape: (*, m)

        Raises:
            IndexError: if an index is not in 0 to n - 1. On a GPU a device assertion fails
                instead, as for `nn.Embedding`.
        """
        if self._has_w or index.is_nested or self.n <= ROWS_PER_TOKEN * index.numel():
            return F.embedding(index, self._weight()).to(self.scale.dtype)
        index, shape = index.flatten(), index.shape
        # Check the indices: look each one up in a table of n zeros (one number, expanded) and add
        # the zero to it. Torch raises for a bad index, and a GPU does not have to wait. The factors
        # would accept it: they would return padding, or another row.
        index = index + index.new_zeros(()).expand(self.n).index_select(0, index)
        rows = self._rows(index).to(self.scale.dtype)  # autocast chose that of the products
        if self.zero_row is not None:
            rows = rows.masked_fill((index == self.zero_row).unsqueeze(1), 0)
        return rows.view(*shape, self.m)

    # --- when the kept copy of W goes -------------------------------------------------------

    def train(self, mode: bool = True) -> Factorization:
        if mode:
            self._kept.forget()
        return super().train(mode)

    def _apply(self, fn, recurse: bool = True) -> Factorization:  # .to(), .half(), .cuda(), ...
        self._kept.forget()
        return super()._apply(fn, recurse)

    def _load_from_state_dict(self, *args, **kwargs) -> None:
        self._kept.forget()
        super()._load_from_state_dict(*args, **kwargs)

    def _replicate_for_data_parallel(self) -> Factorization:  # on another device
        replica = super()._replicate_for_data_parallel()
        replica._kept = KeptWeight()
        return replica

    def __getstate__(self) -> dict:  # copies and pickles carry the factors alone
        return {**self.__dict__, "_kept": KeptWeight(), "_builder": None}

    def extra_repr(self) -> str:
        options = "".join(f", {name}={value}" for name, value in self.chosen.items())
        return f"{self.n}, {self.m}, rank={self.rank}{options}"

    # --- options -----------------------------------------------------------------------------

    @classmethod
    def options(cls) -> dict[str, int]:
        """The names of the family's options, with their defaults."""
        parameters = inspect.signature(cls).parameters.values()
        return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
