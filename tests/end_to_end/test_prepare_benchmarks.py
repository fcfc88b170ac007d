"""Run every prepare-*.sh of the benchmarks to its end, on tiny files like the real ones."""

from __future__ import annotations

import fcntl
import gzip
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.data_prep import made_up
from tests.data_prep.server import serving

DATA_PREP = Path(__file__).resolve().parents[2] / "data-prep"
CAPTIONS = "raw.githubusercontent.com/multi30k/dataset/master/data/task1/raw"


class Run(NamedTuple):
    """A finished run of a script."""

    status: int
    out: list[str]
    err: list[str]


ENVIRONMENT = {**os.environ, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1", "no_proxy": "*"}


def prepare(
    name: str,
    *arguments: str | Path,
    environment: dict[str, str] | None = None,
    limit: Callable[[], None] | None = None,
) -> Run:
    done = subprocess.run(
        ["bash", DATA_PREP / f"prepare-{name}.sh", *arguments, "--workers", "2"],
        env={**ENVIRONMENT, **(environment or {})},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=limit,
    )
    return Run(done.returncode, done.stdout.splitlines(), done.stderr.splitlines())


def refused(result: Run, status: int = 1) -> str:
    """Check that a run failed with one line, and return the line."""
    assert result.status == status, result
    assert len(result.err) == 1, result.err
    return result.err[0]


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").split("\n")[:-1]


def snapshot(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".stamp"
    }


class Corpus(NamedTuple):
    """A prepared corpus: its folders, what it says of itself, and the run that made it."""

    raw: Path
    work: Path
    dest: Path
    facts: dict
    run: Run

    def pair(self, kind: str, split: str) -> list[tuple[str, str]]:
        sides = [
            lines(self.dest / kind / f"{split}.{self.facts[side]}") for side in ("source", "target")
        ]
        assert len(sides[0]) == len(sides[1])
        return list(zip(*sides))


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Corpus]:
    """Write raw files, prepare them, and check what holds for every dataset."""

    def make(name: str, write: Callable[[Path], None], *arguments: str) -> Corpus:
        raw, work, dest = tmp_path / "raw files", tmp_path / "the work", tmp_path / "data bin" / "x"
        write(raw)
        run = prepare(name, *arguments, "--from", raw, "--work", work, "--dest", dest)
        assert (run.status, run.err) == (0, [])
        facts = json.loads((dest / "corpus.json").read_text())
        corpus = Corpus(raw, work, dest, facts, run)
        source, target = facts["source"], facts["target"]
        assert facts["name"] == name
        for language in (source, target):
            assert facts["types"][language] == len(lines(dest / f"dict.{language}.txt")) + 4
        kinds = ["raw", "tokenised"] if facts["tokenizer"] else ["raw"]
        assert {path.name for path in dest.iterdir() if path.is_dir()} == set(kinds)
        for split in ("valid", "test"):
            for kind in kinds:
                assert len(corpus.pair(kind, split)) == facts["sentences"][split]
        for split in ("train", "valid", "test"):
            for ending in ("bin", "idx"):
                assert (dest / f"{split}.{source}-{target}.{target}.{ending}").stat().st_size > 0
        model = "bpecodes" if facts["subwords"] == "subword_nmt" else "sentencepiece.bpe.model"
        assert (dest / model).stat().st_size > 0
        counts = ", ".join(f"{count} {split}" for split, count in facts["sentences"].items())
        assert run.out[-1].startswith(f"{dest}: {counts} sentences; dictionar")
        return corpus

    return make


@pytest.mark.parametrize("target", ["de", "cs"])
def test_multi30k(make, target: str) -> None:
    corpus = make("multi30k", lambda raw: made_up.multi30k(raw, ("en", target)), "en", target)
    assert corpus.facts["sentences"] == {"train": 300, "valid": 20, "test": 10}
    assert corpus.facts["lowercased"] and corpus.facts["tokenizer"] == "moses"
    assert not corpus.facts["dash_splits"]
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
    types = corpus.facts["types"]
    assert corpus.run.out[-1].endswith(
        f"dictionaries of {types['de']} de and {types['en']} en types"
    )


def test_wmt16(make) -> None:
    corpus = make("wmt16", made_up.wmt16)
    assert corpus.facts["sentences"] == {"train": 300, "valid": 12, "test": 14}
    assert corpus.facts["dash_splits"] and not corpus.facts["lowercased"]
    raw = "\n".join(romanian for _, romanian in corpus.pair("raw", "test"))
    tokenised = "\n".join(romanian for _, romanian in corpus.pair("tokenised", "test"))
    assert "Bătrânul" in raw and "Batranul" in tokenised
    assert not set("ăâîșțşţ") & set(tokenised)
    english = "\n".join(english for english, _ in corpus.pair("tokenised", "test"))
    assert "well @-@ known" in english


def test_wmt18(make) -> None:
    corpus = make("wmt18", made_up.wmt16, "ro", "en", "--vocab-size", "85")
    assert corpus.facts["sentences"] == {"train": 301, "valid": 12, "test": 14}
    assert (corpus.facts["tokenizer"], corpus.facts["subwords"]) == (None, "sentencepiece")
    encoded = lines(corpus.work / "encoded" / "test.ro")
    plain = [line.replace(" ", "").replace("▁", " ").strip() for line in encoded]
    assert plain == [romanian for romanian, _ in corpus.pair("raw", "test")]


@pytest.mark.parametrize(("foreign", "train", "valid"), [("de", 1386, 14), ("fr", 2798, 2)])
def test_wmt14(make, foreign: str, train: int, valid: int) -> None:
    corpus = make("wmt14", lambda raw: made_up.wmt14(raw, foreign), "en", foreign)
    assert corpus.facts["sentences"] == {"train": train, "valid": valid, "test": 15}
    assert "1 not UTF-8" in (corpus.work / "prepare.log").read_text()
    test = made_up.sentences(15, 12, ("en", foreign))
    assert corpus.pair("raw", "test") == list(zip(test["en"], test[foreign]))


def test_gigaword(make) -> None:
    corpus = make("gigaword", made_up.gigaword)
    assert corpus.facts["sentences"] == {"train": 200, "valid": 10, "test": 8}
    assert (corpus.facts["source"], corpus.facts["target"]) == ("article", "headline")
    assert corpus.facts["tokenizer"] is None


@pytest.fixture(scope="module")
def web(tmp_path_factory) -> Path:
    """A mirror with Multi30k."""
    root = tmp_path_factory.mktemp("web")
    made_up.multi30k(root / CAPTIONS)
    return root


def test_network_with_cuts_and_a_second_run(web: Path, tmp_path: Path) -> None:
    work, dest = tmp_path / "work", tmp_path / "bin"
    with serving(web) as server:
        server.cut_after = 500  # train.en.gz is longer, and comes in pieces
        arguments = ["--mirror", server.url, "--work", work, "--dest", dest]
        first = prepare("multi30k", *arguments)
        assert (first.status, first.err) == (0, [])
        ranges = [wanted for path, wanted in server.requests if path.endswith("train.en.gz")]
        assert ranges[:2] == [None, "bytes=500-"]
        for file in (web / CAPTIONS).iterdir():
            assert (work / "download" / file.name).read_bytes() == file.read_bytes()
        assert not list(work.rglob("*.part"))
        # The counts are not the published ones, and it says so, from the network only.
        assert first.out[-2].startswith("warning: published is 29000 train, 1014 valid, 1000 test")

        before = snapshot(dest), len(server.requests)
        second = prepare("multi30k", *arguments)
        assert second.status == 0
        assert all(line.endswith("already there, skipped") for line in second.out[:-2])
        assert (snapshot(dest), len(server.requests)) == before
    sums = subprocess.run(
        ["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=work / "download", check=False
    )
    assert sums.returncode == 0

    # The list that a download writes is one that --checksums reads.
    checked = ["--checksums", work / "download" / "SHA256SUMS"]
    assert prepare("multi30k", *arguments, *checked).status == 0
    (work / "download" / "val.en.gz").write_bytes(b"another")
    assert "val.en.gz differs from its checksum" in refused(
        prepare("multi30k", *arguments, *checked)
    )


def test_wrong_checksums_keep_nothing(web: Path, tmp_path: Path) -> None:
    sums = tmp_path / "sums"
    sums.write_text(f"{'0' * 64}  val.en.gz\n")
    with serving(web) as server:
        where = ["--mirror", server.url, "--work", tmp_path / "w", "--dest", tmp_path / "d"]
        message = refused(prepare("multi30k", *where, "--checksums", sums))
        assert "val.en.gz: its sha256 is not 000000" in message
        assert {path.name for path in (tmp_path / "w" / "download").iterdir()} == {
            "SHA256SUMS",
            "train.de.gz",
            "train.en.gz",
        }
        # All but the file that failed is there: the next run asks only for the rest.
        server.requests.clear()
        assert prepare("multi30k", *where).status == 0
        assert not any("train" in path for path, _ in server.requests)

    # sacreBLEU knows the MD5 of the news test sets; these are made up.
    mirror = tmp_path / "statmt"
    made_up.wmt16(mirror / "data.statmt.org/wmt16/translation-task")
    opus = mirror / "object.pouta.csc.fi/OPUS-SETIMES/v2/moses"
    opus.mkdir(parents=True)
    shutil.move(mirror / "data.statmt.org/wmt16/translation-task/en-ro.txt.zip", opus)
    with serving(mirror) as server:
        where = ["--mirror", server.url, "--work", tmp_path / "w2", "--dest", tmp_path / "d2"]
        assert "dev.tgz: its md5 is not 4a3dc2760bb077f4308cce96b06e6af6" in refused(
            prepare("wmt16", *where)
        )
    assert not (tmp_path / "w2" / "download" / "dev.tgz").exists()


def test_network_failures_are_one_line(web: Path, tmp_path: Path) -> None:
    where = ["--work", tmp_path / "work", "--dest", tmp_path / "bin"]
    message = refused(prepare("multi30k", "--mirror", "http://127.0.0.1:9", *where))
    assert "train.en.gz" in message and "--from DIR" in message
    with serving(tmp_path) as server:
        message = refused(prepare("multi30k", "--mirror", server.url, *where))
        assert "404" in message and "train.en.gz" in message
    damaged = tmp_path / "damaged"
    made_up.multi30k(damaged / CAPTIONS)
    file = damaged / CAPTIONS / "train.de.gz"
    file.write_bytes(file.read_bytes()[:-20])
    with serving(damaged) as server:
        message = refused(prepare("multi30k", "--mirror", server.url, *where))
    assert "train.de.gz is damaged" in message
    assert not (tmp_path / "work" / "download" / "train.de.gz").exists()
    assert not (tmp_path / "bin").exists()


def test_bad_raw_files_are_one_line(tmp_path: Path) -> None:
    where = ["--work", tmp_path / "work", "--dest", tmp_path / "bin"]

    def refusal(name: str, content: bytes, compress: bool = True) -> str:
        raw = tmp_path / "raw"
        made_up.multi30k(raw)
        (raw / name).write_bytes(gzip.compress(content) if compress else content)
        return refused(prepare("multi30k", "--from", raw, *where))

    message = refusal("train.de.gz", b"Eins\nZwei\n")
    assert "train.de.gz has 2 sentences, but" in message
    assert "train.en.gz has 300" in message
    message = refusal("val.en.gz", b"one\ntw\xf6\n" + b"x\n" * 18)
    assert "val.en.gz, sentence 2: byte 0xf6 is not UTF-8" in message
    assert "test_2016_flickr.en.gz is cut or damaged" in refusal(
        "test_2016_flickr.en.gz", b"no gzip", compress=False
    )
    (tmp_path / "raw" / "val.de.gz").unlink()
    message = refused(prepare("multi30k", "--from", tmp_path / "raw", *where))
    assert "holds no val.de.gz" in message and CAPTIONS in message
    assert not (tmp_path / "bin").exists()


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
    assert lines(corpus.dest / "raw" / "valid.de") == valid["de"]
    assert lines(corpus.dest / "raw" / "valid.en") == valid["en"]
    assert lines(corpus.dest / "raw" / "test.de")[0] == ""
    log = (corpus.work / "prepare.log").read_text()
    assert "2 empty" in log and "1 empty but kept" in log


def test_no_room_leaves_nothing_half(tmp_path: Path) -> None:
    made_up.multi30k(tmp_path / "raw")
    where = ["--work", tmp_path / "work", "--dest", tmp_path / "bin"]
    limits = (8000, resource.getrlimit(resource.RLIMIT_FSIZE)[1])
    small = prepare(
        "multi30k",
        "--from",
        tmp_path / "raw",
        *where,
        limit=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limits),
    )
    message = refused(small)
    assert "the step 'text' failed: a file became larger than this shell allows" in message
    assert not (tmp_path / "bin").exists() and not (tmp_path / "work" / "text").exists()
    assert prepare("multi30k", "--from", tmp_path / "raw", *where).status == 0


def test_killed_while_downloading_it_goes_on(web: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    with serving(web) as server:
        arguments = ["--mirror", server.url, "--work", work, "--dest", tmp_path / "bin"]
        server.stall_after = 400
        script = subprocess.Popen(
            ["bash", DATA_PREP / "prepare-multi30k.sh", *arguments],
            env=ENVIRONMENT,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        assert server.stalled.wait(60)
        part = work / "download" / "train.en.gz.part"
        end = time.monotonic() + 30
        while not (part.exists() and part.stat().st_size == 400) and time.monotonic() < end:
            time.sleep(0.05)
        os.killpg(script.pid, signal.SIGKILL)
        script.wait()
        server.release.set()
        server.stall_after = None
        assert prepare("multi30k", *arguments).status == 0
        assert server.requests[1] == (f"/{CAPTIONS}/train.en.gz", "bytes=400-")
        whole = (web / CAPTIONS / "train.en.gz").read_bytes()
        assert (work / "download" / "train.en.gz").read_bytes() == whole


STEPS = ["text", "tokenise", "subwords", "encode", "binarise"]


def test_killed_at_every_step_it_goes_on(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    made_up.multi30k(raw)
    where = ["--from", raw, "--work", tmp_path / "work", "--dest", tmp_path / "bin"]
    for done, step in enumerate(STEPS):
        script = subprocess.Popen(
            ["bash", DATA_PREP / "prepare-multi30k.sh", *where, "--workers", "2"],
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert script.stdout is not None
        said = []
        for line in script.stdout:
            said.append(line.strip())
            if line.startswith(f"{step} ..."):
                break
        time.sleep(0.1)
        os.killpg(script.pid, signal.SIGKILL)
        script.wait()
        script.stdout.close()
        # What was whole is skipped, the step that was killed is done again.
        whole = max(done - 1, 0)
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
    assert "test.en-de.en.idx is no index of fairseq; remove" in message


def test_two_runs_do_not_share_a_folder(tmp_path: Path) -> None:
    made_up.multi30k(tmp_path / "raw")
    (tmp_path / "work").mkdir()
    where = ["--work", tmp_path / "work", "--dest", tmp_path / "bin"]
    with (tmp_path / "work" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        message = refused(prepare("multi30k", "--from", tmp_path / "raw", *where))
    assert "another run is still at work" in message


NAMES = ["multi30k", "iwslt14", "wmt14", "wmt16", "wmt18", "gigaword"]


@pytest.mark.parametrize("name", NAMES)
def test_help_teaches(name: str) -> None:
    result = prepare(name, "--help")
    assert result.status == 0
    assert any(line.startswith(f"  bash data-prep/prepare-{name}.sh") for line in result.out)
    assert all(len(line) <= 104 for line in result.out)


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["de", "ro"], 2, "'de ro' is none of its language pairs SRC TGT: en de, en fr, en cs"),
        (["--workers", "many"], 2, "--workers"),
        (["--vocab-size", "0"], 2, "--vocab-size '0'"),
        (["--mirror"], 2, "--mirror needs a value"),
        (["--form", "x"], 2, "unknown option --form"),
        (["--from", "/no/such"], 1, "no folder --from /no/such"),
        (["--from", "/tmp", "--mirror", "x"], 2, "exclude each other"),
        (["--checksums", "/no/such"], 1, "no file --checksums"),
    ],
)
def test_wrong_call_is_one_line(arguments: list[str], status: int, words: str) -> None:
    done = subprocess.run(
        ["bash", DATA_PREP / "prepare-multi30k.sh", *arguments],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert words in refused(Run(done.returncode, [], done.stderr.splitlines()), status)


def test_missing_tools_are_one_line(tmp_path: Path) -> None:
    where = ["--from", tmp_path, "--work", tmp_path / "w", "--dest", tmp_path / "d"]
    no_python = prepare("multi30k", *where, environment={"PYTHON": "no-such-python"})
    assert "set PYTHON" in refused(no_python)
    bare = tmp_path / "bare python"
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "$@"\n')
    bare.chmod(0o755)
    message = refused(prepare("multi30k", *where, environment={"PYTHON": str(bare)}))
    assert 'pip install "shapeshifter-fairseq[recipes]"' in message
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in ("bash", "dirname", "basename", "getconf", "cat", "mkdir", "ls"):
        (tools / tool).symlink_to(shutil.which(tool) or tool)
    message = refused(prepare("multi30k", *where, environment={"PATH": str(tools)}))
    assert "flock not found; install util-linux" in message
