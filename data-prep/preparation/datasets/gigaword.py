"""Gigaword, from the first sentence of an article to its headline."""

from ..dataset import Dataset, Facts, Text

DRIVE = "https://drive.usercontent.google.com/download?export=download&confirm=t"
GIGA = f"{DRIVE}&id=12RZs7QFwjj6dfuYNQ_0Ah-ccH1xFDMD5#name=giga.zip"


DATASET = Dataset(
    name="gigaword",
    about="""\
Prepare word2ket's summarization experiment: 200,000 first sentences of Gigaword's articles and
their headlines, as Texar has them (tokenised, lowercased, digits as #). The paper's model reads
30,428 whole words; a joint byte-pair encoding of 30,000 merges leaves nearly all of them whole.

The file is on Google Drive, which sometimes answers with a page instead. Then fetch giga.zip with a
browser (the error message names the address), and give its folder with --from.""",
    pairs=["article headline"],
    facts=Facts(
        train=Text([(f"{GIGA}::train.article", f"{GIGA}::train.title")]),
        valid=Text([(f"{GIGA}::valid.article", f"{GIGA}::valid.title")]),
        test=Text([(f"{GIGA}::test.article", f"{GIGA}::test.title")]),
        published="200000 train, *",
    ),
    subwords="subword_nmt",
    vocab_size=30_000,
)
main = DATASET.main
