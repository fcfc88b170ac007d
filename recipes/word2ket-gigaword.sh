#!/usr/bin/env bash
# word2ket on Gigaword, the first sentence of an article to its headline, table 1; see --help.
set -euo pipefail
unset CDPATH

ABOUT="Embeddings in word2ket and word2ketXS: headlines of Gigaword (200,000 articles) with an LSTM, a
bidirectional encoder and a decoder with attention, 256 wide.
Data: bash data-prep/prepare-gigaword.sh"
dataset=gigaword source=article targets=(headline)
corpus='"subwords": "subword_nmt", "tokenizer": null, "lowercased": false'

# 20 epochs (the dissertation's) of 64 sentences an update (the authors' code), which are about
# these tokens; validation after each epoch.
arch=word2ket_lstm_gigaword
updates=62500 tokens_per_update=2048 save_every=3125
export SCORES=rouge
generate=()

# shellcheck source-path=SCRIPTDIR source=word2ket.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/word2ket.sh"
experiment "$@"
