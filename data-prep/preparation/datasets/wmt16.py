"""WMT'16 English-Romanian with Moses tokenisation and a byte-pair encoding."""

from ..dataset import Dataset, Facts, Filter, Moses, Text

EUROPARL = "https://data.statmt.org/wmt16/translation-task/training-parallel-ep-v8.tgz"
SETIMES = "https://object.pouta.csc.fi/OPUS-SETIMES/v2/moses/en-ro.txt.zip"
TRAIN = [f"{EUROPARL}::training-parallel-ep-v8/europarl-v8.ro-en.*", f"{SETIMES}::SETIMES.en-ro.*"]
TEXTS = {
    "train": Text(TRAIN, crawled=True),
    "valid": Text(news="wmt16/dev", markup="segments"),
    "test": Text(news="wmt16", markup="segments"),
}

DATASET = Dataset(
    name="wmt16",
    about="""\
Prepare WMT'16 English-Romanian after Sennrich et al. (2016): Europarl v8 and SETIMES2 for training
(about 610,000 pairs), newsdev2016 for validation, newstest2016 for test. Romanian loses its
diacritics, and punctuation is normalised; Moses tokenisation with split hyphens; training pairs of
at most 80 tokens; a joint byte-pair encoding of 40,000 merges, one dictionary (34,976 types).

The plain text in raw/ has no Romanian diacritics either, because a model that never saw them is
scored against it. So its scores cannot be compared with published newstest2016 results.
prepare-wmt18.sh keeps the diacritics.""",
    pairs=["en ro", "ro en"],
    facts=Facts(
        **TEXTS,
        filters=[Filter(ratio=9, max_length=80)],  # 9: what Moses' clean-corpus-n takes
        published="6[01]???? train, 1999 valid, 1999 test sentences; dictionary of 3[45]??? types",
    ),
    without_diacritics=True,
    moses=Moses(normalise=True, dash_splits=True),
    subwords="subword_nmt",
    vocab_size=40_000,
)
main = DATASET.main
