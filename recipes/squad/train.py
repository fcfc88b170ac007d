"""Train a reader on one of SQuAD's files, and answer the other's questions after each epoch.

    python -m recipes.squad.train train-v1.1.json dev-v1.1.json RUN --embed-rank 1

Writes RUN/checkpoint.pt, and at the end the files of report.py. If killed, it resumes after the
last whole epoch, with the same result.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from shapeshifter_fairseq import Plan, factorize
from shapeshifter_fairseq.plan import Family
from shapeshifter_fairseq.writing import whole_file

from ..console import Parser, number, positive
from .questions import Question, read, vocabulary
from .reader import PADDING, Reader, best_spans
from .report import report
from .score import score


class Training:
    """A reader, its questions, and the results of its epochs.

    Args:
        args: options of this command.

    Raises:
        ValueError: if a file, or a setting, cannot be used.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.file = args, args.run / "checkpoint.pt"
        self.train, self.dev = read(args.train), read(args.dev)
        # Words of both files, as in DrQA's code: so a word that is never trained on still differs
        # from others, and is recognised in question and paragraph.
        self.numbers = vocabulary(self.train + self.dev)
        torch.manual_seed(args.seed)
        sizes = args.width, args.hidden, args.layers, args.dropout
        self.model = Reader(len(self.numbers) + 1, *sizes)
        family = Family.parse(args.factorization, "--factorization")
        factorize(self.model, Plan.parse(f"embed={args.embed_rank}", "--embed-rank", family))
        self.model.to(args.device)
        self.optimizer = torch.optim.Adamax(self.model.parameters(), lr=args.lr)
        self.epochs: list[dict[str, float]] = []
        if self.file.exists():
            saved = torch.load(self.file, map_location=args.device, weights_only=True)
            self.model.load_state_dict(saved["model"])
            self.optimizer.load_state_dict(saved["optimizer"])
            self.epochs = saved["epochs"]
        if len(self.epochs) > args.epochs:
            raise ValueError(
                f"{self.file} has {len(self.epochs)} epochs; give --epochs {len(self.epochs)} or "
                "more, or another --out"
            )

    def run(self) -> None:
        """Train the epochs that are missing, and write the report."""
        while len(self.epochs) < self.args.epochs:
            before = self.epochs[-1] if self.epochs else {"updates": 0, "seconds": 0}
            begun, losses = time.monotonic(), self._learn()
            found = {"updates": before["updates"] + len(losses), "train_nll_loss": fmean(losses)}
            found |= self._answer()[0]
            found["seconds"] = round(before["seconds"] + time.monotonic() - begun, 1)
            self.epochs.append(found)
            self._say(epoch=len(self.epochs), **found)
            state = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
            with whole_file(self.file) as part:
                torch.save({**state, "epochs": self.epochs}, part)
        report(self.args, self.model, self.epochs, self.dev, self._answer()[1])

    def _learn(self) -> list[float]:
        """Train an epoch; the loss of each update."""
        done, losses = len(self.epochs), []
        random.seed(f"{self.args.seed} {done}")  # the same in a new process
        torch.manual_seed(random.getrandbits(32))
        batches = self._batches(self.train, spread=0.1)
        random.shuffle(batches)
        self.model.train()
        for batch in batches:
            loss = self._nll(batch)[0].mean()
            losses.append(loss.item())
            if not math.isfinite(losses[-1]):
                raise ValueError(f"the loss is {losses[-1]} in epoch {done + 1}; lower --lr")
            self.optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 10)
            self.optimizer.step()
            if len(losses) % 50 == 0:
                self._say(len(losses) / len(batches), loss=losses[-1])
        return losses

    def _say(self, more: float = 0, **found: float) -> None:
        """A line for the log and the bar, after the finished epochs and `more` of the next one."""
        percent = int(100 * (len(self.epochs) + more) / self.args.epochs)
        found = {name: round(value, 3) for name, value in found.items()}
        print(json.dumps({"percent": percent, **found}), flush=True)

    @torch.no_grad()
    def _answer(self) -> tuple[dict[str, float], list[str]]:
        """Scores on the other file, and an answer to each of its questions."""
        self.model.eval()
        losses, by_id = 0.0, {}
        for batch in self._batches(self.dev):
            nll, scores = self._nll(batch)
            losses += nll.sum().item()
            spans = best_spans(scores).tolist()
            by_id |= {one.id: one.paragraph.between(*span) for one, span in zip(batch, spans)}
        answers = [by_id[one.id] for one in self.dev]
        scores = score(answers, [one.answers for one in self.dev])
        return {"nll_loss": losses / len(self.dev), **scores}, answers

    def _batches(self, questions: Sequence[Question], spread: float = 0) -> list[list[Question]]:
        """Batches of questions whose paragraphs are about equally long; `spread` mixes lengths."""
        mixed = partial(random.uniform, 1 - spread, 1 + spread)
        ordered = sorted(questions, key=lambda one: len(one.paragraph.words) * mixed())
        return [ordered[i : i + self.args.batch] for i in range(0, len(ordered), self.args.batch)]

    def _nll(self, batch: Sequence[Question]) -> tuple[Tensor, Tensor]:
        """Bits for both ends of each answer, and all log-probabilities.  # shape: (B), (B, 2, T)"""
        scores = self.model(*(each.to(self.args.device) for each in inputs(batch, self.numbers)))
        spans = torch.tensor([one.span for one in batch], device=scores.device)
        return -scores.gather(2, spans[..., None]).sum((1, 2)) / math.log(2), scores


def inputs(questions: Sequence[Question], numbers: dict[str, int]) -> list[Tensor]:
    """The inputs of a `Reader` for several questions."""
    rows = []
    for one in questions:
        words, asked = one.paragraph.words, set(one.words)
        lowered = {word.lower() for word in asked}
        same = [(word in asked, word.lower() in lowered) for word in words]
        texts = ([numbers[word] for word in text] for text in (words, one.words))
        rows.append([*map(torch.tensor, texts), torch.tensor(same, dtype=torch.float)])
    return [pad_sequence(each, batch_first=True, padding_value=PADDING) for each in zip(*rows)]


def main() -> None:
    parser = Parser("TRAIN DEV RUN --embed-rank RANK [options]", "Train a reader and score it.")
    add = parser.add_argument
    for name in ("train", "dev", "run"):
        add(name, type=Path)
    add("--factorization", default="word2ketxs", help="family of the embeddings")
    add("--embed-rank", required=True, help="their rank, or dense")
    add("--model", default="reader", help="its name in the report")
    add("--device", default="cpu")
    add("--seed", type=number, default=1)
    # Epochs, width, hidden and layers are the dissertation's, the others those of DrQA's code.
    add("--epochs", type=positive, default=40)
    add("--width", type=positive, default=300, help="of the embeddings")
    add("--hidden", type=positive, default=128, help="units of an LSTM in each direction")
    add("--layers", type=positive, default=3, help="of both stacks of LSTMs")
    add("--dropout", type=float, default=0.4)
    add("--lr", type=float, default=2e-3, help="of Adamax")
    add("--batch", type=positive, default=32, help="questions an update")
    try:
        Training(parser.parse_args()).run()
    except (OSError, ValueError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
