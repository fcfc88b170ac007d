#!/usr/bin/env bash
# Prepare WMT'14 English-German or English-French; see --help.
set -euo pipefail
unset CDPATH # with it, cd prints where it went

dataset=wmt14 pairs="en de,en fr,de en,fr en" vocab_size=40000
# shellcheck source-path=SCRIPTDIR source=corpus.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/corpus.sh"

usage() {
  cat <<HELP
usage: prepare-wmt14.sh [SRC TGT] [options]

Prepare WMT'14 English-German (default) or English-French as fairseq's recipe does (--icml17):
punctuation normalised, Moses tokenisation with split hyphens, a joint byte-pair encoding of 40,000
merges and one dictionary; training and validation pairs of 1 to 250 subwords and a length ratio of
at most 1.5. Test set: newstest2014, 3,003 sentences. Validation: each 100th training pair (en-fr:
each 1333rd).

  en-de             Europarl v7, Common Crawl, News Commentary v9; about 3.9M pairs
  en-fr             the same with UN and Giga Fr-En; about 35.8M pairs, 44,512 types

These are large: give it all the cores there are. Memory does not grow with the text, except for the
list of its words while subwords are learned.

$(help_on_options)

example:
  bash data-prep/prepare-wmt14.sh en de --workers 16
  fairseq-train data-bin/wmt14.en-de --source-lang en --target-lang de ...
HELP
}

parse_options "$@"
foreign=${src#en}
foreign=${foreign:-$tgt}
corpora=(
  training-parallel-europarl-v7.tgz::"training/europarl-v7.$foreign-en"
  training-parallel-commoncrawl.tgz::"commoncrawl.$foreign-en"
)
need_raw https://www.statmt.org/wmt13/training-parallel-{europarl-v7,commoncrawl}.tgz
if [ "$foreign" = fr ]; then
  every=1333
  need_raw https://www.statmt.org/wmt13/training-parallel-un.tgz
  need_raw https://www.statmt.org/wmt10/training-giga-fren.tar
  corpora+=(training-parallel-un.tgz::un/undoc.2000.fr-en)
else
  every=100
fi
need_raw https://www.statmt.org/wmt14/training-parallel-nc-v9.tgz
corpora+=(training-parallel-nc-v9.tgz::"training/news-commentary-v9.$foreign-en")
need_test_set wmt14/full
fetch_raw

read_news() {
  local corpus texts=()
  for corpus in "${corpora[@]}"; do texts+=("$(raw "$corpus")."{"$src","$tgt"}); done
  if [ "$foreign" = fr ]; then
    texts+=("$(raw training-giga-fren.tar)::giga-fren.release2.fixed."{"$src","$tgt"}.gz)
  fi
  clean_pairs "$1" train --crawled "${texts[@]}"
  clean_test_set "$1" test wmt14/full
}
make_text read_news
tokenise_text '--normalise --dash-splits' '--apostrophes --dash-splits'
filter_text split --every "$every"
make_subwords subword_nmt
filter_encoded filter --ratio 1.5 --max-length 250 --valid
binarise_text joined
if [ "$foreign" = fr ]; then
  report '35[789]????? train, * 3003 test sentences; dictionary of 44512 types'
else
  report '39????? train, * 3003 test sentences; *'
fi
