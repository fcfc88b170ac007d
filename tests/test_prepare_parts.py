"""Test the parts of data-prep that the benchmarks share."""

from __future__ import annotations

import io
import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data_prep import made_up
from tests.data_prep.scripts import DATA_PREP, part
from tests.data_prep.server import serving

PAIR = ("de", "en")


def run(script: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, DATA_PREP / script, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:"])
def test_reads_members_of_archives(tmp_path: Path, mode: str) -> None:
    read_lines = part("archives").read_lines
    made_up.tar(tmp_path / "x.tgz", {"./a/b.en": b"one\ntwo\n", "a/c.en": b"three\n"}, mode)
    assert list(read_lines(f"{tmp_path}/x.tgz::a/b.en")) == [b"one\n", b"two\n"]
    assert list(read_lines(f"{tmp_path}/x.tgz::c.en")) == [b"three\n"]
    with pytest.raises(ValueError, match="x.tgz holds no a/d.en"):
        list(read_lines(f"{tmp_path}/x.tgz::a/d.en"))


def test_a_text_is_read_once_and_nothing_behind_it(tmp_path: Path) -> None:
    many = made_up.text([str(number**9) for number in range(20_000)])
    file = tmp_path / "x.tar"
    made_up.tar(file, {"a.en": many, "b.en": many, "c.en": many}, "w:")
    whole = file.read_bytes()
    # Cut within c.en: who only looks at the end of the archive sees it.
    file.write_bytes(whole[: len(whole) * 3 // 4])
    read_lines = part("archives").read_lines
    assert b"".join(read_lines(f"{file}::b.en")) == many
    with pytest.raises(ValueError, match="x.tar is cut or damaged"):
        list(read_lines(f"{file}::c.en"))


def test_cut_archives_are_errors(tmp_path: Path) -> None:
    read_lines = part("archives").read_lines
    many = made_up.text([str(number**9) for number in range(20_000)])
    made_up.tar(tmp_path / "x.tgz", {"a.en": many})
    made_up.zipped(tmp_path / "x.zip", {"a.en": many})
    for name in ("x.tgz", "x.zip"):
        file = tmp_path / name
        file.write_bytes(file.read_bytes()[:60_000])
        with pytest.raises(ValueError, match=f"{name} is cut or damaged"):
            list(read_lines(f"{file}::a.en"))


def test_markup() -> None:
    markup = part("markup")
    talk = [b"<url>x</url>\n", b"<title>A title</title>\n", b" a & b \n", b"<keywords>k\n"]
    assert list(markup.talks(talk)) == [b"A title\n", b" a & b \n"]
    sgml = [b"<doc>\n", b'<seg id="1"> One &amp; two </seg>\n', b'  <seg id="2"></seg>\r\n']
    assert list(markup.segments(sgml)) == [b" One &amp; two ", b""]


def test_tokenises_as_moses_does() -> None:
    tokenise = partial(
        part("tokenise").tokenise,
        normalise=False,
        apostrophes=False,
        dash_splits=False,
        lowercase=False,
    )
    assert tokenise(["Don't go, Mr. Smith."], language="en") == ["Don &apos;t go , Mr. Smith ."]
    assert tokenise(["A well-known id"], language="en", dash_splits=True) == ["A well @-@ known id"]
    assert tokenise(["L’été…"], language="fr", normalise=True) == ["L&apos; été ..."]
    assert tokenise(["It’s"], language="en", apostrophes=True) == ["It &apos;s"]
    assert tokenise(["ÄRGER"], language="de", lowercase=True) == ["ärger"]
    # A character that cannot be seen divides words; a tab and an empty line are no trouble.
    assert tokenise(["a\u200bb\tc", ""], language="en", normalise=True) == ["a b c", ""]


@pytest.mark.parametrize("options", [(), ("--without-diacritics",)])
def test_diacritics_go_from_romanian_only(tmp_path: Path, options: tuple[str, ...]) -> None:
    # Both spellings of Romanian's s and t, and each letter with a mark.
    text = {"en": "Château, naïve, Şişli", "ro": "Ţara şi Țara și ăâîĂÂÎ, Ș ș Ş Ț ț é"}
    for language, line in text.items():
        (tmp_path / f"raw.{language}").write_text(f"{line}\n", encoding="utf-8")
    out, raw = ([tmp_path / f"{name}.{side}" for side in text] for name in ("test", "raw"))
    done = run("clean.py", "--out", *out, *options, *raw)
    assert done.returncode == 0, done.stderr
    romanian = "Tara si Tara si aaiAAI, S s S T t é" if options else text["ro"]
    assert [path.read_text(encoding="utf-8") for path in out] == [
        f"{text['en']}\n",
        f"{romanian}\n",
    ]


@given(st.integers(0, 60), st.integers(0, 60), st.integers(1, 50), st.floats(1, 9))
def test_lengths_that_are_kept(n: int, m: int, longest: int, ratio: float) -> None:
    kept = part("filter_pairs").is_kept("x " * n, "x " * m, longest, ratio)
    short, long = sorted((n, m))
    assert kept == (short > 0 and long <= longest and long <= ratio * short)


def test_filters_all_forms_alike(tmp_path: Path) -> None:
    for folder, word in (("tokenised", "t"), ("text", "r")):
        (tmp_path / folder).mkdir()
        for split in ("train", "valid", "test"):
            for language in ("de", "en"):
                long = [2, 9, 1, 0, 3] if language == "de" else [2, 2, 1, 1, 3]
                rows = [f"{i} " + f"{word} " * (n - 1) if n else "" for i, n in enumerate(long)]
                (tmp_path / folder / f"{split}.{language}").write_bytes(made_up.text(rows))
    done = run(
        "filter_pairs.py",
        *("--languages", "de", "en", "--by", tmp_path / "tokenised"),
        *("--along", tmp_path / "text", "--out", tmp_path / "out"),
        *("--ratio", "1.5", "--max-length", "5", "--valid"),
    )
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "train: 3 kept, 2 dropped")
    out = tmp_path / "out"
    numbers = {
        path.relative_to(out).as_posix(): [line.split()[:1] for line in path.open()]
        for path in out.rglob("*.*")
    }
    kept, all_of_test = [["0"], ["2"], ["4"]], [["0"], ["1"], ["2"], [], ["4"]]
    assert numbers == {
        **{f"tokenised/{split}.{side}": kept for split in ("train", "valid") for side in PAIR},
        **{f"text/valid.{side}": kept for side in PAIR},
        **{f"{folder}/test.de": all_of_test for folder in ("tokenised", "text")},
        **{f"{folder}/test.en": [[str(n)] for n in range(5)] for folder in ("tokenised", "text")},
    }
    few = run(
        "filter_pairs.py",
        *("--languages", "de", "en", "--by", tmp_path / "tokenised"),
        *("--out", tmp_path / "out 2", "--every", "6"),
    )
    assert few.returncode == 1 and "too few train pairs" in few.stderr


@pytest.fixture(scope="module")
def long_text(tmp_path_factory) -> Path:
    """More lines than one process takes at a time."""
    file = tmp_path_factory.mktemp("long") / "train.en"
    file.write_bytes(made_up.text(made_up.sentences(10_500, 3, ("en", "de"))["en"]))
    return file


def test_processes_change_nothing(long_text: Path, tmp_path: Path) -> None:
    for workers in ("1", "2"):
        out = tmp_path / workers
        out.mkdir()
        done = run("tokenise.py", "--workers", workers, "--out", out, long_text)
        assert done.returncode == 0, done.stderr
    one, two = ((tmp_path / workers / "train.en").read_text() for workers in ("1", "2"))
    assert one == two and one.count("\n") == 10_500


def test_an_error_in_another_process_is_an_error(long_text: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no codes"):
        part("lines").map_files(
            partial(part("subwords").apply_merges, model=tmp_path / "no codes"),
            [long_text],
            tmp_path,
            2,
        )
    with pytest.raises(ValueError, match="became 0"):
        part("lines").map_files(lambda lines: [], [long_text], tmp_path, 1)


def test_bpe_is_what_subword_nmt_makes(long_text: Path, tmp_path: Path) -> None:
    from subword_nmt.apply_bpe import BPE
    from subword_nmt.learn_bpe import learn_bpe

    codes = tmp_path / "bpecodes"
    kind = ("--kind", "subword_nmt", "--model", codes)
    done = run("subwords.py", "learn", *kind, "--vocab-size", "40", "--workers", "2", long_text)
    assert done.returncode == 0, done.stderr
    expected = io.StringIO()
    with long_text.open(encoding="utf-8") as text:
        learn_bpe(text, expected, 40)
    assert codes.read_text(encoding="utf-8") == expected.getvalue()

    (tmp_path / "out").mkdir()
    done = run("subwords.py", "apply", *kind, "--out", tmp_path / "out", long_text)
    assert done.returncode == 0, done.stderr
    expected.seek(0)
    bpe = BPE(expected)
    plain = long_text.read_text(encoding="utf-8").split("\n")
    cut = (tmp_path / "out" / "train.en").read_text(encoding="utf-8").split("\n")
    assert cut == [bpe.process_line(line) for line in plain]


def test_download_never_glues_two_versions(tmp_path: Path) -> None:
    web, to = tmp_path / "web", tmp_path / "to"
    web.mkdir()
    to.mkdir()
    download = part("download")
    old, new = b"old" * 1000, b"new" * 1200
    (web / "x.txt").write_bytes(old)
    with serving(web) as server:
        server.cut_after = 1000
        with pytest.raises(EOFError, match="cut off after 1000 of 3000 bytes"):
            download.fetch_rest(f"{server.url}/x.txt", to / "x.txt.part")
        (web / "x.txt").write_bytes(new)
        server.cut_after = None
        remote = download.Remote.parse(f"{server.url}/x.txt?y=1#name=z.txt", "")
        assert remote[1:] == ("z.txt", "")
        digest = download.fetch(download.Remote(f"{server.url}/x.txt", "x.txt", ""), to, "")
        assert (to / "x.txt").read_bytes() == new
        assert digest == download.digest(to / "x.txt", "sha256")
        # A part that is longer than the file is of another version; one as long was only not
        # renamed before the kill, and is not fetched again.
        for content, requests in ((new * 2, 2), (new, 1)):
            (to / "x.txt.part").write_bytes(content)
            tag = f'"{(web / "x.txt").stat().st_mtime_ns}"'
            (to / "x.txt.part.tag").write_text(tag)
            server.requests.clear()
            download.fetch(download.Remote(f"{server.url}/x.txt", "x.txt", ""), to, "")
            assert (to / "x.txt").read_bytes() == new
            assert len(server.requests) == requests
    assert Counter(path.suffix for path in to.iterdir()) == {".txt": 1}


def test_corpus_json_of_a_damaged_corpus_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.idx").write_bytes(b"no index")
    with pytest.raises(ValueError, match="x.idx is no index of fairseq"):
        part("describe").count_sentences(tmp_path / "x.idx")


@pytest.mark.parametrize("dest", ["./out//the x", "out/the x", "a: b"])
def test_only_other_counts_than_published_are_a_warning(tmp_path: Path, dest: str) -> None:
    describe, folder = part("describe"), tmp_path / dest
    folder.mkdir(parents=True)
    for language in PAIR:
        (folder / f"dict.{language}.txt").write_text("a 1\n")
        for split, count in {"train": 3, "valid": 2, "test": 1}.items():
            index = describe.HEADER.pack(b"MMIDIDX\0\0", 1, 8, count)
            (folder / f"{split}.de-en.{language}.idx").write_bytes(index)
    facts = ("--name", "x", "--source", "de", "--target", "en", "--subwords", "sentencepiece")
    assert run("describe.py", "write", *facts, folder).returncode == 0
    script = f"""
      set -euo pipefail
      dataset=x vocab_size=1 PYTHON={sys.executable!r}
      . {str(DATA_PREP / "corpus.sh")!r}
      from='' dest={dest!r}
      report '3 train, *'
      report '30 train, *'
    """
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    line = f"{dest}: 3 train, 2 valid, 1 test sentences; dictionary of 5 types"
    warning = "warning: published is 30 train, *; the files may have changed since"
    assert done.stdout.splitlines() == [line, warning, line]


def test_news_test_sets_are_known() -> None:
    done = run("test_sets.py", "wmt16", "en", "ro")
    address, source, target = done.stdout.split()
    assert address.startswith("https://") and "/test.tgz#md5=" in address
    assert source.endswith("enro-src.en.sgm") and target.endswith("enro-ref.ro.sgm")
    assert "knows no test set" in run("test_sets.py", "wmt16", "en", "xx").stderr
