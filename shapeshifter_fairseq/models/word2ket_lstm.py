"""`--arch word2ket_lstm_*`: fairseq's LSTM with its embeddings in factors."""

from __future__ import annotations

from argparse import Namespace

from fairseq.models import register_model, register_model_architecture
from fairseq.models.lstm import LSTMModel, base_architecture
from fairseq.tasks import FairseqTask

from ..errors import ShapeshifterError
from ..factorizing import factorize
from ..fairseq_side.factorized_model import FactorizedModel, refuse
from ..fairseq_side.options import default_gain, gains_of, plan_of, say_what_is_lowered
from ..layers import EMBED_GAIN
from ..together import build_together

# Options of fairseq's LSTM that cannot work on factors, and why.
_UNSUPPORTED = {
    "adaptive_softmax_cutoff": "its clusters take the place of the output matrix",
    "encoder_embed_path": "a pretrained table is dense; here it is trained in factors",
    "decoder_embed_path": "a pretrained table is dense; here it is trained in factors",
    "encoder_freeze_embed": "a frozen table is a pretrained one; here it is trained in factors",
    "decoder_freeze_embed": "a frozen table is a pretrained one; here it is trained in factors",
}


@register_model("word2ket_lstm")
class Word2KetLSTMModel(FactorizedModel, LSTMModel):
    """fairseq's LSTM, encoder and decoder with attention, whose embeddings are word2ketXS, word2ket
    (Panahi et al., ICLR 2020; dissertation, chapter 3) or of another family.

    The output projection is dense, as in the dissertation, unless it is tied to the embedding
    (--share-decoder-input-output-embed); so are the recurrent and attention matrices.
    """

    @classmethod
    def build_model(cls, args: Namespace, task: FairseqTask) -> Word2KetLSTMModel:
        word2ket_lstm(args)  # older checkpoints lack some of the options
        refuse(args, _UNSUPPORTED)
        if args.criterion == "adaptive_loss":
            raise ShapeshifterError(
                "--criterion adaptive_loss needs an adaptive softmax, which this model does not "
                "have; take cross_entropy or label_smoothed_cross_entropy"
            )
        try:
            model = build_together(super().build_model(args, task))
        except ValueError as error:  # ties and sizes that do not fit: fairseq says so in one line
            raise ShapeshifterError(str(error)) from error
        plan = plan_of(args, {"*.embed_tokens": "--embed-rank"})
        say_what_is_lowered(plan, model)
        return factorize(model, plan, **gains_of(args))


@register_model_architecture("word2ket_lstm", "word2ket_lstm_gigaword")
@register_model_architecture("word2ket_lstm", "word2ket_lstm_iwslt")
def word2ket_lstm(args: Namespace) -> None:
    """The model of both experiments (section 3.5): one layer, bidirectional encoder, 256 wide, even
    if the embeddings get another width; nothing tied; word2ketXS of order 2."""
    args.factorization = getattr(args, "factorization", "word2ketxs")
    args.embed_rank = getattr(args, "embed_rank", "<=10")
    args.factor_plan = getattr(args, "factor_plan", "")
    args.embed_gain = getattr(args, "embed_gain", default_gain(args, EMBED_GAIN))
    args.dropout = getattr(args, "dropout", 0.2)
    args.encoder_bidirectional = getattr(args, "encoder_bidirectional", True)
    args.encoder_embed_dim = getattr(args, "encoder_embed_dim", 256)
    args.encoder_hidden_size = getattr(args, "encoder_hidden_size", 256)
    args.decoder_embed_dim = getattr(args, "decoder_embed_dim", 256)
    args.decoder_hidden_size = getattr(args, "decoder_hidden_size", 256)
    args.decoder_out_embed_dim = getattr(args, "decoder_out_embed_dim", 256)
    args.adaptive_softmax_cutoff = getattr(args, "adaptive_softmax_cutoff", None)
    base_architecture(args)
