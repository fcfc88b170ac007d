#!/usr/bin/env bash
# WMT'14 English to German, table 7 of the dissertation; see --help.
set -euo pipefail
unset CDPATH

ABOUT="WMT'14 English to German (3.9 million pairs), 6+6 layers, 512 wide, FFN 2048, 8 heads. Paper: dense
27.3, Shapeshifter 26.6 BLEU (tokenised, compounds in parts). Data: bash data-prep/prepare-wmt14.sh"
dataset=wmt14 source=en targets=(de)
corpus='"subwords": "subword_nmt", "tokenizer": "moses", "lowercased": false'

# The dissertation follows DeLighT, whose published scripts have these updates, this batch and this
# length penalty.
arch=shapeshifter_transformer_wmt14
updates=30000 tokens_per_update=524288 save_every=500
export SPLIT_COMPOUNDS=yes

# What differs from the papers' setting in train.sh, for all models; what Shapeshifter alone is
# given; and options of fairseq-generate.
setting=() shapeshifter=() generate=(--lenpen 0.4)

# shellcheck source-path=SCRIPTDIR source=experiment.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/experiment.sh"
experiment "$@"
