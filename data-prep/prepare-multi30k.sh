#!/usr/bin/env bash
# Prepare Multi30k, picture captions in two languages; see --help.
set -euo pipefail
unset CDPATH # with it, cd prints where it went

dataset=multi30k pairs="en de,en fr,en cs,de en,fr en,cs en" vocab_size=10000
# shellcheck source-path=SCRIPTDIR source=corpus.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/corpus.sh"

usage() {
  cat <<HELP
usage: prepare-multi30k.sh [SRC TGT] [options]

Prepare Multi30k task 1: captions of pictures, English with German (default), French or Czech, 29,000
to train, 1,014 to validate, 1,000 to test (test_2016_flickr). Punctuation is normalised, text
tokenised as Moses does and lowercased, and cut by a joint byte-pair encoding of 10,000 merges; both
languages share one dictionary. From github.com/multi30k/dataset: 1.3 MB for German.

$(help_on_options)

example:
  bash data-prep/prepare-multi30k.sh en de
  fairseq-train data-bin/multi30k.en-de --source-lang en --target-lang de ...
HELP
}

parse_options "$@"
home=https://raw.githubusercontent.com/multi30k/dataset/master/data/task1/raw
for split in train val test_2016_flickr; do
  need_raw "$home/$split.$src.gz" "$home/$split.$tgt.gz"
done
fetch_raw

read_captions() {
  clean_pairs "$1" train "$(raw "train.$src.gz")" "$(raw "train.$tgt.gz")"
  clean_pairs "$1" valid --held-out "$(raw "val.$src.gz")" "$(raw "val.$tgt.gz")"
  clean_pairs "$1" test --held-out "$(raw "test_2016_flickr.$src.gz")" "$(raw "test_2016_flickr.$tgt.gz")"
}
make_text read_captions
tokenise_text '--normalise --lowercase'
make_subwords subword_nmt
binarise_text joined
report '29000 train, 1014 valid, 1000 test sentences; *'
