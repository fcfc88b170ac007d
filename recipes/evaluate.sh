#!/usr/bin/env bash
# Translate a test set with a checkpoint and score it; see --help.
set -euo pipefail
unset CDPATH
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

usage() {
  cat <<'HELP'
usage: evaluate.sh DATA CHECKPOINT OUT_DIR [options of fairseq-generate]

Translate the test set of DATA with beam 5 and score it with sacreBLEU: the plain text against
DATA/raw (BLEU, chrF), and, where there is a DATA/tokenised, the words as they are against that, as
papers with a tokeniser of their own do. DATA is what a script of data-prep/ made. Makes in OUT_DIR:

  generate.log            all that fairseq-generate says
  hypotheses.txt          one translation a line, in the order of the test set
  scores.json             the scores with sacreBLEU's signatures (or those of rouge.py)
  hypotheses.tokenised.txt, scores.tokenised.json

What is there already is not made again, unless the checkpoint, the set or the options have changed.

environment:
  SPLIT             test (default) or valid
  SCORES            bleu (default), or rouge: ROUGE-1, -2 and -L of the plain text, nothing else
  SPLIT_COMPOUNDS   if not empty: the tokenised text is scored with compounds in parts, a-b as
                    a ##AT##-##AT## b, as is usual for WMT'14 En-De
  DEVICE            cpu to leave a GPU alone
  DRY_RUN           if not empty: print the commands and run nothing
  PYTHON            the Python that has fairseq (default: .venv's, else python3)

example:
  bash recipes/evaluate.sh data-bin/localisation.de-en runs/my-model/checkpoint_best.pt runs/my-model
HELP
}

help_if_asked "$@"
[ $# -ge 3 ] || wrong_call "DATA, CHECKPOINT and OUT_DIR are needed"
data=$1 checkpoint=$2 out=$3
shift 3
split=${SPLIT:-test} scores=${SCORES:-bleu}
[[ $scores = bleu || $scores = rouge ]] || wrong_call "SCORES=$scores: it is bleu or rouge"
if [ -z "${DRY_RUN-}" ]; then
  need_fairseq
  need_module "$([ "$scores" = rouge ] && echo rouge_score || echo sacrebleu)" \
    "run: bash recipes/install.sh"
  need_data "$data"
  [ -f "$checkpoint" ] || die "there is no checkpoint $checkpoint; train first (recipes/train.sh)"
fi

corpus() { "$PYTHON" "$HERE/corpus.py" "$data" "$1" || die "$data is not what data-prep/ makes"; }
target=$(corpus target)
text_options=$(corpus options)
mapfile -t text_options <<<"$text_options"
plain=$data/raw/$split.$target words=''
if [ "$(corpus tokenizer)" != None ]; then words=$data/tokenised/$split.$target; fi
lowercase=()
if [ "$(corpus lowercased)" = True ]; then lowercase=(--lowercase --chrf-lowercase); fi

# The scores belong to this checkpoint, these options, and what is translated and scored against:
# not to a folder's name, so that a corpus that was moved is the same, and one made anew is not.
if [ -z "${DRY_RUN-}" ]; then
  texts=("$data/$split".* "$plain" ${words:+"$words"})
  for text in "${texts[@]}"; do
    [ -f "$text" ] || die "there is no $text; run the script in data-prep/ again"
  done
  call="${SCORES:+$SCORES }$split ${SPLIT_COMPOUNDS-} $* $(cksum <"$checkpoint") $(cat -- "${texts[@]}" | cksum)"
  if [ -f "$out/scores.json" ] && [ "$(cat -- "$out/scored" 2>/dev/null)" = "$call" ]; then
    say "evaluate: $out is scored, skipped"
    exit
  fi
  mkdir -p -- "$out"
  rm -f -- "$out/generate.log" "$out/scored" "$out/scores.json" "$out/scores.tokenised.json"
fi

generate=("$PYTHON" -m fairseq_cli.generate "$data" --user-dir "$USER_DIR" --path "$checkpoint"
  "${text_options[@]}" --gen-subset "$split" --beam 5 --max-tokens 4096
  --required-batch-size-multiple 1 --log-format none)
# (fairseq drops the last batch unless its size is a multiple of the default, 8: hence the 1.)
if [ "${DEVICE-}" = cpu ]; then generate+=(--cpu); fi
total=0
if [ -z "${DRY_RUN-}" ]; then total=$(lines "$plain"); fi
with_progress "$out/generate.log" "translate $(basename -- "$out")" "$total" \
  '^D-' '^(BLEU)=([0-9.]+)' "${generate[@]}" "$@"

# fairseq translates long sentences together; D-N is the plain translation of sentence N, H-N the
# words that it was made of.
sentences() {
  into "$2" "grep '^$1-' $(quoted "$out/generate.log") | cut -c3- | sort -n | cut -f3-"
  if [ -n "${DRY_RUN-}" ]; then return; fi
  [ "$(lines "$2")" -eq "$total" ] ||
    die "fairseq translated $(lines "$2") of $total sentences (log: $out/generate.log)"
}

# score RESULT REFERENCE HYPOTHESES OPTION...
score() {
  into "$1" "$(quoted "$PYTHON" -m sacrebleu "$2" --input "$3" --format json --width 2 "${@:4}")"
}

sentences D "$out/hypotheses.txt"
if [ -n "$words" ] && [ "$scores" = bleu ]; then
  hypotheses=$out/hypotheses.tokenised.txt
  sentences H "$hypotheses"
  if [ -n "${SPLIT_COMPOUNDS-}" ]; then
    in_parts='s/([^ ])-([^ ])/\1 ##AT##-##AT## \2/g'
    into "$out/reference.compounds.txt" "$(quoted sed -E "$in_parts" "$words")"
    into "$out/hypotheses.compounds.txt" "$(quoted sed -E "$in_parts" "$hypotheses")"
    words=$out/reference.compounds.txt hypotheses=$out/hypotheses.compounds.txt
  fi
  score "$out/scores.tokenised.json" "$words" "$hypotheses" --metrics bleu --tokenize none --force
fi
# Last: with it the scores are complete.
if [ "$scores" = bleu ]; then
  score "$out/scores.json" "$plain" "$out/hypotheses.txt" --metrics bleu chrf "${lowercase[@]}"
else
  into "$out/scores.json" "$(quoted "$PYTHON" "$HERE/rouge.py" "$plain" "$out/hypotheses.txt")"
fi
if [ -z "${DRY_RUN-}" ]; then printf '%s\n' "$call" >"$out/scored"; fi
