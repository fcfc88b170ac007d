#!/usr/bin/env bash
# word2ket on IWSLT'14 German to English, table 2 of the dissertation; see --help.
set -euo pipefail
unset CDPATH

ABOUT="Embeddings in word2ket and word2ketXS: IWSLT'14 German to English (160,000 pairs) with an LSTM, a
bidirectional encoder and a decoder with attention, 256 wide. The dissertation reads whole words,
the prepared corpus is in subwords. Data: bash data-prep/prepare-iwslt14.sh"
dataset=iwslt14 source=de targets=(en)
corpus='"subwords": "subword_nmt", "tokenizer": "moses", "lowercased": true'

# 20 epochs (the dissertation's) of 64 sentences an update (the authors' code), which are about
# these tokens; validation after each epoch.
arch=word2ket_lstm_iwslt
updates=50000 tokens_per_update=2048 save_every=2500
generate=()

# shellcheck source-path=SCRIPTDIR source=word2ket.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/word2ket.sh"
experiment "$@"
