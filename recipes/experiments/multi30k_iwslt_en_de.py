"""Multi30k task 1 at the papers' size."""

from ..experiment import Experiment

main = Experiment(
    about="""\
Multi30k (29,000 captions of pictures), English to German, French or Czech, at the papers' size: 6+6
layers, 512 wide, FFN 1024, 4 heads, one table for all. Data: bash data-prep/prepare-multi30k.sh""",
    dataset="multi30k",
    variant="-iwslt",
    source="en",
    targets=["de", "fr", "cs"],
    arch="shapeshifter_transformer_iwslt",
    updates=4_000,
    tokens_per_update=4_096,
    save_every=100,
    setting="--share-all-embeddings --warmup-updates 2000",
).main
