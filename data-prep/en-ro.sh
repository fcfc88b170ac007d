# The raw files of English-Romanian, which two scripts prepare differently. Source it, not corpus.sh.
# shellcheck shell=bash disable=SC2154  # corpus.sh sets src and tgt

pairs="en ro,ro en"
# shellcheck source-path=SCRIPTDIR source=corpus.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/corpus.sh"

need_romanian() {
  need_raw https://data.statmt.org/wmt16/translation-task/training-parallel-ep-v8.tgz
  need_raw https://object.pouta.csc.fi/OPUS-SETIMES/v2/moses/en-ro.txt.zip
  need_test_set wmt16/dev
  need_test_set wmt16
}

read_romanian() {
  clean_pairs "$1" train --crawled \
    "$(raw training-parallel-ep-v8.tgz)::training-parallel-ep-v8/europarl-v8.ro-en."{"$src","$tgt"} \
    "$(raw en-ro.txt.zip)::SETIMES.en-ro."{"$src","$tgt"}
  clean_test_set "$1" valid wmt16/dev
  clean_test_set "$1" test wmt16
}
