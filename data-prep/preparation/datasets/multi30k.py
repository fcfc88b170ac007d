"""Multi30k, captions of pictures in two languages."""

from ..dataset import Dataset, Facts, Moses, Text

RAW = "https://raw.githubusercontent.com/multi30k/dataset/master/data/task1/raw"

DATASET = Dataset(
    name="multi30k",
    about="""\
Prepare Multi30k task 1 (1.3 MB): captions of pictures, English with German (default), French or
Czech, 29,000 to train, 1,014 to validate, 1,000 to test (test_2016_flickr). Normalised punctuation,
Moses tokenisation, lowercased; a joint byte-pair encoding of 10,000 merges, one dictionary.""",
    pairs=["en de", "en fr", "en cs", "de en", "fr en", "cs en"],
    facts=Facts(
        train=Text([f"{RAW}/train.*.gz"]),
        valid=Text([f"{RAW}/val.*.gz"]),
        test=Text([f"{RAW}/test_2016_flickr.*.gz"]),
        published="29000 train, 1014 valid, 1000 test sentences; *",
    ),
    moses=Moses(normalise=True, lowercase=True),
    subwords="subword_nmt",
    vocab_size=10_000,
)
main = DATASET.main
