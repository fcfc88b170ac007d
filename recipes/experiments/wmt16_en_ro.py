"""WMT'16 English to Romanian, table 6 of the dissertation."""

from ..experiment import Experiment

main = Experiment(
    about="""\
WMT'16 English to Romanian (610,000 pairs), 6+6 layers, 512 wide, FFN 2048, 8 heads. Paper: dense
33.89, Shapeshifter 32.48 BLEU (tokenised). Data: bash data-prep/prepare-wmt16.sh""",
    dataset="wmt16",
    source="en",
    targets=["ro"],
    arch="shapeshifter_transformer_wmt16",
    # The dissertation follows DeLighT, whose published scripts have these updates and this batch.
    updates=100_000,
    tokens_per_update=32_768,
    save_every=1_000,
).main
