"""(i) Updates a second of fairseq-train itself, against the dense model's; with --fp16 on a GPU.

Both models train in turn on made-up sentences of 25 tokens with the papers' dictionaries. The rate
is fairseq's own count, over the updates after the first third.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from fairseq.data import Dictionary
from models import LENGTH, VOCABULARIES
from pairs import Row, compared, missing_gpu, write

import shapeshifter_fairseq

BAR = 0.98  # at least
USER_DIR = Path(shapeshifter_fairseq.__file__).parent
TOKENS = (4096, 16384)
UPDATES = 90
SENTENCES = 40_000


def measure(quick: bool) -> Iterator[Row]:
    gpu = torch.cuda.is_available()
    for tokens in TOKENS if gpu else ():
        for name in ["iwslt"] if quick else VOCABULARIES:
            with tempfile.TemporaryDirectory() as folder:
                data = corpus(Path(folder), *VOCABULARIES[name], SENTENCES)
                yield rates(name, data, tokens, UPDATES, 2 if quick else 4, "--fp16")
    yield from missing_gpu("updates a second of fairseq-train --fp16 (at least the bar)", BAR)


def corpus(folder: Path, source: int, target: int, joined: bool, sentences: int) -> Path:
    """Binarised sentences, words as often as text has them; dictionaries of these sizes."""
    draw = random.Random(1)
    for language, types in (("xx", source), ("yy", target)):
        words = [f"w{k}" for k in range(types - Dictionary().nspecial)]
        chances = [1 / (k + 3) for k in range(len(words))]
        lines = (
            " ".join(draw.choices(words, chances, k=LENGTH - 1)) + "\n" for _ in range(sentences)
        )
        (folder / f"train.{language}").write_text("".join(lines), encoding="utf-8")
        counts = "".join(f"{word} {len(words) - k}\n" for k, word in enumerate(words))
        (folder / f"dict.{language}.txt").write_text(counts, encoding="utf-8")
    command = ["fairseq_cli.preprocess", "--source-lang", "xx", "--target-lang", "yy"]
    command += ["--trainpref", f"{folder}/train", "--validpref", f"{folder}/train"]
    command += ["--srcdict", f"{folder}/dict.xx.txt", "--destdir", f"{folder}/bin"]
    command += ["--joined-dictionary"] if joined else ["--tgtdict", f"{folder}/dict.yy.txt"]
    _run(command)
    return folder / "bin"


def rates(name: str, data: Path, tokens: int, updates: int, pairs: int, *precision: str) -> Row:
    found: list[list[float]] = [[], []]
    for _ in range(pairs):
        for plan, rate in (("*=dense", found[1]), ("", found[0])):
            rate.append(_rate(name, data, tokens, updates, ["--factor-plan", plan, *precision]))
    what = f"updates a second of fairseq-train, {name}, {tokens:,} tokens, {' '.join(precision)}"
    # `compared` marks what is at most its bar, so this gives it seconds an update.
    seconds = [[1 / rate for rate in side] for side in found]
    return compared(f"{what}: seconds an update", *seconds, 1 / BAR)


def _rate(name: str, data: Path, tokens: int, updates: int, options: list[str]) -> float:
    command = ["fairseq_cli.train", str(data), "--user-dir", str(USER_DIR)]
    command += ["--arch", f"shapeshifter_transformer_{name}", "--max-tokens", str(tokens)]
    command += (
        "--optimizer adam --lr 5e-4 --lr-scheduler inverse_sqrt --warmup-updates 4000".split()
    )
    command += "--criterion label_smoothed_cross_entropy --label-smoothing 0.1".split()
    command += ["--max-update", str(updates), "--log-interval", str(updates // 3)]
    command += "--log-format json --no-save --disable-validation --seed 1".split()
    lines = _run([*command, *options]).splitlines()
    inner = [json.loads(line[line.index("{") :]) for line in lines if "| train_inner |" in line]
    later = [float(line["ups"]) for line in inner[1:]]
    return len(later) / sum(1 / rate for rate in later)


def _run(command: list[str]) -> str:
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{command[0]} failed: {done.stderr.strip().splitlines()[-1]}")
    return done.stdout + done.stderr


if __name__ == "__main__":
    write(measure, __doc__)
