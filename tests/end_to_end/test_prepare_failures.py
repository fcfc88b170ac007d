"""Call prepare-*.sh wrongly; with bad files or no room, killed at every step, twice at once."""

import gzip
import resource
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from tests.data_prep import made_up
from tests.data_prep.made_up import CAPTIONS
from tests.data_prep.scripts import DATA_PREP, bare_python, killed, prepare, refused, snapshot


def test_bad_raw_files_are_one_line(tmp_path: Path) -> None:
    where = ["--work", tmp_path / "work", "--dest", tmp_path / "bin"]

    def refusal(name: str, content: bytes, compress: bool = True) -> str:
        raw = tmp_path / "raw"
        made_up.multi30k(raw)
        (raw / name).write_bytes(gzip.compress(content) if compress else content)
        return refused(prepare("multi30k", "--from", raw, *where))

    message = refusal("train.de.gz", b"Eins\nZwei\n")
    assert "train.de.gz has 2 sentences, but" in message and "train.en.gz has 300" in message
    message = refusal("val.en.gz", b"one\ntw\xf6\n" + b"x\n" * 18)
    assert "val.en.gz, sentence 2: byte 0xf6 is not UTF-8" in message
    message = refusal("test_2016_flickr.en.gz", b"no gzip", compress=False)
    assert "test_2016_flickr.en.gz is cut or damaged" in message
    (tmp_path / "raw" / "val.de.gz").unlink()
    message = refused(prepare("multi30k", "--from", tmp_path / "raw", *where))
    assert "holds no val.de.gz" in message and CAPTIONS in message
    assert not (tmp_path / "bin").exists()


def test_no_room_leaves_nothing_half(tmp_path: Path) -> None:
    made_up.multi30k(tmp_path / "raw")
    where = ["--from", tmp_path / "raw", "--work", tmp_path / "work", "--dest", tmp_path / "bin"]
    limits = (8000, resource.getrlimit(resource.RLIMIT_FSIZE)[1])
    small = partial(resource.setrlimit, resource.RLIMIT_FSIZE, limits)
    message = refused(prepare("multi30k", *where, limit=small))
    assert "the step 'text' failed: a file became larger than this shell allows" in message
    assert not (tmp_path / "bin").exists() and not (tmp_path / "work" / "text").exists()
    assert prepare("multi30k", *where).status == 0


STEPS = ["text", "tokenise", "subwords", "encode", "binarise"]


def test_killed_at_every_step_it_goes_on(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    made_up.multi30k(raw)
    where = ["--from", raw, "--work", tmp_path / "work", "--dest", tmp_path / "bin"]
    for done, step in enumerate(STEPS):
        said = []
        with killed("multi30k", *where) as script:
            for line in script.stdout:
                said.append(line.strip())
                if line.startswith(f"{step} ..."):
                    break
        # What was whole is skipped; the step that was killed may have been whole as well.
        whole = sum(line.endswith("skipped") for line in said)
        assert whole in (max(done - 1, 0), done)
        skipped = [f"{each}: already there, skipped" for each in STEPS[:whole]]
        assert said == [*skipped, *(f"{each} ..." for each in STEPS[whole : done + 1])]
        assert not (tmp_path / "bin").exists()
    last = prepare("multi30k", *where)
    assert last.status == 0 and last.out[-2] == "binarise ..."
    assert not list(tmp_path.rglob("*.part"))
    unbroken = ["--from", raw, "--work", tmp_path / "work 2", "--dest", tmp_path / "bin 2"]
    assert prepare("multi30k", *unbroken).status == 0
    assert snapshot(tmp_path / "bin") == snapshot(tmp_path / "bin 2")
    (tmp_path / "bin" / "test.en-de.en.idx").write_bytes(b"")
    message = refused(prepare("multi30k", *where))
    assert "test.en-de.en.idx is not an index of fairseq's; remove" in message


def test_two_runs_take_turns(tmp_path: Path) -> None:
    made_up.multi30k(tmp_path / "raw")
    where = ["--from", tmp_path / "raw", "--work", tmp_path / "work", "--dest", tmp_path / "bin"]
    with killed("multi30k", *where) as first, killed("multi30k", *where) as second:
        said = [run.communicate(timeout=300)[0].splitlines() for run in (first, second)]
    waiting, working = sorted(said, key=lambda lines: "waiting" not in lines[0])
    assert waiting[0] == f"another process is at work in {tmp_path / 'work'}, waiting for it"
    assert waiting[1:-1] == [f"{step}: already there, skipped" for step in STEPS]
    assert working[:-1] == [f"{step} ..." for step in STEPS] and waiting[-1] == working[-1]


def test_a_corpus_of_an_earlier_release_is_made_anew(tmp_path: Path) -> None:
    made_up.multi30k(tmp_path / "raw")
    old = tmp_path / "bin"
    old.mkdir()
    (old / ".stamp").write_text("binarise joined 4294967295 cksum\n")
    (old / "old.txt").write_text("x")
    where = ["--from", tmp_path / "raw", "--work", tmp_path / "work", "--dest", old]
    assert prepare("multi30k", *where).status == 0
    assert (old / "corpus.json").exists() and not (old / "old.txt").exists()


NAMES = ["multi30k", "iwslt14", "wmt14", "wmt16", "wmt18", "gigaword", "localisation"]


@pytest.mark.parametrize("name", NAMES)
def test_help_teaches(name: str) -> None:
    result = prepare(name, "--help")
    assert result.status == 0
    assert any(line.startswith(f"  bash data-prep/prepare-{name}.sh") for line in result.out)
    assert all(len(line) <= 104 for line in result.out)


@pytest.mark.parametrize(
    ("call", "status", "words"),
    [
        (
            "multi30k de ro",
            2,
            "'de ro' is no pair of this script; choose SRC TGT from: en de, en fr",
        ),
        ("multi30k --workers many", 2, "--workers: 'many' is"),
        ("multi30k --vocab-size 0", 2, "--vocab-size: '0' is"),
        ("multi30k --mirror", 2, "--mirror: expected one argument"),
        ("multi30k --form x", 2, "--form"),
        ("multi30k --from /no/such", 1, "--from /no/such: there is no such folder"),
        ("multi30k --from /tmp --mirror x", 2, "give --from or --mirror, not both"),
        ("multi30k --checksums /no/such", 1, "--checksums /no/such: there is no such file"),
        ("localisation de", 2, "two languages such as"),
        ("localisation de de", 2, "'de de' is not SRC TGT"),
        ("localisation de EN", 2, "'de EN' is not SRC TGT"),
        ("localisation de ../en", 2, "'de ../en' is not SRC TGT"),
        ("localisation de en --mirror x", 2, "--mirror"),
    ],
)
def test_wrong_call_is_one_line(call: str, status: int, words: str) -> None:
    assert words in refused(prepare(*call.split()), status)


def test_missing_tools_are_one_line(tmp_path: Path) -> None:
    where = ["--from", tmp_path, "--work", tmp_path / "w", "--dest", tmp_path / "d"]
    no_python = prepare("multi30k", *where, environment={"PYTHON": "no-such-python"})
    assert "set PYTHON" in refused(no_python)
    no_modules = prepare("multi30k", *where, environment={"PYTHON": bare_python(tmp_path)})
    assert "run: bash recipes/install.sh" in refused(no_modules)


@pytest.mark.parametrize("name", NAMES)
def test_facts_are_there_without_packages(name: str) -> None:
    code = f"from preparation.datasets.{name} import DATASET as d; print(d.corpus('en', 'ro').name)"
    bare = [sys.executable, "-S", "-c", code]
    path = {"PYTHONPATH": f"{DATA_PREP.parent}:{DATA_PREP}"}
    assert subprocess.check_output(bare, env=path, text=True) == f"{name}\n"
