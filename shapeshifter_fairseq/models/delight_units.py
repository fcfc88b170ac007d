"""DeLighT's parts: group-linear layers, units made of them, and the modules around a unit.

A unit (DExTra) is narrow and deep. It widens and narrows again through group-linear layers, each of
which holds a small matrix for every slice of its input, and sees the unit's projected input too.
"""

from __future__ import annotations

import math

import torch
from fairseq.models.transformer import Linear
from fairseq.modules import FairseqDropout, LayerNorm, MultiheadAttention
from torch import Tensor, nn
from torch.nn import functional


def most_groups(width: int) -> int:
    """The most groups in a model of this width: a 32nd of it, rounded up to a power of two."""
    return 2 ** math.ceil(math.log2(width // 32))


def group_sizes(
    inner: int, widest: float, outputs: int, depth: int, most: int
) -> list[tuple[int, int, int]]:
    """Input width, output width and number of groups of each group-linear layer of a unit.

    Args:
        inner: width of the projected input, which every layer sees.
        widest: output width of the middle layers, before it is rounded up.
        outputs: output width of the last layer.
        depth: how many layers.
        most: the greatest number of groups.
    """
    rise, odd = math.ceil(depth / 2), depth % 2  # an odd depth has one widest layer, not two
    groups = [min(2 ** (i + 1), most) for i in range(rise)]
    widths = [math.floor(inner + (widest - inner) * i / max(1, rise - 1)) for i in range(rise)]
    groups += groups[::-1][odd:]
    widths += widths[::-1][odd:]
    # Rounded up so that this layer and the next can cut them into their groups.
    steps = [max(here, after, 8) for here, after in zip(groups, groups[1:])]
    out = [-(-width // step) * step for width, step in zip(widths, steps)] + [outputs]
    return list(zip([inner] + [width + inner for width in out], out, groups))


def _slices(x: Tensor, groups: int) -> Tensor:  # shape: (*, n) -> (*, groups, n / groups)
    return x.unflatten(-1, (groups, -1))


class GroupLinear(nn.Module):
    """A linear layer with a block-diagonal matrix and shuffled output, then LayerNorm and Swish.

    Args:
        inputs, outputs: sizes of the last dimension.
        groups: how many blocks.
        dropout: after the activation.
    """

    def __init__(self, inputs: int, outputs: int, groups: int, dropout: float) -> None:
        super().__init__()
        self.groups = groups
        self.weight = nn.Parameter(torch.empty(groups, inputs // groups, outputs // groups))
        self.bias = nn.Parameter(torch.zeros(groups, 1, outputs // groups))
        # Xavier of the tensor as a whole, as in the authors' code; LayerNorm corrects the spread.
        nn.init.xavier_uniform_(self.weight)
        self.layer_norm = LayerNorm(outputs // groups)  # one for all slices
        self.dropout_module = FairseqDropout(dropout, module_name=self.__class__.__name__)

    def forward(self, x: Tensor) -> Tensor:  # shape: (*, inputs) -> (*, outputs)
        by_group = _slices(x, self.groups).flatten(0, -3).transpose(0, 1)
        y = torch.baddbmm(self.bias, by_group, self.weight)  # shape: (groups, N, outputs / groups)
        # Channel c of group k goes to c * groups + k, so that the next slices mix all groups.
        y = _slices(y.permute(1, 2, 0).flatten(1), self.groups)
        y = self.dropout_module(functional.silu(self.layer_norm(y)))
        return y.reshape(*x.shape[:-1], -1)


class DExTra(nn.Module):
    """The unit: a dense layer, group-linear layers, and a dense layer.

    Args:
        inputs, outputs: sizes of the last dimension.
        width: of the model; the projected input is half as wide.
        depth: how many group-linear layers.
        multiplier: of `inputs`, for the widest of them.
        dropout: after every layer.
    """

    def __init__(
        self, inputs: int, outputs: int, width: int, depth: int, multiplier: float, dropout: float
    ) -> None:
        super().__init__()
        inner = width // 2
        sizes = group_sizes(inner, multiplier * inputs, outputs, depth, most_groups(width))
        self.first = self._dense(inputs, inner, dropout)
        self.group_layers = nn.ModuleList(GroupLinear(*size, dropout) for size in sizes)
        self.last = self._dense(inner + outputs, outputs, dropout)

    def _dense(self, inputs: int, outputs: int, dropout: float) -> nn.Sequential:
        last = FairseqDropout(dropout, module_name=self.__class__.__name__)
        return nn.Sequential(Linear(inputs, outputs), LayerNorm(outputs), nn.SiLU(), last)

    def forward(self, x: Tensor) -> Tensor:  # shape: (*, inputs) -> (*, outputs)
        x = projected = self.first(x)
        for i, layer in enumerate(self.group_layers):
            if i > 0:  # slice by slice, so that each group sees its part of both
                both = _slices(projected, layer.groups), _slices(x, layer.groups)
                x = torch.cat(both, -1).flatten(-2)
            x = layer(x)
        return self.last(torch.cat([projected, x], -1))


class SentenceDropout(FairseqDropout):
    """Dropout with one mask for all positions of a sentence."""

    def forward(self, x: Tensor, inplace: bool = False) -> Tensor:  # shape: (B, T, m)
        return x * super().forward(x.new_ones(len(x), 1, x.shape[-1]), inplace)


class MappedEmbedding(nn.Module):
    """A narrow table, and a unit that turns its rows into vectors of the model's width.

    It takes the place of fairseq's `nn.Embedding`; `weight` is the table's, for a tied output.
    """

    def __init__(self, table: nn.Embedding, unit: DExTra, width: int, dropout: float) -> None:
        super().__init__()
        self.table, self.unit = table, unit
        self.embedding_dim, self.padding_idx = width, table.padding_idx
        self.scale = math.sqrt(table.embedding_dim)
        self.dropout_module = SentenceDropout(dropout, module_name=self.__class__.__name__)

    @property
    def weight(self) -> nn.Parameter:
        """The table.  # shape: (vocabulary, width of the table)"""
        return self.table.weight

    def forward(self, tokens: Tensor) -> Tensor:  # shape: (B, T) -> (B, T, embedding_dim)
        return self.unit(self.dropout_module(self.scale * self.table(tokens)))


class UnitAttention(MultiheadAttention):
    """Self-attention, half as wide as the model, over the output of a unit."""

    def __init__(self, unit: DExTra, width: int, heads: int, dropout: float) -> None:
        super().__init__(width // 2, heads, dropout=dropout, self_attention=True)
        _zero_biases(self)
        self.out_proj = Linear(width // 2, width)
        self.unit = unit

    def forward(self, query: Tensor, key: Tensor, value: Tensor, **options):
        x = self.unit(query)  # shape: (T, B, width) -> (T, B, width / 2)
        return super().forward(x, x, x, **options)


def attention_to_encoder(width: int, inputs: int, heads: int, dropout: float) -> MultiheadAttention:
    """The decoder's attention to an encoder `inputs` wide: half as wide as the model, no unit."""
    inner = width // 2
    sides = {"kdim": inputs, "vdim": inputs, "encoder_decoder_attention": True}
    attention = MultiheadAttention(inner, heads, dropout=dropout, **sides)
    _zero_biases(attention)
    # Keys' and values' matrices are drawn as the halves of one.
    for projection in (attention.k_proj, attention.v_proj):
        gain = math.sqrt((inputs + inner) / (inputs + 2 * inner))
        nn.init.xavier_uniform_(projection.weight, gain)
    attention.q_proj, attention.out_proj = Linear(width, inner), Linear(inner, width)
    attention.skip_embed_dim_check = True  # queries are wider than the attention
    return attention


def _zero_biases(attention: MultiheadAttention) -> None:
    for projection in (attention.q_proj, attention.k_proj, attention.v_proj):
        nn.init.zeros_(projection.bias)
