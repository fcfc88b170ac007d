"""Prepare Multi30k from bad files, without room, killed at every step and twice at once."""

from __future__ import annotations

import fcntl
import gzip
import resource
import time
from pathlib import Path

from tests.data_prep import made_up
from tests.data_prep.made_up import CAPTIONS
from tests.data_prep.scripts import killed, prepare, refused, snapshot


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


STEPS = ["text", "tokenise", "subwords", "encode", "binarise"]


def test_killed_at_every_step_it_goes_on(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    made_up.multi30k(raw)
    where = ["--from", raw, "--work", tmp_path / "work", "--dest", tmp_path / "bin"]
    for done, step in enumerate(STEPS):
        said = []
        with killed("multi30k", *where) as script:
            assert script.stdout is not None
            for line in script.stdout:
                said.append(line.strip())
                if line.startswith(f"{step} ..."):
                    break
            time.sleep(0.1)
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
