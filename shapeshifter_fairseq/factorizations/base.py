"""What every family of factorizations has in common: a matrix W that is never stored whole."""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import ShapeshifterError

# Rounds of `project_`, and the fall of the error, as a factor, that another one has to bring: where
# there is no closed form, and where only what is cut off is filled in.
ROUNDS, WORTH = 200, 0.9999
FILLING_ROUNDS, FILLING_WORTH = 50, 0.999
# What a round would fill in anew, as a part of the error, for there to be one: in a large table few
# places are cut off.
FILLED_IN = 0.03
# Most numbers of W, or of a lookup's slices, that training multiplies out at once: as many as a
# processor's cache holds, and for GPUs so many that they are few.
BLOCK, GPU_BLOCK = 2**21, 2**24


def block_of(tensor: Tensor) -> int:
    """`BLOCK` of the tensor's device."""
    return GPU_BLOCK if tensor.is_cuda else BLOCK


class Factorization(nn.Module, ABC):
    """A matrix W of n rows and m columns that is held as small factors.

    A family is a subclass in a file of its own; it names its factors (`_factors`), multiplies
    them out (`_materialize`), looks rows up (`_rows`) and, if it can, finds those of a given matrix
    (`_project`). This class adds what all of them need: factors drawn for a wanted spread of W, the
    step size of W, a row that is always zero (an embedding's padding token) and W reused at
    inference.

    Besides the rank a family may have options: whole numbers, such as a count of blocks, which are
    the keyword-only arguments of its constructor, each with a default.

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

    # Whether a linear layer may hold the family by itself (else: embeddings, and what is tied to
    # them).
    for_linear = True
    # Whether `scale` multiplies every factor, or one of them; in fp16 one number for a product of
    # many would be out of range.
    scale_each = False
    # How many times longer `_linear` takes for a multiplication than one large product does.
    small_products = 1.0

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
        # Holds nothing; its shape keeps a checkpoint of another size from loading where padding
        # happens to give the factors equal shapes (a vocabulary of a few tokens more, say).
        self.register_buffer("size", torch.empty(n, 0, m))
        # W is a multiple of what the factors give; `initialize_` chooses it by the wanted gain.
        self.register_buffer("scale", torch.ones(()))  # shape: ()
        # W at inference, after what it was built from. A plain attribute: it is in no state dict.
        self._cached: tuple[tuple, list[Tensor], Tensor] | None = None
        self._shared: Tensor | None = None  # W inside `shared`

    # --- what a family defines -------------------------------------------------------------

    @classmethod
    @abstractmethod
    def max_rank(cls, n: int, m: int) -> int:
        """The largest rank: beyond it the family represents no further n by m matrix.

        A family with options takes them as keyword-only arguments, here and in `parameter_count`.
        """

    @classmethod
    @abstractmethod
    def parameter_count(cls, n: int, m: int, rank: int) -> int:
        """How many numbers the factors of an n by m matrix hold, in closed form."""

    @abstractmethod
    def _factors(self) -> Iterable[tuple[nn.Parameter, tuple[int, ...]]]:
        """The factors, each with the dimensions that run over the entries of one term of W."""

    @abstractmethod
    def _materialize(self) -> Tensor:
        """Multiply the factors out."""  # shape: (n, m)

    @abstractmethod
    def _rows(self, index: Tensor) -> Tensor:
        """The rows of W at `index`, at a cost that does not depend on n."""  # (T,) -> (T, m)

    # --- how factors are drawn ---------------------------------------------------------------

    @property
    def degree(self) -> int:
        """How many numbers, one of each factor, are multiplied in a term of an entry of W."""
        return 2

    @property
    def terms(self) -> int:
        """How many such products an entry of W is the sum of."""
        return self.rank

    @torch.no_grad()
    def initialize_(self, std: float, gain: float) -> None:
        """Draw the factors anew so that the entries of W have the given standard deviation.

        Args:
            std: wanted standard deviation of the entries of W; their mean is zero.
            gain: how far Adam's first step moves an entry of W, in units of the learning rate. A
                dense matrix has gain 1.
        """
        # An entry of W is a sum of P terms, each the product of d numbers of independent factors
        # of mean zero and standard deviation s, times scale^p (p of the factors are scaled):
        #     std = scale^p * sqrt(P) * s^d.
        # With steps of +-lr on all numbers, Adam's first step moves it by a sum of d*P terms of
        # size scale^p * lr * s^(d-1), in the mean square
        #     gain * lr = lr * scale^p * sqrt(d*P) * s^(d-1).
        # The quotient of the two gives s = sqrt(d) * std / gain, and then the first the scale.
        d, p = self.degree, self.degree if self.scale_each else 1
        factor_std = math.sqrt(d) * std / gain
        scale = (std / (math.sqrt(self.terms) * factor_std**d)) ** (1 / p)
        # Rounded to 8 bits, so that it is the same number in fp32, fp16 and bf16.
        self.scale.fill_(torch.tensor(scale).bfloat16().item())
        factor_std = (std / (math.sqrt(self.terms) * self.scale.item() ** p)) ** (1 / d)
        for factor, entries in self._factors():
            factor.normal_()
            # Each term gets its size exactly; at a low rank chance would make W too large or small.
            factor.mul_(factor_std / factor.square().mean(entries, keepdim=True).sqrt())

    @torch.no_grad()
    def _match_(self, std: float) -> None:
        """Multiply the factors so that W has the given spread, as measured on some of its rows.

        For products of many factors: the few entries that a factor has, and the cut to n rows and
        m columns, leave the spread of W to chance.
        """
        some = torch.arange(self.n) if self.n <= 4096 else torch.randint(self.n, (4096,))
        rows = self._rows(some.to(self.scale.device))
        for factor, _ in self._factors():
            factor.mul_((std / rows.square().mean().sqrt()) ** (1 / self.degree))

    # --- factors of a given matrix -----------------------------------------------------------

    def _project(self, weight: Tensor) -> None:  # shape: (n, m)
        """Set the factors so that W, with a `scale` of 1, is near `weight`, all terms balanced."""
        raise ShapeshifterError(
            f"{type(self).__name__} cannot approximate a given matrix; train it from the start, or "
            "take another family"
        )

    @torch.no_grad()
    def project_(self, weight: Tensor, gain: float) -> None:
        """Set the factors so that W is the best approximation of a matrix, as near as is known.

        The family's docstring says how, and whether nothing could be nearer. The factors of a term
        get equal mean squares, and `scale` is chosen so that W then moves as after `initialize_`.

        Args:
            weight: the matrix; what its `zero_row` holds does not count.  # shape: (n, m)
            gain: how far Adam's first step moves an entry of W, in the mean square, in units of
                the learning rate.

        Raises:
            ShapeshifterError: if the matrix has another shape, or holds a NaN or an infinity, or
                the family knows no way.
        """
        if weight.shape != (self.n, self.m):
            raise ShapeshifterError(
                f"a matrix of shape {tuple(weight.shape)} does not fit factors of one of "
                f"{(self.n, self.m)}"
            )
        if not weight.isfinite().all():
            raise ShapeshifterError("the matrix holds NaN or infinity; take another checkpoint")
        self._forget()
        self.scale.fill_(1)
        weight = weight.to(self.scale, copy=True)
        if self.zero_row is not None:
            weight[self.zero_row] = 0
        self._project(weight)
        self._set_gain_(gain)

    def _project_padded(
        self,
        weight: Tensor,
        fit: Callable[[Tensor], None],
        products: Callable[[], Tensor],
        closed_form: bool = True,
    ) -> None:
        """`_project` by rounds, for a family whose products have more rows and columns than W.

        `products` makes them. `fit` sets the factors to the best for a whole matrix if there is a
        `closed_form`, else to better ones than they are. What is cut off, and the row that is
        always zero, may be anything: `fit` gets zeros there first, and then what the factors before
        made of them, so that on the entries that count the error does not grow. The least has no
        closed form (hard-impute: Mazumder, Hastie and Tibshirani, 2010).
        """
        whole = torch.zeros_like(products())
        counts = torch.zeros_like(whole, dtype=torch.bool)
        counts[: self.n, : self.m] = True
        if self.zero_row is not None:
            counts[self.zero_row] = False
        whole[: self.n, : self.m] = weight
        rounds, worth = (FILLING_ROUNDS, FILLING_WORTH) if closed_form else (ROUNDS, WORTH)
        error = math.inf
        for _ in range(1 if closed_form and counts.all() else rounds):
            fit(whole)
            before, made = error, products()
            error = torch.where(counts, made - whole, 0).norm().item()
            filled_in = torch.where(counts, 0, made - whole).norm().item()
            if error >= before * worth or (closed_form and filled_in < error * FILLED_IN):
                break
            whole = torch.where(counts, whole, made)

    def relative_error(self, weight: Tensor) -> float:
        """|W - weight| / |weight| in the Frobenius norm, or |W| for a matrix of zeros."""
        with torch.no_grad():
            # In double precision: the squares of a large table add up to more than float32 holds.
            weight = weight.double()
            error, norm = (self._whole().double() - weight).norm(), weight.norm()
            return (error / norm).item() if norm > 0 else error.item()

    def _set_gain_(self, gain: float) -> None:
        """Choose `scale` for the wanted gain; the factors change with it and W stays."""
        # All factors times t and scale^p divided by t^d leave W alone. A factor's step of +-lr then
        # moves it t times less.
        d, p, now = self.degree, self.degree if self.scale_each else 1, self._gain()
        if now == 0:  # W is zero, and so are its factors
            return
        scale = self.scale.item() * (gain / now) ** (d / p)
        scale = torch.tensor(scale).bfloat16().item()  # as in `initialize_`
        for factor, _ in self._factors():
            factor.mul_((self.scale.item() / scale) ** (p / d))
        self.scale.fill_(scale)

    def _gain(self) -> float:
        """How far steps of +-1 on all numbers move an entry of W, in the mean square."""
        # A step on one factor is multiplied by the others. Of two, this is the other's mean square.
        squares = [factor.square().mean().item() for factor, _ in self._factors()]
        return self.scale.item() * math.sqrt(self.terms * sum(squares))

    # --- what layers use -------------------------------------------------------------------

    def weight(self) -> Tensor:
        """W itself: differentiable, or the copy that is kept while the module does not train.

        Returns:
            Tensor, shape: (n, m)
        """
        if self.training or torch.is_grad_enabled():
            return self._whole()
        # W is of these tensors (`functional_call` puts others in), of their versions (in-place
        # changes count them up: an optimizer's step in eval mode, say) and of autocast's precision,
        # which not every device has (meta).
        device = self._buffers["scale"].device.type
        autocasts = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
        dtype = torch.get_autocast_dtype(device) if autocasts else None
        source = dtype, [(id(factor), factor._version) for factor in self._parameters.values()]
        if self._cached is None or self._cached[0] != source:
            # With the tensors themselves, so that no others get their ids.
            self._cached = source, list(self._parameters.values()), self._whole()
        return self._cached[2]

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Inside, a W of one block is built once for all its uses, lookups too.

        For one forward pass in which a small table is looked up and multiplied with. A large one,
        and one that goes factor by factor, is used as ever.
        """
        small = self.n * self.m <= block_of(self.scale)
        if small and self._linear_cost(1) * self.small_products >= self.n * self.m:
            self._shared = self.weight()
        try:
            yield
        finally:
            self._shared = None

    def rows(self, index: Tensor) -> Tensor:
        """Rows of W; while training W is not built for it.

        Args:
            index: integer tensor of any shape (*).

        Returns:
            Tensor, shape: (*, m)

        Raises:
            IndexError: if an index is below 0 or not below n; on a GPU, as `nn.Embedding` does,
                torch stops with an assertion instead.
        """
        if self._shared is not None:
            return F.embedding(index, self._shared)
        if not self.training and not torch.is_grad_enabled():
            return F.embedding(index, self.weight())
        # A batch of text repeats its tokens: each different row is computed once.
        different, where = torch.unique(index, return_inverse=True)
        # Adds zeros that are looked up in one that stands for n: torch checks the indices as those
        # of any table, and on a GPU nothing waits for the answer. The factors would not notice: an
        # index beyond n meets padding there, or is taken for another.
        different = different + different.new_zeros(()).expand(self.n).index_select(0, different)
        rows = self._rows(different)
        if self.zero_row is not None:
            rows = rows.masked_fill((different == self.zero_row).unsqueeze(1), 0)
        return F.embedding(where, rows)

    def linear(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """x W^T + bias, with W or factor by factor, whichever takes fewer multiplications.

        Args:
            x: vectors.  # shape: (T, m)
            bias: shape: (n,)

        Returns:
            Tensor, shape: (T, n)
        """
        if self._shared is not None:
            return F.linear(x, self._shared, bias)
        vectors, kept = len(x), not (self.training or torch.is_grad_enabled())
        with_w = self.n * self.m * (vectors + (0 if kept else self.rank))
        if self._linear_cost(vectors) * self.small_products >= with_w:
            return F.linear(x, self.weight(), bias) if kept else self._product(x, bias)
        y = self._linear(x)
        if self.zero_row is not None:
            y[:, self.zero_row] = 0
        return y if bias is None else y + bias.to(y)  # under autocast y is of lower precision

    def _product(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """x W^T + bias with a W that is not kept, for a family that can do better than this."""
        return F.linear(x, self._whole(), bias)

    def _linear_cost(self, vectors: int) -> float:
        """How many multiplications `_linear` takes; by default W is always multiplied out."""
        return math.inf

    def _linear(self, x: Tensor) -> Tensor:
        """x W^T factor by factor, for a family in which that can pay."""  # (T, m) -> (T, n)
        raise NotImplementedError

    def _whole(self) -> Tensor:
        weight = self._materialize()
        if self.zero_row is not None:
            weight[self.zero_row] = 0
        return weight

    # --- when the kept copy of W goes -------------------------------------------------------

    def _forget(self) -> None:
        self._cached = None

    def train(self, mode: bool = True) -> Factorization:
        if mode:
            self._forget()
        return super().train(mode)

    def _apply(self, fn, recurse: bool = True) -> Factorization:  # .to(), .half(), .cuda(), ...
        self._forget()
        return super()._apply(fn, recurse)

    def _load_from_state_dict(self, *args, **kwargs) -> None:
        self._forget()
        super()._load_from_state_dict(*args, **kwargs)

    def __getstate__(self) -> dict:  # copies and pickles carry the factors alone
        return {**self.__dict__, "_cached": None}

    def extra_repr(self) -> str:
        options = "".join(f", {name}={value}" for name, value in self.chosen.items())
        return f"{self.n}, {self.m}, rank={self.rank}{options}"

    # --- options -----------------------------------------------------------------------------

    @classmethod
    def options(cls) -> dict[str, int]:
        """The names of the family's options, with their defaults."""
        parameters = inspect.signature(cls).parameters.values()
        return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def root(size: int, order: int) -> int:
    """The smallest q with q**order >= size."""
    q = max(1, round(size ** (1 / order)) - 1)  # the root in floating point may be off
    while q**order < size:
        q += 1
    return q


def require_between(low: int, high: int, n: int, m: int, **option: int) -> None:
    """Raise a `ShapeshifterError` unless the option of an n by m matrix lies in low..high."""
    for name, value in option.items():
        if not low <= value <= high:
            raise ShapeshifterError(
                f"{name}={value} does not fit a {n} x {m} matrix: choose {low} to {high}"
            )
