#!/usr/bin/env bash
# Prepare English-Romanian with SentencePiece on the plain text; see --help.
set -euo pipefail
unset CDPATH # with it, cd prints where it went

dataset=wmt18 vocab_size=32000
# shellcheck source-path=SCRIPTDIR source=en-ro.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/en-ro.sh"

usage() {
  cat <<HELP
usage: prepare-wmt18.sh [SRC TGT] [options]

Prepare English-Romanian for the experiment that the dissertation calls WMT18 En-Ro, where T5-small
is the dense model. WMT has English-Romanian in 2016 only, so the text is that of prepare-wmt16.sh:
Europarl v8 and SETIMES2, newsdev2016, newstest2016. It stays as it is written (cased, untokenised,
with diacritics) and is cut by a joint SentencePiece unigram model of 32,000 pieces, in place of
T5's own; one dictionary. About 610,000 training pairs.

$(help_on_options)

example (the second line after prepare-wmt16.sh, which has fetched the same files):
  bash data-prep/prepare-wmt18.sh en ro
  bash data-prep/prepare-wmt18.sh en ro --from data/wmt16.en-ro/download
  fairseq-train data-bin/wmt18.en-ro --source-lang en --target-lang ro ...
HELP
}

parse_options "$@"
need_romanian
fetch_raw
make_text read_romanian
make_subwords sentencepiece_unigram
binarise_text joined
report '61???? train, 1999 valid, 1999 test sentences; *'
