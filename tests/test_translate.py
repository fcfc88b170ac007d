"""Plain text to subwords and back, as a corpus.json says, and `shapeshifter translate`."""

import json

import pytest

from shapeshifter_fairseq.corpus import Corpus, Text


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


def test_text_without_a_tokeniser_stays_as_it_is(text_of):
    text = text_of(tokenizer=None, lowercased=False)
    assert text.words("Isn’t “X” here?") == "Isn’t “X” here?"
    assert text.plain(text.cut("see the end")) == "see the end"
