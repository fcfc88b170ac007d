"""The fairseq models; fairseq imports this folder by itself when it is given `--user-dir`."""

import sys

from ..fairseq_side.one_line_errors import (
    name_checkpoints_in_errors,
    report_mistakes_in_one_line,
)
from ..fairseq_side.safe_types import allow_fairseq_checkpoints
from . import presets  # noqa: F401  (registers its architectures)
from .delight_transformer import DelightTransformerModel
from .shapeshifter_transformer import ShapeshifterTransformerModel
from .word2ket_lstm import Word2KetLSTMModel

allow_fairseq_checkpoints()
name_checkpoints_in_errors()
if "fairseq_cli" in sys.modules:  # under fairseq's commands, not in anybody's Python
    report_mistakes_in_one_line()

__all__ = ["DelightTransformerModel", "ShapeshifterTransformerModel", "Word2KetLSTMModel"]
