"""word2ket on Gigaword, the first sentence of an article to its headline, table 1."""

from ..word2ket import Word2KetExperiment

main = Word2KetExperiment(
    about="""\
Embeddings in word2ket and word2ketXS: headlines of Gigaword (200,000 articles) with an LSTM, a
bidirectional encoder and a decoder with attention, 256 wide.
Data: bash data-prep/prepare-gigaword.sh""",
    dataset="gigaword",
    source="article",
    targets=["headline"],
    arch="word2ket_lstm_gigaword",
    # 20 epochs (the dissertation's) of 64 sentences an update (the authors' code), which are about
    # these tokens; validation after each epoch.
    updates=62_500,
    tokens_per_update=2_048,
    save_every=3_125,
    scores="rouge",
).main
