"""Prepare Multi30k from a server on loopback: cuts, damage, refusals and kills."""

import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.data_prep import made_up
from tests.data_prep.made_up import CAPTIONS
from tests.data_prep.scripts import killed, prepare, refused, snapshot
from tests.data_prep.server import serving


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
        assert first.out[-2].startswith(
            "warning: the published corpus has 29000 train, 1014 valid, 1000"
        )

        before = snapshot(dest), len(server.requests)
        second = prepare("multi30k", *arguments)
        assert second.status == 0
        assert all(line.endswith("already there, skipped") for line in second.out[:-2])
        assert (snapshot(dest), len(server.requests)) == before
    check = ["sha256sum", "--check", "--quiet", "SHA256SUMS"]
    assert subprocess.call(check, cwd=work / "download") == 0

    # The list that a download writes is one that --checksums reads.
    checked = ["--checksums", work / "download" / "SHA256SUMS"]
    assert prepare("multi30k", *arguments, *checked).status == 0
    (work / "download" / "val.en.gz").write_bytes(b"another")
    assert "val.en.gz differs from" in refused(prepare("multi30k", *arguments, *checked))


def test_wrong_checksums_keep_nothing(web: Path, tmp_path: Path) -> None:
    sums = tmp_path / "sums"
    sums.write_text(f"{'0' * 64}  val.en.gz\n")
    with serving(web) as server:
        where = ["--mirror", server.url, "--work", tmp_path / "w", "--dest", tmp_path / "d"]
        message = refused(prepare("multi30k", *where, "--checksums", sums))
        assert "val.en.gz: its sha256 is not 000000" in message
        kept = {path.name for path in (tmp_path / "w" / "download").iterdir()}
        assert kept == {"SHA256SUMS", "train.de.gz", "train.en.gz"}
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
        message = refused(prepare("wmt16", *where))
    assert "dev.tgz: its md5 is not 4a3dc2760bb077f4308cce96b06e6af6" in message
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
    assert "train.de.gz: it is damaged" in message
    kept = (tmp_path / "work" / "download" / "train.de.gz").exists()
    assert not kept and not (tmp_path / "bin").exists()


def test_killed_while_downloading_it_goes_on(web: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    with serving(web) as server:
        arguments = ["--mirror", server.url, "--work", work, "--dest", tmp_path / "bin"]
        server.stall_after = 400
        with killed("multi30k", *arguments):
            assert server.stalled.wait(60)
            part = work / "download" / "train.en.gz.part"
            end = time.monotonic() + 30
            while not (part.exists() and part.stat().st_size == 400) and time.monotonic() < end:
                time.sleep(0.05)
        server.release.set()
        server.stall_after = None
        assert prepare("multi30k", *arguments).status == 0
        assert server.requests[1] == (f"/{CAPTIONS}/train.en.gz", "bytes=400-")
        file = work / "download" / "train.en.gz"
        assert file.read_bytes() == (web / CAPTIONS / "train.en.gz").read_bytes()
