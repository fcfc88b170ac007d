#!/usr/bin/env bash
# Multi30k task 1, English to German, French or Czech; see --help.
set -euo pipefail
unset CDPATH

ABOUT='Multi30k (29,000 captions of pictures) with the tiny Transformer, 4+4 layers, 128 wide; see Wu et
al., ACL 2021, "Good for Misconceived Reasons". Data: bash data-prep/prepare-multi30k.sh'
dataset=multi30k source=en targets=(de fr cs)
corpus='"subwords": "subword_nmt", "tokenizer": "moses", "lowercased": true'

arch=shapeshifter_transformer_tiny
updates=6000 tokens_per_update=4096 save_every=100

# What differs from the papers' setting in train.sh, for all models; what Shapeshifter alone is
# given; and options of fairseq-generate.
setting=(--lr 5e-3 --warmup-updates 2000) generate=()
# A fifth of the dense model's parameters. The published rate is too high for the gains by default (2
# and 6); with these it moves W as 1e-3 would. That is not measured: docs/results.md has the setting of
# its own that was, and its command.
shapeshifter=(--layer-rank 10 --embed-rank 140 --layer-gain 0.4 --embed-gain 1.2)

# shellcheck source-path=SCRIPTDIR source=experiment.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/experiment.sh"
experiment "$@"
