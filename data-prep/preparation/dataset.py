"""A dataset: facts, which need no package, and a script that makes a corpus of them."""

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from recipes.commands import ROOT
from recipes.console import (
    Failed,
    Parser,
    folder,
    need_modules,
    need_place,
    positive,
    refuse_separator,
)
from recipes.engine import Engine, refuse_foreign
from recipes.parallel import threads
from shapeshifter_fairseq.corpus import Corpus, Moses

MODULES = "fairseq_cli joblib polib regex sacrebleu sacremoses sentencepiece subword_nmt tqdm"
OPTIONS = {
    "--vocab-size N": "size of the subword vocabulary: byte-pair merges, or SentencePiece pieces "
    "(default {size})",
    "--from DIR": "use the raw files in DIR; download nothing",
    "--mirror URL": "fetch https://HOST/PATH from URL/HOST/PATH, the layout of wget --mirror",
    "--checksums FILE": "refuse raw files that differ from FILE, such as WORK/download/SHA256SUMS",
    "--dest DIR": "the binarised corpus (default data-bin/{name}.SRC-TGT)",
    "--work DIR": "raw and intermediate files and prepare.log (default data/{name}.SRC-TGT)",
    "--workers N": "processes (default: all cores)",
}
EPILOG = """\
environment:
  PYTHON            the Python that has fairseq and this project (default: .venv's, else python3)

Writes to --dest the files of fairseq-preprocess, the subword model, corpus.json, and the valid and
test sentences as plain text (raw/) and, if there is a tokeniser, tokenised (tokenised/). If
interrupted, run it again: it resumes and skips finished steps. The default folders are in the
repository, wherever you are.

example:
  bash data-prep/prepare-{name}.sh {source} {target}
  fairseq-train data-bin/{name}.{source}-{target} --source-lang {source} \\
    --user-dir shapeshifter_fairseq ..."""


# The three-letter codes (ISO 639-3) of languages that the Moses tokeniser knows by two letters.
ISO_639_3 = {"ca": "cat", "cs": "ces", "de": "deu", "el": "ell", "en": "eng", "es": "spa"}
ISO_639_3 |= {"fi": "fin", "fr": "fra", "hu": "hun", "is": "isl", "it": "ita", "ja": "jpn"}
ISO_639_3 |= {"ko": "kor", "lt": "lit", "nl": "nld", "pl": "pol", "pt": "por", "ro": "ron"}
ISO_639_3 |= {"ru": "rus", "sk": "slk", "sl": "slv", "sv": "swe", "tr": "tur"}


def need_plain_codes(parser: Parser, codes: Sequence[str]) -> None:
    """Refuse a language code that Moses' rules do not know by this spelling, such as pt_BR."""
    shorter = {long: short for short, long in ISO_639_3.items()}
    for code in codes:
        language = re.split("[_@]", code)[0]
        if code != (plain := shorter.get(language, language)):
            parser.error(f"'{code}': the Moses tokeniser's rules are for '{plain}'; give that code")


@dataclass(frozen=True)
class Text:
    """Where the sentences of a split are: addresses, each followed by ::MEMBER if an archive."""

    names: Sequence[str | tuple[str, str]] = ()  # * is the language; a tuple names both sides
    news: str = ""  # instead of names: a test set of WMT, as `sacrebleu --list` calls it
    markup: str | tuple[str, str] = "plain"  # as in clean.read, or one for each side
    crawled: bool = False  # drop pairs that are not UTF-8; elsewhere they are an error
    unique: bool = False  # drop pairs that have come before

    def pairs(self, source: str, target: str) -> list[tuple[str, str]]:
        """The names of both sides; of news also its MD5, as #md5=..."""
        if not self.news:
            texts = [(name, name) if isinstance(name, str) else name for name in self.names]
            return [(one.replace("*", source), two.replace("*", target)) for one, two in texts]
        # sacreBLEU's own download starts over when it was cut, and knows neither mirror nor folder.
        from sacrebleu import DATASETS

        news = DATASETS.get(self.news)
        if not (files := news and news.langpairs.get(f"{source}-{target}")):
            raise Failed(f"sacreBLEU knows no test set {self.news} of {source}-{target}")
        address = f"{news.data[0]}#md5={news.md5[0]}::"
        return [(address + files[0], address + files[1])]


@dataclass(frozen=True)
class Split:
    """Which pairs are taken out of the training text, by a hash of one side; see splits.py."""

    language: str  # whose sentences are hashed, in lower case
    valid: int
    test: int
    per_mille: bool = False  # valid and test are per thousand sentences; else sentences
    words: int = 1  # fewest words in a sentence that is taken out


@dataclass(frozen=True)
class Filter:
    """Drop pairs by their length, and set some training pairs aside; the test set stays whole."""

    step: str = "filter"  # its name
    subwords: bool = False  # count subwords instead of the tokens that they are cut from
    max_length: int = sys.maxsize  # of each side
    ratio: float = sys.float_info.max  # of the two lengths, at most
    valid: bool = False  # filter the validation set as well
    every: int = 0  # each Nth training pair goes to the validation set instead


@dataclass(frozen=True)
class Facts:
    """What may depend on the language pair. Without `valid`, a filter takes it from `train`."""

    train: Text | None = None
    test: Text | None = None
    valid: Text | None = None
    split: Split | None = None  # instead of `valid` and `test`: how they are taken from `train`
    filters: Sequence[Filter] = ()
    published: str = "*"  # a pattern: what the last line says of the published corpus


@dataclass(frozen=True)
class Dataset:
    """A dataset, and the script that prepares it."""

    name: str
    about: str  # the beginning of --help
    vocab_size: int  # merges or pieces of the joint subwords by default
    subwords: str  # their kind, a key of subwords.KINDS
    facts: Facts | Callable[[str, str], Facts] = Facts()  # or a function of the two languages
    pairs: Sequence[str] = ()  # "SRC TGT", the default first; none if any two languages will do
    wheels: Path | None = None  # a list of pip packages whose messages are the text; no facts
    without_diacritics: bool = False  # remove them from Romanian
    moses: Moses | None = None  # how text is tokenised; None leaves it as it is written
    moses_for_test: Moses | None = None  # the same for the test set, where it differs
    joined: bool = True  # both languages share one dictionary
    without: Sequence[str] = ()  # options that the script does not have
    says_counts: bool = False  # print what was kept and dropped, besides logging it

    def corpus(self, source: str, target: str) -> Corpus:
        """The corpus that the script makes, without its counts."""
        moses = self.moses or Moses()
        return Corpus(
            source,
            target,
            "subword_nmt" if self.subwords == "subword_nmt" else "sentencepiece",
            self.name,
            tokenizer="moses" if self.moses else None,
            without_diacritics=self.without_diacritics,
            normalised=moses.normalise,
            apostrophes=(self.moses_for_test or moses).apostrophes,
            dash_splits=moses.dash_splits,
            lowercased=moses.lowercase,
        )

    def main(self, arguments: Sequence[str]) -> None:
        """Run the script."""
        parser = self.parser()
        options = parser.parse_intermixed_args(arguments)
        corpus = self.corpus(*self.languages(parser, options.languages))
        if options.source and options.mirror:
            parser.error("give --from or --mirror, not both")
        if options.source and not options.source.is_dir():
            raise Failed(f"--from {options.source}: there is no such folder")
        if options.checksums and not options.checksums.is_file():
            raise Failed(f"--checksums {options.checksums}: there is no such file")
        self.prepare(corpus, options)

    def prepare(self, corpus: Corpus, options: argparse.Namespace) -> None:
        """Make the corpus; the options are those of `main`."""
        need_modules(*MODULES.split())
        from .chain import Chain

        name = f"{self.name}.{corpus.source}-{corpus.target}"
        options.work = options.work or ROOT / "data" / name
        options.dest = options.dest or ROOT / "data-bin" / name
        need_place("--work", options.work)
        need_place("--dest", options.dest.absolute().parent)
        if options.work.resolve() in (options.dest.resolve(), *options.dest.resolve().parents):
            raise Failed(f"--dest {options.dest}: choose a folder outside of --work")
        refuse_separator(options.dest)
        refuse_foreign(options.dest)
        facts = self.facts(corpus.source, corpus.target) if callable(self.facts) else self.facts
        with Engine(options.work, log="prepare.log").alone() as engine:
            Chain(self, facts, corpus, options, engine).run()

    def parser(self) -> Parser:
        """The script's options."""
        source, target = (self.pairs[0] if self.pairs else "de en").split()
        names = {"name": self.name, "source": source, "target": target, "size": self.vocab_size}
        usage, which = "SRC TGT [options]", "two languages"
        if self.pairs:
            usage, which = "[SRC TGT] [options]", f"{', '.join(self.pairs)} (default the first)"
        parser = Parser(usage, self.about, EPILOG.format(**names))
        parser.add_argument("languages", nargs="*", metavar="SRC TGT", help=which)
        kinds = {"N": positive, "URL": str, "DIR": folder, "FILE": folder}
        for words, text in OPTIONS.items():
            option, metavar = words.split()
            if option not in self.without:
                how = {"metavar": metavar, "type": kinds[metavar], "help": text.format(**names)}
                parser.add_argument(option, dest={"--from": "source"}.get(option), **how)
        defaults = {"vocab_size": self.vocab_size, "workers": threads()}
        parser.set_defaults(source=None, mirror="", checksums=None, **defaults)
        return parser

    def languages(self, parser: Parser, words: Sequence[str]) -> Sequence[str]:
        """The two that the user gave, or the default ones."""
        if self.pairs:
            pair = " ".join(words) or self.pairs[0]
            if pair not in self.pairs:
                known = ", ".join(self.pairs)
                parser.error(f"'{pair}' is no pair of this script; choose SRC TGT from: {known}")
            return pair.split()
        # fairseq splits names such as train.SRC-TGT.SRC at the hyphen: pt-BR becomes pt_BR.
        codes = [word.replace("-", "_") for word in words]
        if self.moses:
            need_plain_codes(parser, codes)
        known = [code for code in codes if re.fullmatch(r"[a-z]{2,3}([_@][A-Za-z0-9]+)*", code)]
        if not len(codes) == len(known) == len(set(codes)) == 2:
            parser.error(f"'{' '.join(words)}' is not SRC TGT, two languages such as pt_BR en")
        return codes
