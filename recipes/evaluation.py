"""Translate a set with a checkpoint and score it."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shapeshifter_fairseq.corpus import Corpus

from .commands import USER_DIR, Progress, python
from .console import Failed, need_modules, refuse_separator
from .engine import Engine, Step
from .files import fingerprint, lines_of, write
from .training import need_data

RESULT = "evaluation.json"


def need_checkpoint(checkpoint: Path) -> None:
    """Stop now if fairseq cannot read a checkpoint."""
    if not checkpoint.is_file():
        raise Failed(f"there is no checkpoint {checkpoint}; train first (recipes/train.sh)")
    refuse_separator(checkpoint)


@dataclass(frozen=True)
class Evaluation:
    """How a set is translated and scored."""

    split: str = "test"  # or valid
    scores: str = "bleu"  # or "rouge": ROUGE-1, -2 and -L of the plain text, nothing else
    # Score the tokenised text with compounds in parts, a-b as a ##AT##-##AT## b, as is usual for
    # WMT'14 En-De.
    split_compounds: bool = False
    options: Sequence[str] = ()  # of fairseq-generate, added to beam 5
    cpu: bool = False  # leave a GPU alone

    def need(self, data: Path, checkpoint: Path | None = None) -> Corpus:
        """Stop now if something that it needs is missing.

        Args:
            data: the prepared corpus.
            checkpoint: the model, if it is trained already.

        Returns:
            the corpus, in the direction in which the model translates it
        """
        score = "rouge_score" if self.scores == "rouge" else "sacrebleu"
        need_modules("fairseq_cli", score, "sacremoses", "sentencepiece", "subword_nmt")
        need_data(data)
        if self.split not in ("valid", "test"):
            raise Failed(f"SPLIT={self.split}: choose valid or test")
        corpus = Corpus.read(data)
        if checkpoint:
            need_checkpoint(checkpoint)
            from shapeshifter_fairseq.fairseq_side.checkpoints import corpus_of

            corpus = corpus_of(checkpoint, data)
        binarised = _binarised(data, self.split, corpus)
        source = data / "raw" / f"{self.split}.{corpus.source}"  # for the examples of a report
        for file in (binarised, source, *self._texts(data, corpus)):
            if not file.is_file():
                raise Failed(f"there is no {file}; run the script in data-prep/ again")
        return corpus

    def _texts(self, data: Path, corpus: Corpus) -> list[Path]:
        """The files of the set, binarised, plain and, where there is a tokeniser, tokenised."""
        forms = ["raw", *["tokenised"] * bool(corpus.tokenizer)]
        files = [data / form / f"{self.split}.{corpus.target}" for form in forms]
        return [*sorted(data.glob(f"{self.split}.*")), *files]

    def run(self, engine: Engine, data: Path, corpus: Corpus, checkpoint: Path) -> None:
        """Make hypotheses.txt, scores.json and the files behind them in the engine's folder.

        Raises:
            Failed: if something is missing, or fairseq leaves a sentence out.
        """
        words = data / "tokenised" / f"{self.split}.{corpus.target}" if corpus.tokenizer else None
        plain = data / "raw" / f"{self.split}.{corpus.target}"
        made_from: dict[str, Any] = {}
        if not engine.dry:
            # The scores depend on the checkpoint, the options and the texts, not on the name of a
            # folder.
            made_from = {
                "set": [self.split, fingerprint(*self._texts(data, corpus))],
                "checkpoint": fingerprint(checkpoint),
                "scores": [self.scores, self.split_compounds],
                "corpus": [fingerprint(data / corpus.subword_file), *_facts_of_text(corpus)],
                "options": list(self.options),
            }

        def make(result: Path) -> None:
            if not engine.dry:
                (engine.folder / "generate.log").unlink(missing_ok=True)
            sentences = self._translate(engine, data, corpus, checkpoint, plain)
            if not engine.dry:
                for name in ("scores.json", "scores.tokenised.json", RESULT):
                    (engine.folder / name).unlink(missing_ok=True)
            self._extract(engine, "D", "hypotheses.txt", sentences)
            if words and self.scores == "bleu":
                self._score_words(engine, words, sentences)
            self._score(engine, plain, corpus.lowercased)
            if not engine.dry:
                write(result, json.dumps(self._facts(engine.folder, checkpoint), indent=1))

        engine.do(Step("evaluate", engine.folder / RESULT, make, made_from))

    def _translate(
        self, engine: Engine, data: Path, corpus: Corpus, checkpoint: Path, plain: Path
    ) -> int:
        """Make generate.log; returns the number of sentences."""
        sentences = 0 if engine.dry else len(lines_of(plain))
        # (fairseq drops the last batch unless its size is a multiple of the default, 8.)
        engine.run(
            [
                *python("fairseq_cli.generate", data, "--user-dir", USER_DIR, "--path", checkpoint),
                *corpus.fairseq_options(data),
                *("--gen-subset", self.split, "--beam", "5", "--max-tokens", "4096"),
                *("--required-batch-size-multiple", "1", "--log-format", "none"),
                *["--cpu"] * self.cpu,
                *self.options,
            ],
            name=f"translate {engine.folder.name}",
            log=engine.folder / "generate.log",
            progress=Progress(sentences, "^D-", r"^(BLEU)=([0-9.]+)"),
        )
        return sentences

    def _extract(self, engine: Engine, kind: str, name: str, sentences: int) -> Path:
        """The translations of generate.log in the order of the set.

        fairseq changes the order, by length. D-N is the plain translation of sentence N, H-N
        the words that it was made of.
        """
        log, path = shlex.quote(str(engine.folder / "generate.log")), engine.folder / name
        engine.into(path, f"grep -a '^{kind}-' {log} | cut -c3- | sort -n | cut -f3-")
        if not engine.dry and (found := len(lines_of(path))) != sentences:
            raise Failed(f"fairseq translated {found} of {sentences} sentences (log: {log})")
        return path

    def _score_words(self, engine: Engine, reference: Path, sentences: int) -> None:
        """BLEU of the tokenised text, as in the papers' tables."""
        found = self._extract(engine, "H", "hypotheses.tokenised.txt", sentences)
        if self.split_compounds:
            in_parts = ["sed", "-E", r"s/([^ ])-([^ ])/\1 ##AT##-##AT## \2/g"]
            for name, path in (("reference", reference), ("hypotheses", found)):
                line = shlex.join([*in_parts, str(path)])
                engine.into(engine.folder / f"{name}.compounds.txt", line)
            reference = engine.folder / "reference.compounds.txt"
            found = engine.folder / "hypotheses.compounds.txt"
        options = ["--metrics", "bleu", "--tokenize", "none", "--force"]
        _sacrebleu(engine, "scores.tokenised.json", reference, found, options)

    def _score(self, engine: Engine, plain: Path, lowercased: bool) -> None:
        found = engine.folder / "hypotheses.txt"
        if self.scores == "rouge":
            rouge = python("recipes.rouge", plain, found)
            engine.into(engine.folder / "scores.json", shlex.join(rouge))
            return
        options = ["--metrics", "bleu", "chrf"]
        options += ["--lowercase", "--chrf-lowercase"] * lowercased
        _sacrebleu(engine, "scores.json", plain, found, options)

    def _facts(self, out: Path, checkpoint: Path) -> dict[str, Any]:
        """What was scored, and how: value and signature by the name of the score."""
        scores = {each["name"]: each for each in json.loads((out / "scores.json").read_text())}
        tokenised = out / "scores.tokenised.json"
        if tokenised.exists():
            scores["tokenised BLEU"] = json.loads(tokenised.read_text())
        # fairseq says these in its log only.
        said = (out / "generate.log").read_text(encoding="utf-8")
        return {
            "checkpoint": checkpoint.name,
            "split": self.split,
            "beam": int(re.search(r"^Generate \S+ with beam=(\d+):", said, re.M)[1]),
            "seconds": float(re.search(r"Translated .* in ([\d.]+)s", said)[1]),
            "scores": {
                name: {"value": score["score"], "signature": score["signature"]}
                for name, score in scores.items()
            },
        }


def _facts_of_text(corpus: Corpus) -> list[Any]:
    """What the scores depend on of what corpus.json says."""
    return [corpus.source, corpus.target, corpus.subwords, corpus.tokenizer, corpus.lowercased]


def _binarised(data: Path, split: str, corpus: Corpus) -> Path:
    """The index of a set's target side; fairseq finds one that was binarised the other way, too."""
    pair = corpus.source, corpus.target
    ways = [data / f"{split}.{'-'.join(each)}.{pair[1]}.idx" for each in (pair, pair[::-1])]
    return next(filter(Path.is_file, ways), ways[0])


def _sacrebleu(
    engine: Engine, name: str, reference: Path, found: Path, options: Sequence[str]
) -> None:
    form = ("--format", "json", "--width", "2")
    command = python("sacrebleu", reference, "--input", found, *form, *options)
    engine.into(engine.folder / name, shlex.join(command))


def read_evaluation(out: Path) -> dict[str, Any]:
    """What `Evaluation.run` left in a folder."""
    return json.loads((out / RESULT).read_text(encoding="utf-8"))
