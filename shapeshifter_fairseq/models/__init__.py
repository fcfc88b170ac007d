"""The fairseq models; fairseq imports this folder by itself when it is given `--user-dir`."""

from . import comparisons  # noqa: F401  (registers its architectures)
from ._checkpoints import allow_fairseq_checkpoints
from ._errors import report_mistakes_in_one_line
from .shapeshifter_transformer import ShapeshifterTransformerModel
from .word2ket_lstm import Word2KetLSTMModel

allow_fairseq_checkpoints()
report_mistakes_in_one_line()

__all__ = ["ShapeshifterTransformerModel", "Word2KetLSTMModel"]
