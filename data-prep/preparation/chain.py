"""The steps of a dataset, from raw files to a binarised corpus."""

import argparse
import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

import shapeshifter_fairseq.corpus as corpora
from recipes.commands import python
from recipes.console import Failed, say
from recipes.engine import Engine, Step
from recipes.files import fingerprint
from shapeshifter_fairseq.corpus import Corpus

from . import archives, catalogs, clean, cleaning, filter_pairs, lines, splits, wheels
from . import subwords as pieces
from .dataset import Dataset, Facts
from .download import have

LOG = "see the log"
LONGEST = 1023  # subwords of a sentence, by fairseq's default of 1,024 positions


@dataclass
class Chain:
    """The steps of one corpus; the stamp of each includes that of the step before."""

    dataset: Dataset
    facts: Facts
    corpus: Corpus
    options: argparse.Namespace
    engine: Engine
    forms: list[Path] = field(default_factory=list)
    """Folders with the sentences as text, tokenised and encoded, as far as they are made."""
    made_from: dict[str, Any] = field(default_factory=dict)

    def note(self, text: str) -> None:
        """Log what was kept and dropped."""
        self.engine.note(text)
        if self.dataset.says_counts:
            say(text)

    @property
    def _text_way_out(self) -> str:
        with_from = "--from" not in self.dataset.without
        return "see --help for " + ("the languages and --from" if with_from else "the options")

    @property
    def pair(self) -> tuple[str, str]:
        return self.corpus.source, self.corpus.target

    def run(self) -> None:
        """Make the corpus, and say what it holds."""
        dataset, options = self.dataset, self.options
        self.forms.append(self._wheels() if dataset.wheels else self._files())
        if dataset.moses:
            how = {"moses": str([dataset.moses, dataset.moses_for_test])}
            tokenised = self._step("tokenise", self._tokenise, (lines, corpora), "tokenised", **how)
            self.forms.append(tokenised)
        self._filter(subwords=False)
        code, how = (lines, pieces, corpora), {"kind": dataset.subwords, "size": options.vocab_size}
        self._step("subwords", self._learn, code, way_out="try another --vocab-size", **how)
        self.forms.append(self._step("encode", self._encode, code, "encoded"))
        self._filter(subwords=True)
        how = {"joined": dataset.joined, "way_out": "try again with --workers 1"}
        self._step("binarise", self._binarise, (), options.dest.absolute(), **how)
        said, published = describe(options.dest), self.facts.published
        if not options.source and not fnmatchcase(said, published):
            say(f"warning: the published corpus has {published}; the files may have changed since")
        say(f"{options.dest}: {said}")

    def _step(
        self, name: str, make: Callable, code: tuple, to: Any = "", way_out: str = LOG, **how: Any
    ) -> Path:
        """Make a folder, WORK/name or WORK/to; `how` and the modules of code are its stamp."""
        before = json.dumps(self.made_from, default=str).encode()
        how["before"] = hashlib.blake2b(before, digest_size=16).hexdigest()
        how["code"] = fingerprint(*(Path(module.__file__) for module in code))
        self.made_from, folder = how, self.options.work / (to or name)
        self.engine.do(Step(name, folder, make, how, folder=True, way_out=way_out))
        return folder

    def _wheels(self) -> Path:
        found = wheels.fetch(self.dataset.wheels, self.options.work, self.options.source)
        make = partial(wheels.write, found, languages=self.pair, note=self.note)
        how = {"pair": self.pair, "raw": {file.name: fingerprint(file) for file in found}}
        return self._step(
            "text", make, (archives, catalogs, cleaning, wheels), "", self._text_way_out, **how
        )

    def _files(self) -> Path:
        options = self.options
        texts = {"train": self.facts.train, "valid": self.facts.valid, "test": self.facts.test}
        names = {split: text.pairs(*self.pair) for split, text in texts.items() if text}
        every = [name for pairs in names.values() for pair in pairs for name in pair]
        raw = have(every, options.work, options.source, options.mirror, options.checksums)
        plain = self.dataset.without_diacritics

        def make(out: Path) -> None:
            for split, pairs in names.items():
                files = [out / f"{split}.{language}" for language in self.pair]
                places = [[raw[name] for name in pair] for pair in pairs]
                how = {"held_out": split != "train", "without_diacritics": plain}
                self.note(clean.write(files, places, texts[split], **how))
            if rule := self.facts.split:
                splits.write(out, self.pair, rule, self.note)

        files = {Path(place.partition(archives.SEPARATOR)[0]) for place in raw.values()}
        stats = sorted((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files)
        how = {"texts": str(texts), "plain": plain, "names": names, "raw": stats}
        how["split"] = str(self.facts.split)
        return self._step(
            "text", make, (archives, clean, splits, corpora), "", self._text_way_out, **how
        )

    def _tokenise(self, out: Path) -> None:
        for path in self.forms[-1].glob("[tv]*"):
            for_test = self.dataset.moses_for_test if path.stem == "test" else None
            how = {"moses": for_test or self.dataset.moses, "language": path.suffix[1:]}
            lines.map_file(partial(lines.tokenise, **how), path, out, self.options.workers)

    def _filter(self, subwords: bool) -> None:
        for rule in self.facts.filters:
            if rule.subwords == subwords:
                how = {"rule": rule, "note": self.note}
                make = partial(filter_pairs.write, self.forms, self.pair, **how)
                folder = self._step(rule.step, make, (filter_pairs, lines), rule=asdict(rule))
                self.forms = [folder / form.name for form in self.forms]

    def _learn(self, out: Path) -> None:
        texts = [self.forms[-1] / f"train.{language}" for language in self.pair]
        learn, size = pieces.KINDS[self.dataset.subwords], self.options.vocab_size
        learn(texts, out / self.corpus.subword_file, size, self.options.workers)

    def _encode(self, out: Path) -> None:
        model = self.options.work / "subwords" / self.corpus.subword_file
        cut = partial(pieces.cut, kind=self.corpus.subwords, model=model)
        for path in self.forms[-1].glob("[tv]*"):
            lines.map_file(cut, path, out, self.options.workers)
        for path in (*out.glob("valid.*"), *out.glob("test.*")):
            with lines.open_text(path) as text:
                sizes = ((row.count(" ") + 1, at) for at, row in enumerate(text, 1))
                longest, line = max(sizes, default=(0, 0))
            if longest > LONGEST:
                say(
                    f"warning: line {line} of {path.name} has {longest} subwords; fairseq's models "
                    f"translate at most {LONGEST}: shorten it, or give --max-source-positions and "
                    "--max-target-positions in training"
                )

    def _binarise(self, out: Path) -> None:
        options = ["--source-lang", self.pair[0], "--target-lang", self.pair[1]]
        options += ["--workers", self.options.workers, "--destdir", out]
        for split in ("train", "valid", "test"):
            options += [f"--{split}pref", self.forms[-1] / split]
        options += ["--joined-dictionary"] * self.dataset.joined
        self.engine.run(python("fairseq_cli.preprocess", *options), name="fairseq-preprocess")
        # Its lines are in prepare.log too; here they would only carry the paths of this machine.
        (out / "preprocess.log").unlink()
        shutil.copy(self.options.work / "subwords" / self.corpus.subword_file, out)
        for form, name in zip(self.forms[:-1], ("raw", "tokenised")):
            (out / name).mkdir()
            for path in (*form.glob("valid.*"), *form.glob("test.*")):
                shutil.copy(path, out / name)
        count(out, self.corpus).write(out)


def count(folder: Path, corpus: Corpus) -> Corpus:
    """The corpus with its numbers of sentences and types; raises ValueError if it is not whole."""
    pair, sentences = (corpus.source, corpus.target), {}
    for split in ("train", "valid", "test"):
        start = f"{split}.{corpus.source}-{corpus.target}"
        sizes = {side: _sentences(folder / f"{start}.{side}.idx") for side in pair}
        if len(set(sizes.values())) > 1:
            raise ValueError(f"{folder}: {split} sets of different sizes, {sizes}")
        sentences[split] = sizes[corpus.source]
    types = dict(zip(pair, corpus.dictionaries(folder)))
    return replace(corpus, sentences=sentences, types=types)


def _sentences(index: Path) -> int:
    header = index.open("rb").read(26)  # magic, version, type of the numbers, sentences
    if len(header) < 26 or not header.startswith(b"MMIDIDX\0\0"):
        raise ValueError(f"{index} is not an index of fairseq's")
    return int.from_bytes(header[18:], "little")


def describe(folder: Path) -> str:
    """What a corpus holds, in words."""
    try:
        corpus = Corpus.read(folder)
        if count(folder, corpus) != corpus:
            raise ValueError(f"{folder}: corpus.json does not fit the data")
        *_, joined = corpus.dictionaries(folder)
    except (OSError, ValueError) as error:
        raise Failed(f"{error}; remove {folder} and run again") from error
    sentences = ", ".join(f"{number} {split}" for split, number in corpus.sentences.items())
    types = " and ".join(f"{number} {side}" for side, number in corpus.types.items())
    one = f"dictionary of {corpus.types[corpus.source]}"
    return f"{sentences} sentences; {one if joined else f'dictionaries of {types}'} types"
