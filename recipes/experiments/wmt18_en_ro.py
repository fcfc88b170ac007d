"""WMT'18 English to Romanian, table 4 of the dissertation."""

from ..experiment import Experiment

main = Experiment(
    about="""\
WMT'18 English to Romanian with a Transformer of T5-small's size (6+6 layers, 512 wide, FFN 2048, 8
heads), scored on the development set as in the dissertation: T5-small has 24.30 BLEU, Shapeshifter
with layer rank 24 and embedding rank 256 has 22.56. The dissertation trains T5 itself, with its
vocabulary and LAMB. Data: bash data-prep/prepare-wmt18.sh""",
    dataset="wmt18",
    source="en",
    targets=["ro"],
    arch="shapeshifter_transformer_wmt16",
    # The dissertation's batch is 192 sentences, about these tokens; it does not say how many
    # updates.
    updates=100_000,
    tokens_per_update=8_192,
    save_every=1_000,
    # fairseq has the dissertation's LAMB (with a rate of 3e-3) only for GPUs with NVIDIA's apex. So
    # Adam and its rate stay.
    setting="--dropout 0.1 --weight-decay 0",
    split="valid",
).main
