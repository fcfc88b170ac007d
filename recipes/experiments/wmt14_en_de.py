"""WMT'14 English to German, table 7 of the dissertation."""

from ..experiment import Experiment

main = Experiment(
    about="""\
WMT'14 English to German (3.9 million pairs), 6+6 layers, 512 wide, FFN 2048, 8 heads. Paper:
Shapeshifter 26.6 BLEU; dense 27.3, as DeLighT's paper has it (tokenised, compounds in parts).
Data: bash data-prep/prepare-wmt14.sh""",
    dataset="wmt14",
    source="en",
    targets=["de"],
    arch="shapeshifter_transformer_wmt14",
    # The dissertation follows DeLighT, whose published scripts have these updates, this batch and
    # this length penalty.
    updates=30_000,
    tokens_per_update=524_288,
    save_every=500,
    generate="--lenpen 0.4",
    split_compounds=True,
).main
