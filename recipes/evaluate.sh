#!/usr/bin/env bash
# Translate a test set with a checkpoint and score it; see --help.
set -euo pipefail
unset CDPATH
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

usage() {
  cat <<'HELP'
usage: evaluate.sh DATA CHECKPOINT OUT_DIR [options of fairseq-generate]

Translate the test set of DATA with beam 5 and score the plain text with sacreBLEU (BLEU, chrF)
against DATA/raw. DATA is what a script of data-prep/ made. Makes in OUT_DIR:

  generate.log      all that fairseq-generate says
  hypotheses.txt    one translation a line, in the order of the test set
  scores.json       sacreBLEU's scores with their signatures

What is there already is not made again.

environment:
  SPLIT             test (default) or valid
  PYTHON            the Python that has fairseq (default: .venv's, else python3)

example:
  bash recipes/evaluate.sh data-bin/localisation.de-en runs/my-model/checkpoint_best.pt runs/my-model
HELP
}

help_if_asked "$@"
[ $# -ge 3 ] || wrong_call "DATA, CHECKPOINT and OUT_DIR are needed"
data=$1 checkpoint=$2 out=$3
shift 3
split=${SPLIT:-test}
need_fairseq
need_module sacrebleu "run: bash recipes/install.sh"
need_data "$data"
[ -f "$checkpoint" ] || die "there is no checkpoint $checkpoint; train first (recipes/train.sh)"
pair=("$data/$split".*-*.*.idx)
[ -e "${pair[0]}" ] || die "$data holds no binarised $split set"
languages=$(basename -- "${pair[0]}" | cut -d. -f2)
source=${languages%-*} target=${languages#*-}
reference=$data/raw/$split.$target
[ -f "$reference" ] || die "there is no $reference to score against; run the script in data-prep/ again"

# The scores belong to this checkpoint and these options.
call="$split $* $(cksum <"$checkpoint")"
if [ -f "$out/scores.json" ] && [ "$(cat -- "$out/scored" 2>/dev/null)" = "$call" ]; then
  say "evaluate: $out is scored, skipped"
  exit
fi
mkdir -p -- "$out"
rm -f -- "$out/generate.log" "$out/scored"
with_progress "$out/generate.log" "translate $(basename -- "$out")" "$(wc -l <"$reference")" \
  '^D-' '^(BLEU)=([0-9.]+)' \
  "$PYTHON" -m fairseq_cli.generate "$data" --user-dir "$USER_DIR" --path "$checkpoint" \
  --source-lang "$source" --target-lang "$target" --gen-subset "$split" \
  --beam 5 --max-tokens 4096 --required-batch-size-multiple 1 --log-format none \
  --bpe sentencepiece --sentencepiece-model "$data/sentencepiece.bpe.model" "$@"

# fairseq translates long sentences together; D-N is the plain translation of sentence N.
grep '^D-' "$out/generate.log" | sed 's/^D-//' | sort -n | cut -f3- >"$out/hypotheses.txt"
[ "$(wc -l <"$out/hypotheses.txt")" -eq "$(wc -l <"$reference")" ] ||
  die "fairseq translated $(wc -l <"$out/hypotheses.txt") of $(wc -l <"$reference") sentences (log: $out/generate.log)"
# (fairseq drops the last batch unless its size is a multiple of the default, 8: hence the 1 above.)
"$PYTHON" -m sacrebleu "$reference" --input "$out/hypotheses.txt" --metrics bleu chrf \
  --format json >"$out/scores.json.part"
mv -- "$out/scores.json.part" "$out/scores.json"
printf '%s\n' "$call" >"$out/scored"
