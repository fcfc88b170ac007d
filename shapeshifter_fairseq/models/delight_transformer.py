"""`--arch delight_transformer*`: DeLighT (Mehta et al., ICLR 2021), on fairseq's Transformer.

A unit (delight_units.py) transforms the input of each self-attention. Units are deeper and wider in
later blocks; feed-forward layers are narrow. Sizes and dropouts are those of the authors' code of
October 2020, which differ in places from the paper's figure 1 (docs/delight.md).
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from fairseq.models import register_model, register_model_architecture
from fairseq.models.transformer import (
    TransformerDecoder,
    TransformerEncoder,
    TransformerModel,
    base_architecture,
)
from fairseq.tasks import FairseqTask
from torch import nn
from torch.nn import functional

from ..errors import ShapeshifterError
from ..fairseq_side.checkpoints import file_of
from ..fairseq_side.factorized_model import need_one_dictionary, refuse
from .delight_units import (
    DExTra,
    MappedEmbedding,
    SentenceDropout,
    UnitAttention,
    attention_to_encoder,
    most_groups,
)

TABLE_WIDTH = 128  # of the embeddings, whatever the model's
EMBED_DEPTH, EMBED_MULTIPLIER = 4, 2.0  # of the unit between the table and the first block
SWISH = "swish"

_BLOCKS_DIFFER = "blocks differ in size, so none can take another's place"
_UNSUPPORTED = {
    "quant_noise_pq": "it does not know group-linear layers",
    "quant_noise_scalar": "it does not know group-linear layers",
    "cross_self_attention": "self-attention here sees the decoder alone, through a unit",
    "encoder_layers_to_keep": _BLOCKS_DIFFER,
    "decoder_layers_to_keep": _BLOCKS_DIFFER,
    "encoder_xformers_att_config": "the model has fairseq's own attention, without xformers",
    "decoder_xformers_att_config": "the model has fairseq's own attention, without xformers",
    "base_layers": "BASE layers are sharded over workers after the model is built",
    "tie_adaptive_weights": "the table is narrower than the model",
    "no_scale_embedding": "the table's scale is set for the unit behind it",
}
_OPTIONS = [
    ("--delight-min-depth", int, "N", "group-linear layers in the first block's unit (default 4)"),
    (
        *("--delight-max-depth", int, "N"),
        "group-linear layers in the last block's unit (default 8); also how many blocks encoder "
        "and decoder have, unless --encoder-layers and --decoder-layers are given",
    ),
    (
        *("--delight-width-multiplier", float, "W"),
        "the first block's unit is up to W times as wide as the model, later ones more (default 2)",
    ),
    ("--delight-dropout", float, "P", "dropout within units"),
    ("--delight-embed-dropout", float, "P", "dropout before and after the embeddings' unit"),
]


@register_model("delight_transformer")
class DelightTransformerModel(TransformerModel):
    """fairseq's Transformer with a unit after the embeddings and before each self-attention."""

    @classmethod
    def add_args(cls, parser: ArgumentParser) -> None:
        super().add_args(parser)
        for option, kind, metavar, text in _OPTIONS:
            parser.add_argument(option, type=kind, metavar=metavar, help=text)

    @classmethod
    def build_model(cls, args: Namespace, task: FairseqTask) -> DelightTransformerModel:
        delight_base(args)  # older checkpoints lack some of the options
        refuse(args, _UNSUPPORTED, "DeLighT")
        need_one_dictionary(args, task, "delight_transformer")
        _check_sizes(args)
        if not isinstance(args, Namespace):
            # From fairseq-hydra-train: fairseq would pass on no options but its own.
            args = Namespace(**args)
        return super().build_model(args, task)

    @classmethod
    def build_embedding(cls, args, dictionary, embed_dim, path=None) -> nn.Embedding:
        return super().build_embedding(args, dictionary, TABLE_WIDTH, path)

    @classmethod
    def build_encoder(cls, args, src_dict, embed_tokens) -> TransformerEncoder:
        width = args.encoder_embed_dim
        encoder = super().build_encoder(args, src_dict, _embedding(embed_tokens, width, args))
        _insert_units(encoder, width, args.encoder_attention_heads, args)
        return encoder

    @classmethod
    def build_decoder(cls, args, tgt_dict, embed_tokens) -> TransformerDecoder:
        width, heads = args.decoder_embed_dim, args.decoder_attention_heads
        decoder = super().build_decoder(args, tgt_dict, _embedding(embed_tokens, width, args))
        _insert_units(decoder, width, heads, args)
        for layer in _blocks(decoder):
            if layer.encoder_attn is not None:
                layer.encoder_attn = attention_to_encoder(
                    width, args.encoder_embed_dim, heads, args.attention_dropout
                )
        return decoder

    def load_state_dict(self, state_dict, strict=True, model_cfg=None, args=None):
        """As fairseq's, but a checkpoint of another model is explained in one line."""
        try:
            return super().load_state_dict(state_dict, strict, model_cfg, args)
        except RuntimeError as error:
            raise ShapeshifterError(
                f"{file_of(state_dict)} is of another model: use the dictionaries, the --arch and "
                "the sizes that it was trained with"
            ) from error


def unit_sizes(blocks: int, args: Namespace) -> list[tuple[int, float]]:
    """Depth and width multiplier of the unit of each block, first to last."""
    least, most, steps = args.delight_min_depth, args.delight_max_depth, max(1, blocks - 1)
    wider = most / least - 1
    return [
        (
            least + (most - least) * block // steps,
            round(args.delight_width_multiplier + wider * block / steps, 3),
        )
        for block in range(blocks)
    ]


def _embedding(table: nn.Embedding, width: int, args: Namespace) -> MappedEmbedding:
    sizes = (TABLE_WIDTH, width, width, EMBED_DEPTH, EMBED_MULTIPLIER)
    unit = DExTra(*sizes, args.delight_dropout)
    return MappedEmbedding(table, unit, width, args.delight_embed_dropout)


def _blocks(side: TransformerEncoder | TransformerDecoder) -> list[nn.Module]:
    """All blocks, by number: iterating over a list with LayerDrop leaves some out."""
    return [side.layers[i] for i in range(len(side.layers))]


def _insert_units(
    side: TransformerEncoder | TransformerDecoder, width: int, heads: int, args: Namespace
) -> None:
    side.embed_scale = 1.0  # the embedding scales its table's rows itself
    name = side.dropout_module.module_name
    side.dropout_module = SentenceDropout(args.delight_embed_dropout, module_name=name)
    layers = _blocks(side)
    for layer, (depth, multiplier) in zip(layers, unit_sizes(len(layers), args)):
        unit = DExTra(width, width // 2, width, depth, multiplier, args.delight_dropout)
        layer.self_attn = UnitAttention(unit, width, heads, args.attention_dropout)
        if args.activation_fn == SWISH:  # fairseq gives its class, not a function
            layer.activation_fn = functional.silu
        for linear in (layer.fc1, layer.fc2):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)


def _check_sizes(args: Namespace) -> None:
    for side in ("encoder", "decoder"):
        width = getattr(args, f"{side}_embed_dim")
        if width < 32 or width % 32 or width // 2 % most_groups(width):
            raise ShapeshifterError(
                f"--{side}-embed-dim {width}: groups do not divide this width; take a multiple of "
                "32 up to 512, or of 64 up to 1024"
            )
    if args.decoder_output_dim != TABLE_WIDTH:
        raise ShapeshifterError(
            f"--decoder-output-dim {args.decoder_output_dim}: leave it out; the output is as wide "
            f"as the embeddings' table, {TABLE_WIDTH}"
        )
    least, most = args.delight_min_depth, args.delight_max_depth
    if not 1 <= least <= most:
        raise ShapeshifterError(
            f"--delight-min-depth {least} --delight-max-depth {most}: a unit has 1 layer or more, "
            "and the last block's at least as many as the first's"
        )


# --- architectures ---------------------------------------------------------------------------
# Sizes, ties and dropouts of the authors' code; the options override each of them.


def _default(args: Namespace, **values: object) -> None:
    for name, value in values.items():
        setattr(args, name, getattr(args, name, value))


def _dropout(args: Namespace, most: float, width: int) -> float:
    """A dropout in proportion to the encoder's width, and `most` from `width` on."""
    return min(most, round(most * args.encoder_embed_dim / width, 2))


@register_model_architecture("delight_transformer", "delight_transformer")
def delight_base(args: Namespace) -> None:
    """512 wide, 8+8 blocks, units of 4 to 8 group-linear layers, nothing tied."""
    _default(args, encoder_embed_dim=512, delight_min_depth=4, delight_max_depth=8)
    _default(args, decoder_embed_dim=args.encoder_embed_dim, delight_width_multiplier=2.0)
    _default(args, encoder_layers=args.delight_max_depth, encoder_attention_heads=1)
    _default(args, decoder_layers=args.delight_max_depth, decoder_attention_heads=1)
    _default(args, encoder_ffn_embed_dim=args.encoder_embed_dim // 4, activation_fn=SWISH)
    _default(args, decoder_ffn_embed_dim=args.decoder_embed_dim // 4)
    _default(args, dropout=_dropout(args, 0.3, 1024), delight_embed_dropout=0.1)
    _default(args, attention_dropout=_dropout(args, 0.1, 1024))
    _default(args, delight_dropout=_dropout(args, 0.1, 512))
    _default(args, decoder_output_dim=TABLE_WIDTH)
    base_architecture(args)


@register_model_architecture("delight_transformer", "delight_transformer_iwslt")
def delight_iwslt(args: Namespace) -> None:
    """IWSLT'14 De-En: two dictionaries, decoder input tied to output, 320 wide: 14 million."""
    _default(args, encoder_embed_dim=320, share_decoder_input_output_embed=True)
    _default(args, dropout=_dropout(args, 0.3, 512), attention_dropout=_dropout(args, 0.1, 512))
    delight_base(args)


@register_model_architecture("delight_transformer", "delight_transformer_wmt16")
def delight_wmt16(args: Namespace) -> None:
    """WMT'16 En-Ro: one dictionary, all tied, 384 wide: 22 million parameters."""
    _default(args, encoder_embed_dim=384, share_all_embeddings=True)
    delight_base(args)


@register_model_architecture("delight_transformer", "delight_transformer_tiny")
def delight_tiny(args: Namespace) -> None:
    """Ours, for CPUs and small corpora: one dictionary, all tied, 128 wide, 4+4 equal blocks."""
    _default(args, encoder_embed_dim=128, delight_max_depth=4, share_all_embeddings=True)
    delight_base(args)


@register_model_architecture("delight_transformer", "delight_transformer_wmt14")
def delight_wmt14(args: Namespace) -> None:
    """WMT'14 En-De: one dictionary, all tied, 512 wide: 37 million; no dropout in units."""
    _default(args, share_all_embeddings=True, delight_dropout=0.0)
    delight_base(args)
