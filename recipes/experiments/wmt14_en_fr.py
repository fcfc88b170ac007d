"""WMT'14 English to French, table 7 of the dissertation."""

from ..experiment import Experiment

main = Experiment(
    about="""\
WMT'14 English to French (35.8 million pairs), 6+6 layers, 512 wide, FFN 2048, 8 heads. Paper:
Shapeshifter 40.78 BLEU; dense 39.2, as DeLighT's paper has it (tokenised).
Data: bash data-prep/prepare-wmt14.sh en fr""",
    dataset="wmt14",
    source="en",
    targets=["fr"],
    arch="shapeshifter_transformer_wmt14",
    # The dissertation follows DeLighT, whose published scripts have these updates, this batch and
    # this length penalty.
    updates=50_000,
    tokens_per_update=524_288,
    save_every=500,
    delight="--dropout 0.05",  # the authors', for this corpus
    generate="--lenpen 0.9",
).main
