"""Run every prepare-*.sh of the benchmarks to its end, on tiny files like the real ones."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from recipes.files import lines_of as lines
from shapeshifter_fairseq.corpus import SUBWORDS
from tests.data_prep import made_up
from tests.data_prep.scripts import Run, prepare


class Corpus(NamedTuple):
    """A prepared corpus: its folders, what it says of itself, and the run that made it."""

    work: Path
    dest: Path
    facts: dict
    run: Run

    def pair(self, kind: str, split: str) -> list[tuple[str, str]]:
        languages = self.facts["source"], self.facts["target"]
        sides = [lines(self.dest / kind / f"{split}.{language}") for language in languages]
        return list(zip(*sides, strict=True))


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Corpus]:
    """Write raw files, prepare them, and check what holds for every dataset."""

    def make(name: str, write: Callable[[Path], None], *arguments: str) -> Corpus:
        raw, work, dest = tmp_path / "raw files", tmp_path / "the work", tmp_path / "data bin" / "x"
        write(raw)
        run = prepare(name, *arguments, "--from", raw, "--work", work, "--dest", dest)
        assert (run.status, run.err) == (0, [])
        facts = json.loads((dest / "corpus.json").read_text())
        corpus = Corpus(work, dest, facts, run)
        assert facts["name"] == name
        for language in (facts["source"], facts["target"]):
            assert facts["types"][language] == len(lines(dest / f"dict.{language}.txt")) + 4
        kinds = ["raw", "tokenised"] if facts["tokenizer"] else ["raw"]
        assert {path.name for path in dest.iterdir() if path.is_dir()} == set(kinds)
        for split in ("valid", "test"):
            for kind in kinds:
                assert len(corpus.pair(kind, split)) == facts["sentences"][split]
        assert (dest / SUBWORDS[facts["subwords"]][1]).stat().st_size > 0
        counts = ", ".join(f"{count} {split}" for split, count in facts["sentences"].items())
        assert run.out[-1].startswith(f"{dest}: {counts} sentences; dictionar")
        return corpus

    return make


@pytest.mark.parametrize("target", ["de", "cs"])
def test_multi30k(make, target: str) -> None:
    corpus = make("multi30k", lambda raw: made_up.multi30k(raw, ("en", target)), "en", target)
    assert corpus.facts["sentences"] == {"train": 300, "valid": 20, "test": 10}
    assert corpus.facts["lowercased"] and corpus.facts["tokenizer"] == "moses"
    assert [corpus.facts[it] for it in ("normalised", "apostrophes", "dash_splits")] == [1, 0, 0]
    test = made_up.sentences(10, 2, ("en", target))
    assert corpus.pair("raw", "test") == list(zip(test["en"], test[target]))
    if target == "de":
        tokenised = "\n".join(english for english, _ in corpus.pair("tokenised", "test"))
        assert "the &quot; red &quot; dog" in tokenised and "3.5 apples ." in tokenised
        assert "a well-known house ." in tokenised and tokenised == tokenised.lower()
    assert lines(corpus.dest / "dict.en.txt") == lines(corpus.dest / f"dict.{target}.txt")
    assert corpus.run.out[-1].endswith(f"dictionary of {corpus.facts['types']['en']} types")


def test_iwslt14(make) -> None:
    corpus = make("iwslt14", made_up.iwslt14)
    assert (corpus.facts["source"], corpus.facts["target"]) == ("de", "en")
    assert corpus.facts["apostrophes"] and not corpus.facts["normalised"]
    # 230 good pairs; each 23rd is validation. 5 test sets of 4 sentences, in the published order.
    assert corpus.facts["sentences"] == {"train": 220, "valid": 10, "test": 20}
    talks = made_up.sentences(230, 1, ("de", "en"))
    # The 23rd line of a talk is its last: no title, no description.
    assert corpus.pair("raw", "valid") == list(zip(talks["de"][22::23], talks["en"][22::23]))
    first = made_up.sentences(4, 10, ("de", "en"))
    assert [german for german, _ in corpus.pair("raw", "test")[:4]] == first["de"]
    tokenised = "\n".join(english for _, english in corpus.pair("tokenised", "test"))
    assert "nobody &apos;s" in tokenised and "’" not in tokenised
    assert "’" in "".join(english for _, english in corpus.pair("raw", "test"))
    train = "\n".join(lines(corpus.work / "split" / "tokenised" / "train.en"))
    assert "ted talk subtitles :" in train and "<" not in train and "example.org" not in train
    assert lines(corpus.dest / "dict.de.txt") != lines(corpus.dest / "dict.en.txt")
    said = "dictionaries of {de} de and {en} en types"
    assert corpus.run.out[-1].endswith(said.format(**corpus.facts["types"]))


def test_wmt16(make) -> None:
    corpus = make("wmt16", made_up.wmt16)
    assert corpus.facts["sentences"] == {"train": 300, "valid": 12, "test": 14}
    assert corpus.facts["dash_splits"] and not corpus.facts["lowercased"]
    raw = "\n".join(romanian for _, romanian in corpus.pair("raw", "test"))
    tokenised = "\n".join(romanian for _, romanian in corpus.pair("tokenised", "test"))
    # What is scored as well: a model that never saw a diacritic cannot write one.
    assert corpus.facts["without_diacritics"] and corpus.facts["normalised"]
    assert "Batranul" in raw and "Batranul" in tokenised and "casa veche" in raw
    assert not set("ăâîșțşţ") & set(tokenised + raw)
    english = "\n".join(english for english, _ in corpus.pair("tokenised", "test"))
    assert "well @-@ known" in english


def test_wmt18(make) -> None:
    corpus = make("wmt18", made_up.wmt16, "ro", "en", "--vocab-size", "85")
    assert corpus.facts["sentences"] == {"train": 301, "valid": 12, "test": 14}
    assert (corpus.facts["tokenizer"], corpus.facts["subwords"]) == (None, "sentencepiece")
    encoded = lines(corpus.work / "encoded" / "test.ro")
    plain = [line.replace(" ", "").replace("▁", " ").strip() for line in encoded]
    assert plain == [romanian for romanian, _ in corpus.pair("raw", "test")]
    assert "Bătrânul" in "\n".join(plain) and not corpus.facts["without_diacritics"]


@pytest.mark.parametrize(("foreign", "train", "valid"), [("de", 1386, 14), ("fr", 2798, 2)])
def test_wmt14(make, foreign: str, train: int, valid: int) -> None:
    corpus = make("wmt14", lambda raw: made_up.wmt14(raw, foreign), "en", foreign)
    assert corpus.facts["sentences"] == {"train": train, "valid": valid, "test": 15}
    assert "1 not UTF-8" in (corpus.work / "prepare.log").read_text()
    test = made_up.sentences(15, 12, ("en", foreign))
    assert corpus.pair("raw", "test") == list(zip(test["en"], test[foreign]))


@pytest.mark.parametrize(("pair", "columns"), [(("de", "en"), 2), (("en", "de"), 3)])
def test_tatoeba(make, pair: tuple[str, str], columns: int) -> None:
    vocab = ("--vocab-size", "60")
    corpus = make("tatoeba", lambda raw: made_up.tatoeba(raw, columns), *pair, *vocab)
    counts = corpus.facts["sentences"]
    english = pair.index("en")
    held = {row[english] for split in ("valid", "test") for row in corpus.pair("raw", split)}
    assert len(held) == counts["valid"] + counts["test"] > 0  # one pair a sentence
    assert all(len(sentence.split()) >= 4 for sentence in held)
    train = {line.rstrip() for line in (corpus.work / "text" / "train.en").open(encoding="utf-8")}
    assert train and not held & train
    # Its size does not depend on the direction.
    assert counts == {"train": 383, "valid": 1, "test": 3}
    assert corpus.facts["lowercased"] and not corpus.facts["normalised"]


def test_gigaword(make) -> None:
    corpus = make("gigaword", made_up.gigaword)
    assert corpus.facts["sentences"] == {"train": 200, "valid": 10, "test": 8}
    assert (corpus.facts["source"], corpus.facts["target"]) == ("article", "headline")
    assert corpus.facts["tokenizer"] is None


def test_oddities_of_text_are_cleaned(make) -> None:
    def write(raw: Path) -> None:
        made_up.multi30k(raw)
        for name, change in {
            # A BOM; Windows line ends; a bare carriage return, a line separator in a sentence.
            "val.en.gz": lambda text: b"\xef\xbb\xbf" + text,
            "train.en.gz": lambda text: text.replace(b"\n", b"\r\n"),
            "val.de.gz": lambda text: text.replace(b" ", b"\r", 1).replace(
                b" ", "\u2028".encode(), 1
            ),
            # Train: two empty lines. Test: one, which is kept.
            "train.de.gz": lambda text: b"\n \n" + b"".join(text.splitlines(True)[2:]),
            "test_2016_flickr.de.gz": lambda text: b"\n" + b"".join(text.splitlines(True)[1:]),
        }.items():
            file = raw / name
            file.write_bytes(gzip.compress(change(gzip.decompress(file.read_bytes()))))

    corpus = make("multi30k", write)
    assert corpus.facts["sentences"] == {"train": 298, "valid": 20, "test": 10}
    train = made_up.sentences(300, 0, ("en", "de"))
    assert lines(corpus.work / "text" / "train.en") == train["en"][2:]
    valid = made_up.sentences(20, 1, ("en", "de"))
    assert corpus.pair("raw", "valid") == list(zip(valid["en"], valid["de"]))
    assert lines(corpus.dest / "raw" / "test.de")[0] == ""
    log = (corpus.work / "prepare.log").read_text()
    assert "2 empty" in log and "1 empty but kept" in log
