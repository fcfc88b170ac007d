#!/usr/bin/env bash
# WMT'16 English to Romanian, table 6 of the dissertation; see --help.
set -euo pipefail
unset CDPATH

ABOUT="WMT'16 English to Romanian (610,000 pairs), 6+6 layers, 512 wide, FFN 2048, 8 heads. Paper: dense
33.89, Shapeshifter 32.48 BLEU (tokenised). Data: bash data-prep/prepare-wmt16.sh"
dataset=wmt16 source=en targets=(ro)
corpus='"subwords": "subword_nmt", "tokenizer": "moses", "lowercased": false'

# The dissertation follows DeLighT, whose published scripts have these updates and this batch.
arch=shapeshifter_transformer_wmt16
updates=100000 tokens_per_update=32768 save_every=1000

# What differs from the papers' setting in train.sh, for all models; what Shapeshifter alone is
# given; and options of fairseq-generate.
setting=() shapeshifter=() generate=()

# shellcheck source-path=SCRIPTDIR source=experiment.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/experiment.sh"
experiment "$@"
