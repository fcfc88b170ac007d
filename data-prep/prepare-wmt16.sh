#!/usr/bin/env bash
# Prepare WMT'16 English-Romanian with Moses tokenisation and BPE; see --help.
set -euo pipefail
unset CDPATH # with it, cd prints where it went

dataset=wmt16 vocab_size=40000
# shellcheck source-path=SCRIPTDIR source=en-ro.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/en-ro.sh"

usage() {
  cat <<HELP
usage: prepare-wmt16.sh [SRC TGT] [options]

Prepare WMT'16 English-Romanian after Sennrich et al. (2016): Europarl v8 and SETIMES2 for training,
newsdev2016 (1,999 sentences) for validation, newstest2016 (1,999) for test. Romanian loses its
diacritics, and punctuation is normalised; Moses tokenisation with split hyphens; training pairs of
at most 80 tokens; a joint byte-pair encoding of 40,000 merges and one dictionary. Published sizes:
about 610,000 training pairs, about 34,976 types.

The plain text in raw/ has no Romanian diacritics either, as a model that never saw them is scored
against it: BLEU into Romanian is none against newstest2016 as published. prepare-wmt18.sh keeps
them.

$(help_on_options)

example:
  bash data-prep/prepare-wmt16.sh en ro
  fairseq-train data-bin/wmt16.en-ro --source-lang en --target-lang ro ...
HELP
}

parse_options "$@"
need_romanian
fetch_raw
make_text read_romanian --without-diacritics
tokenise_text '--normalise --dash-splits'
# 9 is the ratio that Moses' clean-corpus-n takes unless told otherwise.
filter_text filter --ratio 9 --max-length 80
make_subwords subword_nmt
binarise_text joined
report '6[01]???? train, 1999 valid, 1999 test sentences; dictionary of 3[45]??? types'
