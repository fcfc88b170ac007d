"""Run data-prep/prepare-localisation.sh on tiny wheels, offline, and test its parts."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import polib
import pytest

DATA_PREP = Path(__file__).resolve().parent.parent / "data-prep"
SCRIPT = DATA_PREP / "prepare-localisation.sh"

VERBS = {"Open": "Öffne", "Close": "Schließe", "Delete": "Lösche", "Move": "Verschiebe"}
NOUNS = {"page": "Seite", "list": "Liste", "folder": "Mappe", "file": "Datei", "row": "Zeile"}
COLOURS = {"red": "rote", "green": "grüne", "new": "neue", "old": "alte", "large": "große"}
MADE_UP = [
    (f"{verb} the {colour} {noun}", f"{german_verb} die {german_colour} {german_noun}")
    for verb, german_verb in VERBS.items()
    for colour, german_colour in COLOURS.items()
    for noun, german_noun in NOUNS.items()
]

HEADER = 'msgid ""\nmsgstr ""\n"Content-Type: text/plain; charset=UTF-8\\n"\n\n'

GOOD_AND_BAD_PO = (
    HEADER
    + r"""
msgid "The stock\n   is empty."
msgstr "Das Lager\nist\tleer."

msgid "_Save %(name)s"
msgstr "%(name)s s_peichern"

msgid "%d bird"
msgid_plural "%d birds"
msgstr[0] "%d Vogel"
msgstr[1] "%d Vögel"

msgctxt "season"
msgid "Spring is near"
msgstr "Der Frühling ist nah"

msgctxt "coil"
msgid "Spring is near"
msgstr "Die Feder ist nah"

# A second copy, but for capitals.
msgid "the stock is empty."
msgstr "das Lager ist leer."

#, fuzzy
msgid "Poison fuzzy"
msgstr "Gift unscharf"

msgid "Poison untranslated"
msgstr ""

msgid "<b>Poison</b> markup"
msgstr "<b>Gift</b> Auszeichnung"

msgid "%(poison)s: {poison}"
msgstr "{poison} / %(poison)s"

msgid "Poison copy"
msgstr "Poison copy"

msgid "poison_identifier"
msgstr "Gift ohne Englisch"

msgid "12:30"
msgstr "12.30"

msgid "Poison ratio"
msgstr "Gift, das viel länger ist als alles, was zwei englische Wörter je bedeuten könnten"

#~ msgid "Poison obsolete"
#~ msgstr "Gift veraltet"
"""
)
# The good ones above: stock, save, bird, and spring with its two meanings.
GOOD = 5

PLONE_DE = (
    HEADER
    + r"""
#. a note for translators
#. Default: "Edit the \"front\" "
#. "page now"
#: plone/edit.pt:1
msgid "label_edit_page"
msgstr "Die \"Startseite\" jetzt bearbeiten"

msgid "label_english_elsewhere"
msgstr "Der Text steht im englischen Katalog"

msgid "label_unknown"
msgstr "Gift ohne Englisch"
"""
)
PLONE_FR = (
    HEADER
    + r"""
#. Default: "Edit the \"front\" page now"
msgid "label_edit_page"
msgstr "Modifier la page d'accueil"
"""
)
PLONE_EN = HEADER + 'msgid "label_english_elsewhere"\nmsgstr "The text is in another catalog"\n'
IN_PLONE = 2


def po(pairs: list[tuple[str, str]]) -> str:
    catalog = polib.POFile()
    catalog.metadata = {"Content-Type": "text/plain; charset=UTF-8"}
    catalog.extend(polib.POEntry(msgid=source, msgstr=target) for source, target in pairs)
    return str(catalog)


def mo(text: str) -> bytes:
    return polib.pofile(text).to_binary()


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("the wheels")
    poison = po([("Poison from a .mo beside its .po", "Gift")])
    contents: dict[str, dict[str, str | bytes]] = {
        "shop": {
            "shop/locale/de/LC_MESSAGES/django.po": po(MADE_UP[:60]),
            "shop/locale/de/LC_MESSAGES/django.mo": mo(poison),
            "shop/locale/de_Informal/LC_MESSAGES/django.po": po([("Poison tu", "Gift du")]),
            "shop/admin/locale/de-at/LC_MESSAGES/django.po": GOOD_AND_BAD_PO,
            "shop/admin/locale/broken/de/LC_MESSAGES/django.po": "msgid Poison\n",
        },
        # Only compiled catalogs, as in Gramps, and a repetition of what shop has.
        "tree": {
            "tree-1.data/data/share/locale/de_DE/LC_MESSAGES/tree.mo": mo(po(MADE_UP[50:])),
            "tree-1.data/data/share/locale/de_AT/LC_MESSAGES/tree.mo": mo(poison),
        },
        "plone": {
            "plone/locales/de/LC_MESSAGES/plone.po": PLONE_DE,
            "plone/locales/fr/LC_MESSAGES/plone.po": PLONE_FR,
            "plone/locales/en/LC_MESSAGES/plone.po": PLONE_EN,
        },
    }
    for name, entries in contents.items():
        with zipfile.ZipFile(folder / f"{name}-1-py3-none-any.whl", "w") as wheel:
            for entry, content in entries.items():
                wheel.writestr(entry, content)
    return folder


class Run(NamedTuple):
    """A finished run of the script."""

    status: int
    out: list[str]
    err: list[str]


def run(arguments: list[str | Path], environment: dict[str, str] | None = None) -> Run:
    done = subprocess.run(
        ["bash", SCRIPT, *arguments],
        env={**os.environ, "PYTHON": sys.executable, **(environment or {})},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    return Run(done.returncode, done.stdout.splitlines(), done.stderr.splitlines())


def refused(result: Run, status: int = 1) -> str:
    """Check that a run failed with one line, and return the line."""
    assert result.status == status
    assert len(result.err) == 1, result.err
    return result.err[0]


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


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


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
    bare = tmp_path / "bare python"
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "$@"\n')
    bare.chmod(0o755)
    message = refused(run(["de", "en"], {"PYTHON": str(bare)}))
    assert 'pip install "shapeshifter-fairseq[recipes]"' in message


def test_unknown_language_is_one_line(wheels: Path, tmp_path: Path) -> None:
    result = run(["eo", "en", "--from", wheels, "--work", tmp_path / "w", "--dest", tmp_path / "d"])
    assert "no train pairs of eo and en in the 3 wheels" in refused(result)


def test_bad_wheel_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "bad.whl").write_text("no zip")
    result = run(["de", "en", "--from", tmp_path, "--work", tmp_path / "w"])
    assert "bad.whl is no readable wheel" in refused(result)


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


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Import a module of data-prep, which is a folder of scripts and no package."""
    monkeypatch.syspath_prepend(str(DATA_PREP))
    return importlib.import_module


def test_other_language_pair_is_joined_over_english(wheels: Path, tmp_path: Path) -> None:
    extract = [sys.executable, DATA_PREP / "extract_pairs.py", "--wheels", wheels]
    result = subprocess.run(
        [*extract, "--source", "fr", "--target", "de", "--out", tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    # One pair is too few for three splits, and the script says so; it has counted it before.
    assert "plone-1-py3-none-any.whl: 1 pairs" in result.stdout
    assert result.returncode == 1


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
def test_best_tag(
    parts: Callable[[str], ModuleType], tags: set[str], language: str, best: str | None
) -> None:
    assert parts("catalogs").best_tag(tags, language) == best


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
def test_clean(parts: Callable[[str], ModuleType], raw: str, plain: str | None) -> None:
    assert parts("cleaning").clean(raw) == (raw if plain is None else plain)


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
def test_fault(
    parts: Callable[[str], ModuleType], source: str, target: str, fault: str | None
) -> None:
    assert parts("cleaning").fault(source, target) == fault


def test_splits_depend_on_the_words_alone(parts: Callable[[str], ModuleType]) -> None:
    splits = parts("splits")
    sentences = [f"Sentence number {number}" for number in range(2000)]
    chosen = [splits.split_of(sentence) for sentence in sentences]
    assert chosen == [splits.split_of(f" {sentence.upper()}: ") for sentence in sentences]
    shares = [chosen.count(split) / len(chosen) for split in ("train", "valid", "test")]
    assert shares == pytest.approx([0.94, 0.03, 0.03], abs=0.01)

    pairs = [(sentence, sentence) for sentence in sentences]
    assert splits.shuffled(pairs) == splits.shuffled(pairs[::-1]) != pairs
