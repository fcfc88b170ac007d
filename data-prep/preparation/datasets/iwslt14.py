"""IWSLT'14 German-English, transcribed talks."""

from ..dataset import Dataset, Facts, Filter, Moses, Text

TALKS = "https://dl.fbaipublicfiles.com/fairseq/data/iwslt14/de-en.tgz::de-en"
TESTS = ["TED.dev2010", "TEDX.dev2012", "TED.tst2010", "TED.tst2011", "TED.tst2012"]


def facts(source: str, target: str) -> Facts:
    types = "8848 de and 6632 en" if source == "de" else "6632 en and 8848 de"
    return Facts(
        train=Text([f"{TALKS}/train.tags.de-en.*"], markup="talks"),
        test=Text([f"{TALKS}/IWSLT14.{name}.de-en.*.xml" for name in TESTS], markup="segments"),
        filters=[Filter("split", ratio=1.5, max_length=175, every=23)],
        published=f"160239 train, 7283 valid, 6750 test sentences; dictionaries of {types} types",
    )


DATASET = Dataset(
    name="iwslt14",
    about="""\
Prepare IWSLT'14 German-English (TED talks) as fairseq's recipe does: lowercased Moses tokens;
training pairs of 1 to 175 tokens and a length ratio of at most 1.5; every 23rd pair goes to the
validation set. The test set is dev2010, TEDX dev2012, tst2010, tst2011 and tst2012 together. A
joint byte-pair encoding of 10,000 merges, and a dictionary for each language.""",
    pairs=["de en", "en de"],
    facts=facts,
    moses=Moses(lowercase=True),
    moses_for_test=Moses(lowercase=True, apostrophes=True),
    subwords="subword_nmt",
    vocab_size=10_000,
    joined=False,
)
main = DATASET.main
