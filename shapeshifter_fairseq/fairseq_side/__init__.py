"""fairseq's side: options, checkpoints, staged training, error lines; all that is no model.

The models (../models) use what is here, and it uses the plain PyTorch outside of this folder. What
needs an architecture of ours finds it in fairseq's registry, where `shapeshifter_fairseq.models`
puts it.
"""
