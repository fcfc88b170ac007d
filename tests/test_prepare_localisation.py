"""Run data-prep/prepare-localisation.sh on tiny wheels, offline, and test its parts."""

import json
import os
import shutil
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest
from preparation import catalogs, cleaning
from preparation import wheels as wheel_texts
from preparation.datasets import localisation
from sentencepiece import SentencePieceProcessor

from recipes.engine import Engine, Step
from recipes.files import fingerprint
from recipes.files import lines_of as lines
from tests.data_prep import made_up_wheels
from tests.data_prep.made_up_wheels import GOOD, IN_PLONE, MADE_UP
from tests.data_prep.scripts import Run, killed, prepare, refused

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("the wheels")
    made_up_wheels.wheels(folder)
    return folder


run = partial(prepare, "localisation")


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
    return Corpus(work, dest, arguments, run(*arguments, "--vocab-size", "120"))


def times(folder: Path) -> dict[Path, int]:
    paths = (path for path in folder.rglob("*") if path.name != "prepare.log")
    return {path: path.stat().st_mtime_ns for path in paths}


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
    assert sum(sizes) == len(MADE_UP) + GOOD + IN_PLONE and min(sizes) > 0
    types = len(lines(corpus.dest / "dict.de.txt")) + 4
    said = "{}: {} train, {} valid, {} test sentences; dictionary of {} types"
    assert result.out[-1] == said.format(corpus.dest, *sizes, types)

    splits = ("train", "valid", "test")
    pairs = {pair for split in splits for pair in zip(text[split, "de"], text[split, "en"])}
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

    one, two, three = (set(map(str.casefold, text[split, "en"])) for split in splits)
    assert not one & two and not one & three and not two & three


def test_corpus_is_ready_for_fairseq(corpus: Corpus) -> None:
    names = {path.relative_to(corpus.dest).as_posix() for path in corpus.dest.rglob("*")}
    assert {"sentencepiece.bpe.model", "raw/test.de", "raw/test.en", "raw/valid.de"} <= names
    assert {"train.de-en.de.bin", "train.de-en.en.idx"} <= names
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
    # What a kill may leave behind.
    for rest in (".de-en.part", ".de-en.replaced"):
        (corpus.dest.parent / rest).mkdir()
    again = run(*corpus.arguments, "--vocab-size", "120")
    assert (again.status, again.err) == (0, [])
    assert [line for line in again.out if "skipped" in line] == again.out[:-1]
    assert again.out[-1] == corpus.first_run.out[-1]
    assert (times(corpus.work), times(corpus.dest)) == before

    failed = refused(run(*corpus.arguments, "--vocab-size", "9999"))
    assert "step 'subwords' failed" in failed and "--vocab-size 9999" in failed
    assert str(corpus.work / "prepare.log") in failed
    assert (times(corpus.work), times(corpus.dest)) == before

    smaller = run(*corpus.arguments, "--vocab-size", "80")
    assert (smaller.status, smaller.err) == (0, [])
    steps = [f"{step} ..." for step in ("subwords", "encode", "binarise")]
    assert smaller.out[:-1] == ["text: already there, skipped", *steps]
    assert times(corpus.work / "text").items() <= before[0].items()
    assert len(lines(corpus.dest / "dict.de.txt")) < 120
    assert [path.name for path in corpus.dest.parent.iterdir()] == ["de-en"]


def test_leaves_foreign_folders_alone(corpus: Corpus, tmp_path: Path) -> None:
    thesis = tmp_path / "thesis.tex"
    thesis.write_text("mine")
    assert "was not made by this script" in refused(run(*corpus.arguments[:-1], tmp_path))
    assert thesis.read_text() == "mine"


def test_unknown_language_is_one_line(wheels: Path, tmp_path: Path) -> None:
    result = run("eo", "en", "--from", wheels, "--work", tmp_path / "w", "--dest", tmp_path / "d")
    assert "no train pairs of eo and en in the 3 wheels" in refused(result)


def test_bad_wheel_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "bad.whl").write_text("no zip")
    result = run("de", "en", "--from", tmp_path, "--work", tmp_path / "w")
    assert "bad.whl is not a readable wheel" in refused(result)


def test_a_second_language_pair_waits_for_the_wheels(wheels: Path, tmp_path: Path) -> None:
    pytest.importorskip("pip", reason="only pip can download")
    shared, requirements = tmp_path / "localisation-wheels", localisation.DATASET.wheels
    arguments = ["fr", "en", "--work", tmp_path / "w", "--dest", tmp_path / "d"]
    with ExitStack() as stack:
        first = stack.enter_context(Engine(tmp_path / "localisation-wheels.steps").alone())
        with killed("localisation", *arguments) as script:
            assert "another process is at work" in script.stdout.readline()
            fill = partial(shutil.copytree, wheels, dirs_exist_ok=True)
            first.do(Step("download", shared, fill, fingerprint(requirements), folder=True))
            stack.close()
            assert script.stdout.readline() == "download: already there, skipped\n"
            assert script.stdout.readline() == "text ...\n"


def test_no_network_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("pip", reason="only pip can download")
    offline = {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": "http://127.0.0.1:9/simple"}
    offline |= {"PIP_EXTRA_INDEX_URL": "", "PIP_FIND_LINKS": "", "PIP_RETRIES": "0"}
    message = refused(run("de", "en", "--work", tmp_path / "w", environment=offline))
    assert "step 'download' failed: pip" in message and "--from DIR" in message
    assert not (tmp_path / "localisation-wheels").exists()


def test_other_language_pair_is_joined_over_english(tmp_path: Path) -> None:
    made_up_wheels.wheels(tmp_path)
    [plone] = tmp_path.glob("plone*")
    english, french, german = 'Edit the "front" page now', "Modifier la page d'accueil", "Die "
    [pair] = wheel_texts.read_pairs(plone, "fr", "de", print)
    assert pair[:2] == (english, french) and pair[2].startswith(german)


@pytest.mark.parametrize(
    ("tags", "language", "best"),
    [
        ({"de", "de_AT", "de_Informal"}, "de", "de"),
        ({"de_AT", "de_DE"}, "de", "de_DE"),
        ({"pt-br", "pt_PT"}, "pt", "pt_PT"),
        ({"pt-br", "pt"}, "pt_BR", "pt-br"),
        ({"de_Informal", "de-informal", "den"}, "de", None),
        ({"sr_Latn", "sr@latin"}, "sr", None),
        ({"zh_Hans_CN"}, "zh_Hans", "zh_Hans_CN"),
        ({"es_419"}, "es", "es_419"),
    ],
)
def test_best_tag(tags: set[str], language: str, best: str | None) -> None:
    assert catalogs.best_tag(tags, language) == best


@pytest.mark.parametrize(
    ("raw", "plain"),
    [
        ("two\n  lines\u00a0here ", "two lines here"),
        ("Ko\u0308ln &amp; Bonn", "Köln & Bonn"),
        ("_File", "File"),
        ("B_earbeiten", "Bearbeiten"),
        ("Delete %(page_title)s", "Delete %(page_title)s"),
        ("Rename the item called index_html or delete it", None),
    ],
)
def test_clean(raw: str, plain: str | None) -> None:
    assert cleaning.clean(raw) == (raw if plain is None else plain)


@pytest.mark.parametrize(
    ("source", "target", "fault"),
    [
        ("Seite %(n)s von %(m)s", "Page %(n)s of %(m)s", None),
        ("Personen mit <Name>", "People with <name>", None),
        ("Österreich", "At", None),
        ("${name}: {x} / %s", "%s: {x} / ${name}", "no text"),
        ("100 %", "100%", "no text"),
        ("Eine <em>gute</em> Idee", "A good idea", "markup"),
        ("OpenStack", "openstack", "copy"),
        ("lang " * 101, "long " * 101, "too long"),
        ("Nein", "No, and for the following reasons that we shall explain", "length ratio"),
    ],
)
def test_fault(source: str, target: str, fault: str | None) -> None:
    assert cleaning.fault(source, target) == fault


def test_splits_depend_on_the_words_alone() -> None:
    sentences = [f"Sentence number {number}" for number in range(2000)]
    chosen = [wheel_texts.split_of(sentence) for sentence in sentences]
    assert chosen == [wheel_texts.split_of(f" {sentence.upper()}: ") for sentence in sentences]
    shares = [chosen.count(split) / len(chosen) for split in ("train", "valid", "test")]
    assert shares == pytest.approx([0.94, 0.03, 0.03], abs=0.01)

    pairs = [(sentence, sentence) for sentence in sentences]
    assert wheel_texts.shuffled(pairs) == wheel_texts.shuffled(pairs[::-1]) != pairs
