"""word2ket on IWSLT'14 German to English, table 2 of the dissertation."""

from ..word2ket import Word2KetExperiment

main = Word2KetExperiment(
    about="""\
Embeddings in word2ket and word2ketXS: IWSLT'14 German to English (160,000 pairs) with an LSTM, a
bidirectional encoder and a decoder with attention, 256 wide. The dissertation's model reads whole
words; this corpus is in subwords. Data: bash data-prep/prepare-iwslt14.sh""",
    dataset="iwslt14",
    source="de",
    targets=["en"],
    arch="word2ket_lstm_iwslt",
    # 20 epochs (the dissertation's) of 64 sentences an update (the authors' code), which are about
    # these tokens; validation after each epoch.
    updates=50_000,
    tokens_per_update=2_048,
    save_every=2_500,
).main
