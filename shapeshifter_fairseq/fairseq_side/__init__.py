"""fairseq's side: options, checkpoints, staged training, error lines; all but the models.

The models (../models) use this folder, and this folder uses the plain PyTorch outside of it. It
finds our architectures in fairseq's registry, where `shapeshifter_fairseq.models` puts them.
"""
