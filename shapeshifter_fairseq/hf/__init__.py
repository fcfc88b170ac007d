"""Hugging Face models in factors, with transformers' own `save_pretrained` and `from_pretrained`::

    from shapeshifter_fairseq import hf

    model = hf.factorize(T5ForConditionalGeneration(config), "*=16,shared=256")
    model.save_pretrained("small")
    T5ForConditionalGeneration.from_pretrained("small")  # or AutoModelForSeq2SeqLM
    AutoModel.from_pretrained("dense", quantization_config=hf.FactorConfig("*encoder*=64"))
    model.dequantize()  # ordinary layers again

Import this module before you load such a model. `StagedFactorization` factorizes a model block by
block while transformers' `Trainer` trains it.
"""

from .quantizer import FactorConfig, FactorQuantizer, factorize
from .staging import StagedFactorization

__all__ = ["FactorConfig", "FactorQuantizer", "StagedFactorization", "factorize"]
