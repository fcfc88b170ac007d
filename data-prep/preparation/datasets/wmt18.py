"""English-Romanian with SentencePiece on the plain text."""

from ..dataset import Dataset, Facts
from .wmt16 import TEXTS

DATASET = Dataset(
    name="wmt18",
    about="""\
Prepare English-Romanian for the experiment that the dissertation calls WMT18 En-Ro, where T5-small
is the dense model. WMT has English-Romanian in 2016 only, so the text is that of prepare-wmt16.sh
(after it: --from data/wmt16.en-ro/download), as it is written: cased, untokenised, with diacritics.
A joint SentencePiece unigram model of 32,000 pieces, in place of T5's own; one dictionary.""",
    pairs=["en ro", "ro en"],
    facts=Facts(**TEXTS, published="61???? train, 1999 valid, 1999 test sentences; *"),
    subwords="sentencepiece_unigram",
    vocab_size=32_000,
)
main = DATASET.main
