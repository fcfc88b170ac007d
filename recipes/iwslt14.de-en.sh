#!/usr/bin/env bash
# IWSLT'14 German to English, table 5b of the dissertation; see --help.
set -euo pipefail
unset CDPATH

ABOUT="IWSLT'14 German to English (160,000 pairs), 6+6 layers, 512 wide, FFN 1024, 4 heads. Paper: dense
35.43, Shapeshifter 35.43 BLEU (tokenised). Data: bash data-prep/prepare-iwslt14.sh"
dataset=iwslt14 source=de targets=(en)
corpus='"subwords": "subword_nmt", "tokenizer": "moses", "lowercased": true'

# The dissertation gives neither updates nor batch; these are what is usual for this corpus.
arch=shapeshifter_transformer_iwslt
updates=50000 tokens_per_update=4096 save_every=1000

# What differs from the papers' setting in train.sh, for all models; what Shapeshifter alone is
# given; and options of fairseq-generate.
setting=() shapeshifter=() generate=()

# shellcheck source-path=SCRIPTDIR source=experiment.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/experiment.sh"
experiment "$@"
