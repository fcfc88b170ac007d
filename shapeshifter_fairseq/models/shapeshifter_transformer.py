"""`--arch shapeshifter_transformer*`: fairseq's Transformer with every matrix in factors."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial
from types import MappingProxyType

import torch
from fairseq.models import register_model, register_model_architecture
from fairseq.models.transformer import TransformerModel, base_architecture, transformer_iwslt_de_en
from fairseq.modules import MultiheadAttention
from fairseq.tasks import FairseqTask
from torch import Tensor, nn

from ..errors import ShapeshifterError
from ..factorizations import Factorization
from ..factorizations.cost import MANY
from ..factorizing import factorize, fold
from ..fairseq_side.factorized_model import FactorizedModel, need_one_dictionary, refuse
from ..fairseq_side.options import (
    TRANSFORMER_RANKS,
    add_layer_options,
    add_stage_options,
    default_gain,
    gains_of,
    plan_of,
    say_what_is_lowered,
)
from ..fairseq_side.staging import stage_in_trainer
from ..layers import EMBED_GAIN, LAYER_GAIN, FactorizedLayer, FactorizedLinear
from ..plan import Family
from ..stages import Stages
from ..together import build_together
from ..undrawn import Undrawn

# Options of fairseq's Transformer that cannot work on factors, and why.
_UNSUPPORTED = {
    "quant_noise_pq": "it drops blocks of a stored dense weight, and none is stored",
    "quant_noise_scalar": "it quantizes stored dense weights, and none is stored",
    "quantization_config_path": "it quantizes stored dense weights, and none is stored",
    "adaptive_softmax_cutoff": "its clusters split the output matrix, which is factorized whole",
    "adaptive_input": "its clusters split the embedding table, which is factorized whole",
    "encoder_embed_path": "a pretrained table is dense; here it is trained in factors",
    "decoder_embed_path": "a pretrained table is dense; here it is trained in factors",
    "mha_heads_to_keep": "pruning of heads cuts rows out of a stored dense weight",
    "ffn_blocks_to_remove": "pruning cuts rows out of a stored dense weight",
    "base_layers": "BASE layers are sharded over workers after the model is built",
}


FEW = 5  # vectors of a beam


@register_model("shapeshifter_transformer")
class ShapeshifterTransformerModel(FactorizedModel, TransformerModel):
    """fairseq's Transformer whose attention, feed-forward, embedding and output matrices are sums
    of Kronecker products (Panahi et al., NeurIPS 2021; dissertation, chapter 4), or factors of
    another family.
    """

    stages: Stages | None = None  # with --stage-updates: what is dense at first, and until when
    # The factors of folded layers, by name, so that a checkpoint loaded later can be folded.
    _factors_before: Mapping[str, Factorization] = MappingProxyType({})

    @classmethod
    def add_args(cls, parser: ArgumentParser) -> None:
        super().add_args(parser)
        add_layer_options(parser)
        add_stage_options(parser)

    @classmethod
    def build_model(cls, args: Namespace, task: FairseqTask) -> ShapeshifterTransformerModel:
        shapeshifter_base(args)  # older checkpoints lack some of the options
        cls.refuse_what_cannot_work(args, task)
        plan, gains = plan_of(args, TRANSFORMER_RANKS), gains_of(args)
        staged, undrawn = args.stage_updates is not None, Undrawn()
        # A matrix that becomes factors at once does not need its numbers.
        try:
            with nullcontext() if staged or plan.is_dense else undrawn:
                model = super().build_model(args, task)
        except ShapeshifterError:
            raise
        except (ValueError, AssertionError) as error:  # sizes and ties that do not fit each other
            raise ShapeshifterError(f"these sizes or ties cannot be: {error}") from error
        say_what_is_lowered(plan, model)
        if not plan.is_dense:
            build_together(model)
        if staged:
            model.stages = Stages.of(model, plan, gains, args.stage_updates, args.stage_order)
            stage_in_trainer()
            return model
        factorize(model, plan, **gains, std_of=undrawn.std_of)
        undrawn.draw_rest_(model)
        model.choose_attention_()
        return model

    @staticmethod
    def refuse_what_cannot_work(args: Namespace, task: FairseqTask) -> None:
        """Raise a `ShapeshifterError` about an option of fairseq's that cannot work on factors."""
        refuse(args, _UNSUPPORTED)
        if args.stage_order is not None and args.stage_updates is None:
            raise ShapeshifterError(
                f"--stage-order {args.stage_order} is the order of stages: give --stage-updates too"
            )
        need_one_dictionary(args, task, "shapeshifter_transformer")

    def load_state_dict(self, state_dict, strict=True, model_cfg=None, args=None):
        """As fairseq's, but in a model with stages, matrices that are factors in the checkpoint
        become factors first; after `make_generation_fast_` the checkpoint's factors are folded."""
        state_dict = self._folded(state_dict)
        if self.stages is not None:
            self.stages.take_shape_of(state_dict, self)
            self.choose_attention_()
        return super().load_state_dict(state_dict, strict, model_cfg, args)

    def _folded(self, state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
        """A checkpoint with whole matrices where `make_generation_fast_` folded the model's."""
        if not self._factors_before:
            return state_dict
        state = dict(state_dict)
        for name, factors in self._factors_before.items():
            prefix = f"{name}.factors."
            held = [key for key in state if key.startswith(prefix)]
            if held:
                try:
                    factors.load_state_dict({key[len(prefix) :]: state.pop(key) for key in held})
                except RuntimeError as error:
                    raise ShapeshifterError(
                        f"the checkpoint is of another model: {name} has other factors there; use "
                        "the ranks and the --factorization that it was trained with"
                    ) from error
                state[f"{name}.weight"] = factors.materialize().detach()
        return state

    def choose_attention_(self) -> None:
        """Let attention call its projections where they are cheaper factor by factor.

        Otherwise fairseq hands their weights to torch's own attention, which needs them whole. Call
        it when layers or the device have changed.
        """
        for module in self.modules():
            if isinstance(module, MultiheadAttention):
                layers = (module.q_proj, module.k_proj, module.v_proj, module.out_proj)
                # fairseq's switch between the two ways, made for pruned heads.
                module.skip_embed_dim_check = all(
                    _is_cheaper_by_factors(layer, MANY) for layer in layers
                )

    def _apply(self, fn, recurse: bool = True) -> ShapeshifterTransformerModel:  # .cuda(), ...
        super()._apply(fn, recurse)
        self.choose_attention_()
        return self

    def make_generation_fast_(self, **kwargs) -> None:
        """As fairseq's. A model is not trained after this call, so the layers become ordinary ones,
        except those that are faster factor by factor."""
        self.eval()
        with torch.no_grad():
            before = _factors_of(self)
            fold(self, keep=partial(_is_cheaper_by_factors, vectors=FEW))
            after = _factors_of(self)
        if before != after:  # called again, there is nothing left to fold
            self._factors_before = {name: before[name] for name in before.keys() - after.keys()}
        self.choose_attention_()
        super().make_generation_fast_(**kwargs)


def _factors_of(model: nn.Module) -> dict[str, Factorization]:
    """The factors of each layer that has some, by the layer's names."""
    layers = model.named_modules(remove_duplicate=False)
    return {name: layer.factors for name, layer in layers if isinstance(layer, FactorizedLayer)}


def _is_cheaper_by_factors(layer: nn.Module, vectors: int) -> bool:
    """Whether a linear layer is faster without W; not if it is tied to an embedding (zero row)."""
    if not isinstance(layer, FactorizedLinear) or layer.factors.zero_row is not None:
        return False
    return layer.factors.is_cheaper_by_factors(vectors)


# --- architectures ---------------------------------------------------------------------------
# Sizes, ties and ranks of the dissertation's tables 5b to 7; the options override each of them. A
# rank '<=R' is lowered where a small dictionary or a narrow model does not allow R.


@register_model_architecture("shapeshifter_transformer", "shapeshifter_transformer")
def shapeshifter_base(args: Namespace) -> None:
    """fairseq's base Transformer (6+6 blocks, 512 wide, 2048 FFN, 8 heads), nothing tied."""
    args.factorization = getattr(args, "factorization", Family.name)
    args.layer_rank = getattr(args, "layer_rank", "<=64")
    args.embed_rank = getattr(args, "embed_rank", "<=256")
    args.factor_plan = getattr(args, "factor_plan", "")
    args.layer_gain = getattr(args, "layer_gain", default_gain(args, LAYER_GAIN))
    args.embed_gain = getattr(args, "embed_gain", default_gain(args, EMBED_GAIN))
    args.stage_updates = getattr(args, "stage_updates", None)
    args.stage_order = getattr(args, "stage_order", None)
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
    args.layer_rank = getattr(args, "layer_rank", "<=24")
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
    args.layer_rank = getattr(args, "layer_rank", "<=7")
    args.embed_rank = getattr(args, "embed_rank", "<=150")
    shapeshifter_wmt14(args)
