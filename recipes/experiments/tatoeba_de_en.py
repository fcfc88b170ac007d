"""Tatoeba, German to English, at the papers' size."""

from ..experiment import Experiment

main = Experiment(
    about="""\
Tatoeba German to English (164,300 short sentences, CC BY 2.0 FR), a free corpus about as large as
IWSLT'14, 6+6 layers, 512 wide, FFN 1024, 4 heads. Data: bash data-prep/prepare-tatoeba.sh de en""",
    dataset="tatoeba",
    source="de",
    targets=["en"],
    arch="shapeshifter_transformer_iwslt",
    updates=12_000,
    tokens_per_update=4_096,
    save_every=250,
    setting="--warmup-updates 1500 --lr-scheduler polynomial_decay --total-num-update {updates}",
    # A model that has hardly learned does not end its sentences; real translations are shorter.
    generate="--max-len-a 2 --max-len-b 10",
).main
