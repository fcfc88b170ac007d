"""IWSLT'14 German to English, table 5b of the dissertation."""

from ..experiment import Experiment

main = Experiment(
    about="""\
IWSLT'14 German to English (160,000 pairs), 6+6 layers, 512 wide, FFN 1024, 4 heads. Paper: dense
35.43, Shapeshifter 35.43 BLEU (tokenised). Data: bash data-prep/prepare-iwslt14.sh""",
    dataset="iwslt14",
    source="de",
    targets=["en"],
    arch="shapeshifter_transformer_iwslt",
    # The dissertation gives neither updates nor batch; these are what is usual for this corpus.
    updates=50_000,
    tokens_per_update=4_096,
    save_every=1_000,
).main
