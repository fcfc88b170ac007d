"""`--arch shapeshifter_transformer*`: fairseq's Transformer with every matrix in factors."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, Namespace

from fairseq.models import register_model, register_model_architecture
from fairseq.models.transformer import TransformerModel, base_architecture, transformer_iwslt_de_en
from fairseq.tasks import FairseqTask
from torch import Tensor

from ..errors import ShapeshifterError
from ..factorizations import FAMILIES
from ..factorize import factorize, fold
from ..layers import EMBED_GAIN, LAYER_GAIN
from ..plan import DENSE, Family, Plan, Rule, Spec

# Options of fairseq's Transformer that cannot work on factors, and why.
_UNSUPPORTED = {
    "quant_noise_pq": "it drops blocks of a stored dense weight, and none is stored",
    "quant_noise_scalar": "it quantizes stored dense weights, and none is stored",
    "adaptive_softmax_cutoff": "its clusters split the output matrix, which is factorized whole",
    "adaptive_input": "its clusters split the embedding table, which is factorized whole",
    "encoder_embed_path": "a pretrained table is dense; here it is trained in factors",
    "decoder_embed_path": "a pretrained table is dense; here it is trained in factors",
    "mha_heads_to_keep": "pruning of heads cuts rows out of a stored dense weight",
    "ffn_blocks_to_remove": "pruning cuts rows out of a stored dense weight",
    "base_layers": "BASE layers are sharded over workers after the model is built",
}


@register_model("shapeshifter_transformer")
class ShapeshifterTransformerModel(TransformerModel):
    """fairseq's Transformer whose attention, feed-forward, embedding and output matrices are sums
    of Kronecker products (Panahi et al., NeurIPS 2021; dissertation, chapter 4), or factors of
    another family.

    The ordinary model is built first and then factorized in place, so every option of fairseq's
    own Transformer means here what it means there.
    """

    @classmethod
    def add_args(cls, parser: ArgumentParser) -> None:
        super().add_args(parser)
        parser.add_argument(
            "--factorization",
            metavar="NAME",
            help=f"family of the factors: {', '.join(sorted(FAMILIES))}; options of the family "
            "follow its name, for example 'monarch/blocks=8'",
        )
        parser.add_argument(
            "--layer-rank",
            type=_rank,
            metavar="R",
            help="rank of every attention projection and feed-forward matrix, or 'dense'",
        )
        parser.add_argument(
            "--embed-rank",
            type=_rank,
            metavar="R",
            help="rank of the embeddings and of the output projection, tied or not, or 'dense'",
        )
        parser.add_argument(
            "--factor-plan",
            metavar="RULES",
            help="rules that give single matrices another rank or family or leave them dense, for "
            "example 'decoder.layers.0.*=32,decoder.*.fc?=monarch:2/blocks=4,encoder.*.fc?=dense'; "
            "the last matching rule wins",
        )
        parser.add_argument(
            "--layer-gain",
            type=float,
            metavar="G",
            help="step size of the layers' matrices: how far Adam's first update moves an entry "
            f"of W, in learning rates (default {LAYER_GAIN}; a dense matrix has 1). Lower it if "
            "training diverges",
        )
        parser.add_argument(
            "--embed-gain",
            type=float,
            metavar="G",
            help=f"the same for embeddings (default {EMBED_GAIN})",
        )

    @classmethod
    def build_model(cls, args: Namespace, task: FairseqTask) -> ShapeshifterTransformerModel:
        shapeshifter_base(args)  # options that an older checkpoint does not have yet
        _refuse_what_cannot_work(args, task)
        model = super().build_model(args, task)
        return factorize(
            model, _plan_of(args), layer_gain=args.layer_gain, embed_gain=args.embed_gain
        )

    def forward(self, *args, **kwargs):
        """As fairseq's; a small table that is tied to the output is built once for all its uses."""
        table, output = self.decoder.embed_tokens, self.decoder.output_projection
        factors = getattr(table, "factors", None)
        if not self.training or factors is None or factors is not getattr(output, "factors", None):
            return super().forward(*args, **kwargs)
        with factors.shared():
            return super().forward(*args, **kwargs)

    def make_generation_fast_(self, **kwargs) -> None:
        """As fairseq's, after which no model trains: so the layers become ordinary ones here."""
        fold(self)
        super().make_generation_fast_(**kwargs)

    def load_state_dict(self, state_dict, strict=True, model_cfg=None, args=None):
        """As fairseq's, but a checkpoint of another model is explained in one line."""
        try:
            return super().load_state_dict(state_dict, strict, model_cfg, args)
        except RuntimeError as error:
            raise ShapeshifterError(_why_it_does_not_load(self, state_dict)) from error


def _plan_of(args: Namespace) -> Plan:
    for option in ("--layer-gain", "--embed-gain"):
        gain = getattr(args, option[2:].replace("-", "_"))
        if gain <= 0:
            raise ShapeshifterError(f"{option} {gain}: a step size is a number above 0")
    family = Family.parse(args.factorization, f"--factorization {args.factorization}")

    def rule(pattern: str, option: str, rank: int | str) -> Rule:
        spec = None if rank == DENSE else Spec(rank, family)
        return Rule(pattern, spec, f"--factorization {args.factorization} {option} {rank}")

    defaults = Plan(
        (
            rule("*", "--layer-rank", args.layer_rank),
            rule("*.embed_tokens", "--embed-rank", args.embed_rank),
            rule("*.output_projection", "--embed-rank", args.embed_rank),
        )
    )
    return defaults + Plan.parse(args.factor_plan, "--factor-plan", family)


def _rank(text: str) -> int | str:
    if text != DENSE and not text.lstrip("-").isdecimal():
        raise ArgumentTypeError(f"{text!r} is neither a whole number nor {DENSE!r}")
    return text if text == DENSE else int(text)


def _refuse_what_cannot_work(args: Namespace, task: FairseqTask) -> None:
    for name, why in _UNSUPPORTED.items():
        if getattr(args, name, None) not in (None, False, 0, -1, ""):
            option = "--" + name.replace("_", "-")
            raise ShapeshifterError(f"{option} does not work with factorized matrices: {why}")
    if getattr(args, "ddp_backend", None) == "fully_sharded":
        raise ShapeshifterError(
            "--ddp-backend fully_sharded flattens the layers before they can be factorized; "
            "leave it out: a factorized model and its optimizer state are small"
        )
    if args.share_all_embeddings and task.source_dictionary != task.target_dictionary:
        raise ShapeshifterError(
            "this architecture shares all embeddings and needs one dictionary for both languages: "
            "run fairseq-preprocess with --joined-dictionary, or train with "
            "--arch shapeshifter_transformer, which ties nothing unless told to"
        )


def _why_it_does_not_load(
    model: ShapeshifterTransformerModel, state_dict: dict[str, Tensor]
) -> str:
    ours = model.state_dict()
    for name, tensor in ours.items():
        if name in state_dict and state_dict[name].shape != tensor.shape:
            table = "embed_tokens" in name or "output_projection" in name
            with_what = "the dictionary and the --embed-rank" if table else "the --layer-rank"
            return (
                f"the checkpoint is of another model: {name} is {tuple(state_dict[name].shape)} "
                f"there and {tuple(tensor.shape)} here; use {with_what} (--arch, --factorization, "
                "--factor-plan) that it was trained with"
            )
    missing = [name for name in ours if name not in state_dict]
    surplus = [name for name in state_dict if name not in ours]
    odd = f"it lacks {missing[0]}" if missing else f"it has {surplus[0]}, which this model lacks"
    return (
        f"the checkpoint is of another model: {odd} ({len(missing)} missing, {len(surplus)} "
        "surplus); use the --arch, --factorization and --factor-plan that it was trained with"
    )


# --- architectures ---------------------------------------------------------------------------
# Sizes, ties and ranks of the dissertation's tables 5b to 7; the options override each of them.


@register_model_architecture("shapeshifter_transformer", "shapeshifter_transformer")
def shapeshifter_base(args: Namespace) -> None:
    """fairseq's base Transformer (6+6 blocks, 512 wide, 2048 FFN, 8 heads), nothing tied."""
    args.factorization = getattr(args, "factorization", Family.name)
    args.layer_rank = getattr(args, "layer_rank", 64)
    args.embed_rank = getattr(args, "embed_rank", 256)
    args.factor_plan = getattr(args, "factor_plan", "")
    args.layer_gain = getattr(args, "layer_gain", LAYER_GAIN)
    args.embed_gain = getattr(args, "embed_gain", EMBED_GAIN)
    base_architecture(args)


@register_model_architecture("shapeshifter_transformer", "shapeshifter_transformer_iwslt")
def shapeshifter_iwslt(args: Namespace) -> None:
    """IWSLT'14 De-En (table 5b): two dictionaries, decoder input tied to output, ranks 64/256."""
    args.share_decoder_input_output_embed = getattr(args, "share_decoder_input_output_embed", True)
    transformer_iwslt_de_en(args)
    shapeshifter_base(args)


@register_model_architecture("shapeshifter_transformer", "shapeshifter_transformer_wmt16")
def shapeshifter_wmt16(args: Namespace) -> None:
    """WMT'16 En-Ro (table 6): one dictionary, all tied, ranks 24/256."""
    args.layer_rank = getattr(args, "layer_rank", 24)
    shapeshifter_wmt14(args)


@register_model_architecture("shapeshifter_transformer", "shapeshifter_transformer_wmt14")
def shapeshifter_wmt14(args: Namespace) -> None:
    """WMT'14 En-De and En-Fr (table 7): one dictionary, all tied, ranks 64/256."""
    args.share_all_embeddings = getattr(args, "share_all_embeddings", True)
    shapeshifter_base(args)


@register_model_architecture("shapeshifter_transformer", "shapeshifter_transformer_tiny")
def shapeshifter_tiny(args: Namespace) -> None:
    """For CPUs and small corpora: 4+4 blocks, 128 wide, one dictionary, all tied, ranks 7/150."""
    args.encoder_layers = getattr(args, "encoder_layers", 4)
    args.decoder_layers = getattr(args, "decoder_layers", 4)
    args.encoder_embed_dim = getattr(args, "encoder_embed_dim", 128)
    args.encoder_ffn_embed_dim = getattr(args, "encoder_ffn_embed_dim", 256)
    args.encoder_attention_heads = getattr(args, "encoder_attention_heads", 4)
    args.decoder_attention_heads = getattr(args, "decoder_attention_heads", 4)
    args.layer_rank = getattr(args, "layer_rank", 7)
    args.embed_rank = getattr(args, "embed_rank", 150)
    shapeshifter_wmt14(args)
