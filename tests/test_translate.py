"""Plain text to subwords and back, as a corpus.json says, and `shapeshifter translate`."""

import io
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as some

from shapeshifter_fairseq import ShapeshifterError
from shapeshifter_fairseq.corpus import Corpus, Text
from shapeshifter_fairseq.translating import Translator, halves, read_lines


@pytest.fixture
def text_of(tmp_path):
    def make(**facts):
        corpus = {"source": "en", "target": "en", "subwords": "subword_nmt"} | facts
        (tmp_path / "corpus.json").write_text(json.dumps(corpus))
        (tmp_path / "bpecodes").write_text("#version: 0.2\nt h\nth e</w>\n")
        return Text(Corpus.read(tmp_path), tmp_path)

    return make


@pytest.mark.parametrize(
    "lowercased, dash_splits, words",
    [
        (True, False, "the well-known dog isn &apos;t here ."),
        (False, True, "The well @-@ known dog isn &apos;t here ."),
    ],
)
def test_words_are_those_of_the_training_text(lowercased, dash_splits, words, text_of):
    text = text_of(tokenizer="moses", lowercased=lowercased, dash_splits=dash_splits)
    line = "The well-known dog isn’t here."
    assert text.words(line) == words
    pieces = text.cut(words.lower())
    assert pieces[0] == "the" and "k@@" in pieces
    assert text.plain(pieces) == line.replace("’", "'").lower()


IWSLT14 = {"lowercased": True, "normalised": False, "apostrophes": True}
WMT16 = {"lowercased": False, "normalised": True, "dash_splits": True, "without_diacritics": True}


@pytest.mark.parametrize(
    "facts, line, words",
    [
        (IWSLT14, "It’s “X” – Île", "it &apos;s “ x ” – île"),
        (WMT16 | {"source": "ro"}, "„Ţara” și pâine", "&quot; Tara &quot; si paine"),
        # English words with such letters keep them, and a cut-off character is a space.
        (WMT16, "Château\u200bgârdens", "Château gârdens"),
        # A corpus.json from before these were written down.
        ({"lowercased": False, "source": "ro"}, "„Țara” și", "&quot; Țara &quot; și"),
    ],
)
def test_words_follow_the_preparation(facts, line, words, text_of):
    text = text_of(**({"tokenizer": "moses"} | facts))
    assert text.words(line) == words
    assert text.corpus.tokenizer


@pytest.mark.parametrize(
    "facts, codes, words",
    [
        ({"subwords": "bytes"}, "", "corpus.json does not describe a corpus: 'subwords' is 'by"),
        ({}, "#version: 0.2\nt h\nthe\n", "bpecodes is damaged: invalid line 3 in BPE codes fi"),
    ],
)
def test_a_damaged_folder_is_one_line(facts, codes, words, text_of, tmp_path, capsys):
    text_of()
    (tmp_path / "corpus.json").write_text(
        json.dumps({"source": "en", "target": "en", "subwords": "subword_nmt"} | facts)
    )
    (tmp_path / "bpecodes").write_text(codes)
    (tmp_path / "model.bin").touch()
    with pytest.raises(ShapeshifterError) as error:
        Translator(tmp_path)
    assert str(error.value).startswith(f"{tmp_path / words}")
    assert len(str(error.value).splitlines()) == 1 and capsys.readouterr().err == ""


def test_text_without_a_tokeniser_stays_as_it_is(text_of):
    text = text_of(tokenizer=None, lowercased=False)
    assert text.words("Isn’t “X” here?") == "Isn’t “X” here?"
    assert text.plain(text.cut("see the end")) == "see the end"


@pytest.mark.parametrize(
    "subwords, line, left",
    [
        ("subword_nmt", "a b c@@ d e f", "a b"),  # of two places equally near
        ("subword_nmt", "a b@@ c@@ d@@ e@@ f", "a"),
        ("subword_nmt", "a@@ b@@ c@@ d", "a@@ b@@"),
        ("subword_nmt", "a b c . d e f g h i j", "a b c ."),
        ("subword_nmt", "a . b c d e f g h i j", "a . b c d"),  # too far from the middle
        ("sentencepiece", "▁a ▁b c d e ▁f", "▁a"),
        ("sentencepiece", "▁a b . ▁c d ▁e f", "▁a b ."),
        ("sentencepiece", "▁a 3. 5 b c ▁d", "▁a 3. 5 b c"),  # no end of a sentence
        ("sentencepiece", "▁甲 乙。 丙 丁 戊 己", "▁甲 乙。"),
        ("sentencepiece", "▁甲 乙 丙 丁", "▁甲 乙"),
    ],
)
def test_a_line_is_halved_at_a_sentence_or_between_words(subwords, line, left):
    first, second = halves(line.split(), subwords)
    assert (" ".join(first), " ".join([*first, *second])) == (left, line)


PIECES = some.sampled_from(["▁a", "b", "c@@", "d.", ".", "▁。", "?", "é"])


@given(some.lists(PIECES, min_size=2), some.sampled_from(["sentencepiece", "subword_nmt"]))
def test_halves_are_never_empty_and_lose_nothing(line, subwords):
    first, second = halves(line, subwords)
    assert first and second and first + second == line


def test_lines_end_at_newlines_alone():
    text = "a\r\n\nb\u2028c\x0bd\re\r\n\n last"
    (lines, last) = read_lines(io.BytesIO(text.encode()))
    assert lines + last == ["a", "", "b\u2028c\x0bd\re", "", " last"]


def test_a_bad_byte_is_named_after_the_lines_before_it():
    found = read_lines(io.BytesIO("ä\nb\n".encode() + b"c \xe4\nd\n"))
    assert next(found) == ["ä", "b"]
    with pytest.raises(ShapeshifterError, match="^line 3: byte 0xe4 is not UTF-8; convert it with"):
        next(found)


def test_lines_come_as_soon_as_the_input_pauses():
    out, into = os.pipe()
    with open(out, "rb") as stream:
        found = read_lines(stream)
        for written, lines in (("a\nb\nha", ["a", "b"]), ("lf\n", ["half"])):
            os.write(into, written.encode())
            assert next(found) == lines
        os.close(into)
        assert list(found) == []
