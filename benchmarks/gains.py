"""Each of fairseq's optimizers on the dense and the factorized model: training nll, by gains.

    python benchmarks/gains.py DATA [OPTIMIZER ...]

DATA is binarised with one dictionary. Every run takes 80 updates on the CPU. Each line has a
learning rate, and the nll of the dense model and of the factorized one by the gains of its layers
and tables.
"""

from __future__ import annotations

import contextlib
import io
import logging
import sys
from tempfile import TemporaryDirectory

import torch
from fairseq import distributed_utils, options
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.trainer import Trainer
from fairseq_cli.train import main as train

USER_DIR = "shapeshifter_fairseq"
MODEL = (
    "--arch shapeshifter_transformer_tiny --encoder-layers 2 --decoder-layers 2 "
    "--encoder-embed-dim 64 --encoder-ffn-embed-dim 128 --layer-rank 6 --embed-rank 30"
).split()
TRAINING = (
    "--lr-scheduler inverse_sqrt --warmup-updates 20 --criterion cross_entropy --dropout 0 "
    "--max-tokens 600 --max-update 80 --clip-norm 0 --cpu --num-workers 0 --seed 1 "
    "--no-save --disable-validation --log-format none --log-interval 1"
).split()
# Those that run without a GPU, with rates around the one that suits the dense model.
OPTIMIZERS = {
    "sgd": ("--optimizer sgd --momentum 0.9", (0.03, 0.1, 0.3)),
    "nag": ("--optimizer nag --momentum 0.9", (0.03, 0.1, 0.3)),
    "adagrad": ("--optimizer adagrad", (0.01, 0.03)),
    "adadelta": ("--optimizer adadelta", (3.0, 10.0)),
    "adamax": ("--optimizer adamax", (0.003, 0.01)),
    "adafactor": ("--optimizer adafactor", (0.003, 0.01)),
    "adafactor, relative": ("--optimizer adafactor --scale-parameter", (0.03, 0.1)),
    "adam": ("--optimizer adam", (0.003, 0.01)),
}
DENSE = ["--factor-plan", "*=dense"]
GAINS = {"2 and 6": (2, 6), "1 and 1": (1, 1)}


def nll(data: str, *more: str) -> float:
    """Mean training nll (bits a token) of the last twenty updates; NaN where it diverged."""
    losses: list[float] = []
    step = Trainer.train_step

    def kept(self, samples, raise_oom=False):
        out = step(self, samples, raise_oom)
        if out is not None:
            losses.append(float(out["nll_loss"] if "nll_loss" in out else out["loss"]))
        return out

    Trainer.train_step = kept
    with TemporaryDirectory() as save, contextlib.redirect_stdout(io.StringIO()):
        parser = options.get_training_parser()
        words = [data, "--user-dir", USER_DIR, *MODEL, *TRAINING, "--save-dir", save, *more]
        args = options.parse_args_and_arch(parser, words)
        try:
            distributed_utils.call_main(convert_namespace_to_omegaconf(args), train)
        # fairseq looks for the layer where NaN arose, and fails at outputs that are not tensors.
        except (FloatingPointError, StopIteration, OverflowError):
            return float("nan")
        finally:
            Trainer.train_step = step
    return sum(losses[-20:]) / 20 if len(losses) >= 80 else float("nan")


def main() -> None:
    logging.disable(logging.INFO)
    torch.set_num_threads(1)
    data, *names = sys.argv[1:]
    for name in names or OPTIMIZERS:
        words, rates = OPTIMIZERS[name]
        found = {}
        for rate in rates:
            how = [*words.split(), "--lr", str(rate)]
            found[rate] = {"dense": nll(data, *how, *DENSE)}
            for gains, (layer, embed) in GAINS.items():
                which = ["--layer-gain", str(layer), "--embed-gain", str(embed)]
                found[rate][gains] = nll(data, *how, *which)
            print(name, rate, {k: round(v, 3) for k, v in found[rate].items()}, flush=True)


if __name__ == "__main__":
    main()
