#!/usr/bin/env bash
# Prepare Gigaword, the first sentence of an article to its headline; see --help.
set -euo pipefail
unset CDPATH # with it, cd prints where it went

dataset=gigaword pairs="article headline" vocab_size=30000
# shellcheck source-path=SCRIPTDIR source=corpus.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/corpus.sh"

usage() {
  cat <<HELP
usage: prepare-gigaword.sh [options]

Prepare the headline corpus of the summarization experiment of word2ket: 200,000 first sentences of
Gigaword's articles with their headlines, as Texar distributes them (tokenised, lowercased, digits
as #). The paper's model reads whole words, 30,428 of them; here a joint byte-pair encoding of 30,000
merges leaves nearly all words whole and none unknown; one dictionary.

From Google Drive, which sometimes answers with a page instead of the file: then fetch giga.zip with
a browser (the error message names the address) and give its folder as --from.

$(help_on_options)

example:
  bash data-prep/prepare-gigaword.sh
  fairseq-train data-bin/gigaword.article-headline --source-lang article --target-lang headline ...
HELP
}

parse_options "$@"
home='https://drive.usercontent.google.com/download?export=download&confirm=t'
need_raw "$home&id=12RZs7QFwjj6dfuYNQ_0Ah-ccH1xFDMD5#name=giga.zip"
fetch_raw

read_headlines() {
  local split
  clean_pairs "$1" train "$(raw giga.zip)::train."{article,title}
  for split in valid test; do
    clean_pairs "$1" "$split" --held-out "$(raw giga.zip)::$split."{article,title}
  done
}
make_text read_headlines
make_subwords subword_nmt
binarise_text joined
report '200000 train, *'
