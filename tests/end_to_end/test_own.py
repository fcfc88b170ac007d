"""From anybody's text to a scored run: data-prep/prepare-own.sh and recipes/own.sh."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import pytest

from recipes.files import lines_of as lines
from tests.data_prep import made_up
from tests.data_prep.scripts import prepare, refused

from .conftest import call
from .test_experiment_runs import TINY, result_of
from .test_experiments import script

PAIRS = made_up.sentences(300, 5, ("de", "en"))
ROWS = [f"{german}\t{english}" for german, english in zip(PAIRS["de"], PAIRS["en"])]
CODES = ("xx", "yy")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Of one table, with all that goes wrong in tables."""
    folder = tmp_path_factory.mktemp("my text")
    rows = [*ROWS, "\tonly one side", " ".join(["lang"] * 300) + "\tshort"]
    content = b"\xef\xbb\xbf" + "\r\n".join(rows).encode() + b"\r\ncaf\xe9\tbad\r\n"
    (folder / "pairs.tsv").write_bytes(content)
    where = ["--work", folder / "work", "--dest", folder / "my corpus.xx-yy"]
    sets = ["--valid", "8", "--test", "7", "--vocab-size", "90"]
    call = [*CODES, "--tsv", folder / "pairs.tsv", *sets, *where]
    assert "is not UTF-8; convert it with iconv" in refused(prepare("own", *call))
    done = prepare("own", *call, "--drop-bad")
    assert done.status == 0
    distinct = len(set(ROWS))
    counted = f"train: {distinct + 1} kept, {300 - distinct} duplicates, 1 empty, 1 not UTF-8"
    said = next(line for line in done.out if line.startswith("train: ") and "empty" in line)
    assert sorted(said.removeprefix("train: ").split(", ")) == sorted(
        counted.removeprefix("train: ").split(", ")
    )
    assert "79 train, 8 valid, 7 test sentences; dictionary of " in done.out[-1]
    return folder / "my corpus.xx-yy"


def test_no_held_out_sentence_stays_in_the_training_text(made):
    facts = json.loads((made / "corpus.json").read_text())
    assert facts["sentences"]["valid"] == 8 and facts["sentences"]["test"] == 7
    held = {*lines(made / "raw" / "valid.xx"), *lines(made / "raw" / "test.xx")}
    train = set(lines(made.parent / "work" / "text" / "train.xx"))
    assert len(held) == 15 and not held & train
    assert all(sentence in PAIRS["de"] for sentence in held)  # no BOM, no carriage return
    encoded = lines(made.parent / "work" / "filter" / "encoded" / "train.xx")
    assert max(len(line.split()) for line in encoded) <= 250


def test_text_files_plain_and_gzipped(tmp_path):
    for split, seed in (("train", 1), ("dev", 2), ("test", 3)):
        for language, sentences in made_up.sentences(40, seed, ("de", "en")).items():
            path = tmp_path / f"{split}.{language}"
            path.write_bytes(made_up.text(sentences))
    (tmp_path / "train.en.gz").write_bytes(gzip.compress((tmp_path / "train.en").read_bytes()))
    (tmp_path / "train.en").unlink()
    sets = [
        f"--{name}={tmp_path / split}" for name, split in (("train", "train"), ("valid", "dev"))
    ]
    call = ["de", "en", *sets, f"--test={tmp_path / 'test'}", "--subwords", "subword_nmt"]
    call += ["--moses", "--lowercase", "--dictionaries", "two", "--vocab-size", "40"]
    call += ["--work", tmp_path / "work", "--dest", tmp_path / "bin"]
    assert prepare("own", *call).status == 0
    facts = json.loads((tmp_path / "bin" / "corpus.json").read_text())
    assert facts["tokenizer"] == "moses" and facts["lowercased"] and facts["normalised"]
    assert lines(tmp_path / "bin" / "raw" / "test.en") == made_up.sentences(40, 3, ("en",))["en"]
    (tmp_path / "train.de").write_bytes(b"Eins\n")
    assert "train.de has 1 sentences, but" in refused(prepare("own", *call))
    (tmp_path / "dev.de").write_bytes(b"Eins\n" * 7)
    assert "dev: fairseq needs 8 sentences to validate" in refused(prepare("own", *call), 2)
    (tmp_path / "dev.de").rename(tmp_path / "dev.de.gz")  # what it is not
    assert "dev.de.gz is cut or damaged" in refused(prepare("own", *call))


def test_a_line_that_no_model_can_translate_and_codes_with_a_hyphen(tmp_path):
    (tmp_path / "pairs.tsv").write_bytes(made_up.text(ROWS))
    for name in ("dev.pt-BR", "dev.en", "test.pt-BR", "test.en"):
        (tmp_path / name).write_text("Die Katze\n" * 8 + "a b c d " * 500 + "\n")
    sets = [f"--{name}={tmp_path / file}" for name, file in (("valid", "dev"), ("test", "test"))]
    call = ["pt-BR", "en", "--tsv", tmp_path / "pairs.tsv", *sets, "--vocab-size", "90"]
    done = prepare("own", *call, "--work", tmp_path / "work", "--dest", tmp_path / "bin")
    assert done.status == 0
    (said,) = [line for line in done.out if "warning: line 9 of test.pt_BR has " in line]
    assert "fairseq's models translate at most 1023: shorten it" in said
    missing = [*call[:4], f"--valid={tmp_path}/no", f"--test={tmp_path}/no"]
    assert "no.pt_BR, nor " in refused(prepare("own", *missing))


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["de", "--tsv", "x", "--valid", "1", "--test", "1"], 2, "'de' is not SRC TGT"),
        (["de", "en", "--valid", "1", "--test", "1"], 2, "give --train PREFIX or --tsv FILE"),
        (["de", "en", "--tsv", "x", "--test", "1"], 2, "required: --valid"),
        (
            ["pt-BR", "eng", "--tsv", "x", "--valid", "8", "--test", "1", "--moses"],
            2,
            "'pt_BR': the Moses tokeniser's rules are for 'pt'; give that code",
        ),
        (["de", "en", "--tsv", "x", "--valid", "y", "--test", "1"], 2, "both a number of pairs"),
        (["de", "en", "--tsv", "x", "--valid", "7", "--test", "1"], 2, "fairseq needs 8 sentences"),
        (["de", "en", "--tsv", "x", "--valid", "²", "--test", "1"], 2, "both a number of pairs"),
        (["de", "en", "--tsv", "/no/x", "--valid", "8", "--test", "1"], 1, "there is no /no/x"),
        (["de", "en", "--train", "/no/x", "--valid", "8", "--test", "1"], 1, "no /no/x.de, nor"),
    ],
)
def test_mistakes_are_one_line(arguments, status, words, tmp_path):
    where = ["--work", tmp_path / "work", "--dest", tmp_path / "bin"]
    assert words in refused(prepare("own", *arguments, *where), status)


@pytest.mark.parametrize("option", ["--work", "--dest"])
def test_a_place_where_nothing_can_be_written_is_found_before_the_work(option, tmp_path):
    where = {"--work": tmp_path / "work", "--dest": tmp_path / "bin", option: "/proc/no/place"}
    (tmp_path / "x").write_text("a\tb\n" * 50)
    call = ["de", "en", "--tsv", tmp_path / "x", "--valid", "8", "--test", "8"]
    message = refused(prepare("own", *call, *(word for pair in where.items() for word in pair)))
    assert f"{option}: nothing can be written in /proc/no" in message
    assert not (tmp_path / "work" / "text").exists()


def test_it_is_trained_scored_and_compared(made, tmp_path):
    arch = ["--data", made, "--arch", "shapeshifter_transformer_tiny", "--max-update", "2"]
    runs = {model: tmp_path / model for model in ("shapeshifter", "dense")}
    loss = {"shapeshifter": [], "dense": ["--criterion", "cross_entropy"]}
    for model, run in runs.items():
        call_of = [*arch, "--model", model, "--out", run, "--", *TINY, *loss[model]]
        script("own.sh", *call_of, DEVICE="cpu")
        log = (run / "train.log").read_text()
        assert ("--label-smoothing 0.1" in log) == (model == "shapeshifter")
        assert result_of(run)["recipe"] == "my corpus.xx-yy"
        assert len(lines(run / "hypotheses.txt")) == 7
    done = call("shapeshifter", "compare", *runs.values())
    assert "| shapeshifter | " in done.stdout and "| dense " in done.stdout
    assert "commands.sh" in {path.name for path in runs["dense"].iterdir()}
    theirs = ["--arch", "transformer_tiny", "--dry-run"]  # fairseq's
    said = script("own.sh", "--data", made, *theirs, DEVICE="cpu")
    assert "/transformer_tiny.seed1/" in said and "shapeshifter.seed1" not in said
    assert "--model" in script("own.sh", "--data", made, "--help", DEVICE="cpu")
    # corpus.json may be corrected by hand: what depends on it is made again.
    corrected = shutil.copytree(made, tmp_path / made.name)
    facts = json.loads((corrected / "corpus.json").read_text())
    (corrected / "corpus.json").write_text(json.dumps({**facts, "lowercased": True}))
    call_of = ["--data", corrected, *arch[2:], "--out", runs["shapeshifter"], "--", *TINY]
    said = script("own.sh", *call_of, DEVICE="cpu")
    assert "train: already there, skipped" in said
    assert "case:lc" in result_of(runs["shapeshifter"])["scores"]["BLEU"]["signature"]
    error = script("own.sh", "--data", tmp_path / "nowhere", fails=True)
    assert "prepare-own.sh makes one" in error
