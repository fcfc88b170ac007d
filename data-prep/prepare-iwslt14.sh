#!/usr/bin/env bash
# Prepare IWSLT'14 German-English, transcribed talks; see --help.
set -euo pipefail
unset CDPATH # with it, cd prints where it went

dataset=iwslt14 pairs="de en,en de" vocab_size=10000
# shellcheck source-path=SCRIPTDIR source=corpus.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/corpus.sh"

usage() {
  cat <<HELP
usage: prepare-iwslt14.sh [SRC TGT] [options]

Prepare IWSLT'14 German-English (TED talks) as fairseq's recipe does: Moses tokenisation; training
pairs of 1 to 175 tokens and a length ratio of at most 1.5; lowercased; each 23rd pair is validation;
the test set is dev2010, TEDX dev2012, tst2010, tst2011 and tst2012 together; a joint byte-pair
encoding of 10,000 merges, and a dictionary for each language. Published sizes: 160,239 / 7,283 /
6,750 pairs, 8,848 German and 6,632 English types.

$(help_on_options)

example:
  bash data-prep/prepare-iwslt14.sh de en
  fairseq-train data-bin/iwslt14.de-en --source-lang de --target-lang en ...
HELP
}

parse_options "$@"
need_raw https://dl.fbaipublicfiles.com/fairseq/data/iwslt14/de-en.tgz
fetch_raw

read_talks() {
  local archive test_set tests=()
  archive=$(raw de-en.tgz)
  clean_pairs "$1" train --markup talks "$archive::de-en/train.tags.de-en."{"$src","$tgt"}
  for test_set in TED.dev2010 TEDX.dev2012 TED.tst2010 TED.tst2011 TED.tst2012; do
    tests+=("$archive::de-en/IWSLT14.$test_set.de-en."{"$src","$tgt"}.xml)
  done
  clean_pairs "$1" test --markup segments --held-out "${tests[@]}"
}
make_text read_talks
tokenise_text --lowercase '--lowercase --apostrophes'
filter_text split --ratio 1.5 --max-length 175 --every 23
make_subwords subword_nmt
binarise_text separate
if [ "$src" = de ]; then
  report '160239 train, 7283 valid, 6750 test sentences; dictionaries of 8848 de and 6632 en types'
else
  report '160239 train, 7283 valid, 6750 test sentences; dictionaries of 6632 en and 8848 de types'
fi
