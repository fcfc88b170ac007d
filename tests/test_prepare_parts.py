"""Test the parts of data-prep that the benchmarks share."""

import io
import os
import signal
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from preparation import clean, download, filter_pairs, lines, subwords
from preparation.archives import read_lines
from preparation.dataset import Filter, Text

from recipes.console import Failed
from shapeshifter_fairseq.corpus import Moses, spell
from tests.data_prep import made_up
from tests.data_prep.server import serving

PAIR = ("de", "en")
MANY = made_up.text([str(number**9) for number in range(20_000)])


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:"])
def test_reads_members_of_archives(tmp_path: Path, mode: str) -> None:
    made_up.tar(tmp_path / "x.tgz", {"./a/b.en": b"one\ntwo\n", "a/c.en": b"three\n"}, mode)
    assert list(read_lines(f"{tmp_path}/x.tgz::a/b.en")) == [b"one\n", b"two\n"]
    assert list(read_lines(f"{tmp_path}/x.tgz::c.en")) == [b"three\n"]
    with pytest.raises(ValueError, match="x.tgz holds no a/d.en"):
        list(read_lines(f"{tmp_path}/x.tgz::a/d.en"))


def test_a_text_is_read_once_and_nothing_behind_it(tmp_path: Path) -> None:
    file = tmp_path / "x.tar"
    made_up.tar(file, dict.fromkeys(["a.en", "b.en", "c.en"], MANY), "w:")
    whole = file.read_bytes()
    # Cut within c.en: who only looks at the end of the archive sees it.
    file.write_bytes(whole[: len(whole) * 3 // 4])
    assert b"".join(read_lines(f"{file}::b.en")) == MANY
    with pytest.raises(ValueError, match="x.tar is cut or damaged"):
        list(read_lines(f"{file}::c.en"))


def test_cut_archives_are_errors(tmp_path: Path) -> None:
    made_up.tar(tmp_path / "x.tgz", {"a.en": MANY})
    made_up.zipped(tmp_path / "x.zip", {"a.en": MANY})
    for name in ("x.tgz", "x.zip"):
        file = tmp_path / name
        file.write_bytes(file.read_bytes()[:60_000])
        with pytest.raises(ValueError, match=f"{name} is cut or damaged"):
            list(read_lines(f"{file}::a.en"))


def test_markup() -> None:
    talk = [b"<url>x</url>\n", b"<title>A title</title>\n", b" a & b \n", b"<keywords>k\n"]
    assert list(clean.talks(talk)) == [b"A title\n", b" a & b \n"]
    sgml = [b"<doc>\n", b'<seg id="1"> One &amp; two </seg>\n', b'  <seg id="2"></seg>\r\n']
    assert list(clean.segments(sgml)) == [b" One &amp; two ", b""]


def test_words_have_one_plain_space_between_them(tmp_path: Path) -> None:
    """A no-break space would glue them where no tokeniser divides them."""
    rows = [
        "\ufeff10\u00a0000\u202f€ \tten\u3000thousand\x0beuros\r",
        "",
        " \r",
        "\ufeffa\x85b\tc\u2028d\ta licence",  # as where two files were joined
    ]
    (tmp_path / "x.tsv").write_bytes(made_up.text(rows))
    out = [tmp_path / "train.de", tmp_path / "train.en"]
    files, text = [[str(tmp_path / "x.tsv")] * 2], Text(markup=("tab 1", "tab 2"))
    how = {"held_out": False, "without_diacritics": False}
    said = clean.write(out, files, text, **how)
    assert said == "train: 2 kept, 1 with more columns, which are ignored, 2 empty"
    assert [path.read_text() for path in out] == ["10 000 €\na b\n", "ten thousand euros\nc d\n"]
    (tmp_path / "x.tsv").write_bytes(made_up.text(["a\tb", "no tab"]))
    with pytest.raises(ValueError, match="x.tsv, line 2 has no tab between two sentences"):
        clean.write(out, files, text, **how)


def test_tokenises_as_moses_does() -> None:
    def tokenise(texts: list[str], language: str, **how: bool) -> list[str]:
        return lines.tokenise(texts, Moses(**how), language)

    assert tokenise(["Don't go, Mr. Smith."], "en") == ["Don &apos;t go , Mr. Smith ."]
    assert tokenise(["A well-known id"], "en", dash_splits=True) == ["A well @-@ known id"]
    assert tokenise(["L’été…"], "fr", normalise=True) == ["L&apos; été ..."]
    assert tokenise(["It’s"], "en", apostrophes=True) == ["It &apos;s"]
    assert tokenise(["ÄRGER"], "de", lowercase=True) == ["ärger"]
    # A character that cannot be seen divides words; a tab and an empty line are no trouble.
    assert tokenise(["a\u200bb\tc", ""], "en", normalise=True) == ["a b c", ""]


def test_diacritics_go_from_romanian_only() -> None:
    # Both spellings of Romanian's s and t, and each letter with a mark.
    text = "Ţara şi Țara și ăâîĂÂÎ, Ș ș Ş Ț ț é"
    assert spell(text, "ro", True) == "Tara si Tara si aaiAAI, S s S T t é"
    assert spell(text, "ro", False) == spell(text, "en", True) == text


@given(st.integers(0, 60), st.integers(0, 60), st.integers(1, 50), st.floats(1, 9))
def test_lengths_that_are_kept(n: int, m: int, longest: int, ratio: float) -> None:
    kept = filter_pairs.is_kept("x " * n, "x " * m, longest, ratio)
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
    forms, said, out = [tmp_path / "text", tmp_path / "tokenised"], [], tmp_path / "out"
    out.mkdir()
    rule = Filter(ratio=1.5, max_length=5, valid=True)
    filter_pairs.write(forms, PAIR, out, rule, said.append)
    assert said[0] == "train: 3 kept, 2 dropped"
    for form in ("tokenised", "text"):
        for side, of_test in (("de", ["0", "1", "2", "", "4"]), ("en", list("01234"))):
            files = {file.stem: file for file in (out / form).glob(f"*.{side}")}
            numbers = {
                split: [line[:1].strip() for line in file.open()] for split, file in files.items()
            }
            train = {"train": ["0", "2", "4"]} if form == "tokenised" else {}
            assert numbers == {**train, "valid": ["0", "2", "4"], "test": of_test}
    (tmp_path / "out 2").mkdir()
    with pytest.raises(ValueError, match="too few train pairs"):
        filter_pairs.write(forms, PAIR, tmp_path / "out 2", Filter(every=6), said.append)


@pytest.fixture(scope="module")
def long_text(tmp_path_factory) -> Path:
    """More lines than one process takes at a time."""
    file = tmp_path_factory.mktemp("long") / "train.en"
    file.write_bytes(made_up.text(made_up.sentences(10_500, 3, ("en", "de"))["en"]))
    return file


def test_processes_change_nothing(long_text: Path, tmp_path: Path) -> None:
    made = []
    for workers in (1, 2):
        tokenise = partial(lines.tokenise, moses=Moses(), language="en")
        lines.map_file(tokenise, long_text, tmp_path, workers)
        made.append((tmp_path / "train.en").read_text())
    assert made[0] == made[1] and made[0].count("\n") == 10_500


def test_an_error_in_another_process_is_an_error(long_text: Path, tmp_path: Path) -> None:
    cut = partial(subwords.cut, kind="subword_nmt", model=tmp_path / "no codes")
    with pytest.raises(FileNotFoundError, match="no codes"):
        lines.map_file(cut, long_text, tmp_path, 2)
    with pytest.raises(ValueError, match="a process was killed; fewer --workers"):
        lines.map_file(_killed, long_text, tmp_path, 2)


def _killed(lines: list[str]) -> list[str]:
    os.kill(os.getpid(), signal.SIGKILL)
    return lines


def test_bpe_is_what_subword_nmt_makes(long_text: Path, tmp_path: Path, capfd) -> None:
    from subword_nmt.apply_bpe import BPE
    from subword_nmt.learn_bpe import learn_bpe

    codes = tmp_path / "bpecodes"
    subwords.KINDS["subword_nmt"]([long_text], codes, 40, 2)
    assert capfd.readouterr() == ("", "")
    expected = io.StringIO()
    with long_text.open(encoding="utf-8") as text:
        learn_bpe(text, expected, 40)
    assert codes.read_text(encoding="utf-8") == expected.getvalue()

    (tmp_path / "out").mkdir()
    cut = partial(subwords.cut, kind="subword_nmt", model=codes)
    lines.map_file(cut, long_text, tmp_path / "out", 1)
    expected.seek(0)
    bpe = BPE(expected)
    plain = long_text.read_text(encoding="utf-8").split("\n")
    made = (tmp_path / "out" / "train.en").read_text(encoding="utf-8").split("\n")
    assert made == [bpe.process_line(line) for line in plain]


def test_download_never_glues_two_versions(tmp_path: Path) -> None:
    web, to = tmp_path / "web", tmp_path / "to"
    web.mkdir()
    to.mkdir()
    old, new = b"old" * 1000, b"new" * 1200
    (web / "x.txt").write_bytes(old)
    with serving(web) as server:
        server.cut_after = 1000
        with pytest.raises(EOFError, match="cut off after 1000 of 3000 bytes"):
            download.fetch_rest(f"{server.url}/x.txt", to / "x.txt.part")
        (web / "x.txt").write_bytes(new)
        server.cut_after = None
        assert download.locate("http://x.org/a?y=1#name=z", "")[1:] == ("z", "")
        digest = download.fetch(f"{server.url}/x.txt", to / "x.txt", {})
        assert (to / "x.txt").read_bytes() == new
        assert digest == download.digest(to / "x.txt", "sha256")
        # A part that is longer than the file is of another version; one as long was only not
        # renamed before the kill, and is not fetched again.
        for content, requests in ((new * 2, 2), (new, 1)):
            (to / "x.txt.part").write_bytes(content)
            tag = f'"{(web / "x.txt").stat().st_mtime_ns}"'
            (to / "x.txt.part.tag").write_text(tag)
            server.requests.clear()
            download.fetch(f"{server.url}/x.txt", to / "x.txt", {})
            assert (to / "x.txt").read_bytes() == new
            assert len(server.requests) == requests
    assert Counter(path.suffix for path in to.iterdir()) == {".txt": 1}


def test_news_test_sets_are_known() -> None:
    [(source, target)] = Text(news="wmt16").pairs("en", "ro")
    assert source.startswith("https://") and "/test.tgz#md5=" in source
    assert source.endswith("enro-src.en.sgm") and target.endswith("enro-ref.ro.sgm")
    with pytest.raises(Failed, match="knows no test set"):
        Text(news="wmt16").pairs("en", "xx")
