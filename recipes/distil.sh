#!/usr/bin/env bash
# A corpus whose training targets are a trained model's translations; see --help.
set -euo pipefail
unset CDPATH
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

usage() {
  cat <<'HELP'
usage: distil.sh DATA TEACHER OUT [options of fairseq-generate]

Make OUT, a copy of the prepared corpus DATA in which the training set's target side is what the
checkpoint TEACHER makes of its source side with beam 5. A model trained on OUT learns from the
teacher, whose translations are easier to learn than people's: sequence-level knowledge distillation
(Kim and Rush, EMNLP 2016). Validation and test set, dictionaries and subwords stay what they are, so
the scores compare. Sentences that are too long for the teacher are left out.

Killed, it goes on with the shard of sentences where it was; finished, it does nothing. Until then
the translations are in the folder OUT.teacher.

environment:
  SHARD             sentences of a shard, about (default 20000)
  WORKERS           processes that binarise (default: one for each core)
  DEVICE            cpu to leave a GPU alone
  DRY_RUN           if not empty: print the commands and run nothing
  PYTHON            the Python that has fairseq (default: .venv's, else python3)

example:
  bash recipes/multi30k.en-de.sh --model dense
  bash recipes/distil.sh data-bin/multi30k.en-de runs/multi30k.en-de/dense.seed1/averaged.pt \
    data-bin/multi30k.en-de.distilled
  bash recipes/multi30k.en-de.sh --data data-bin/multi30k.en-de.distilled
HELP
}

help_if_asked "$@"
[ $# -ge 3 ] || wrong_call "DATA, TEACHER and OUT are needed"
data=${1%/} teacher=$2 out=${3%/} work=${3%/}.teacher
shift 3
for name in SHARD WORKERS; do
  [[ ${!name-1} =~ ^[1-9][0-9]*$ ]] || wrong_call "$name=${!name} is no positive number"
done
if [ -z "${DRY_RUN-}" ]; then
  need_fairseq
  need_data "$data"
  [ -f "$teacher" ] || die "there is no checkpoint $teacher; train first (recipes/train.sh)"
fi
source=$("$PYTHON" "$HERE/corpus.py" "$data" source)
target=$("$PYTHON" "$HERE/corpus.py" "$data" target)
pair=$data/train.$source-$target

sentences=1 # in a dry run
if [ -z "${DRY_RUN-}" ]; then
  [ -f "$pair.$source.idx" ] || die "there is no $pair.$source.idx; prepare the data first (data-prep/)"
  sentences=$("$PYTHON" -c '
import sys
from fairseq.data.indexed_dataset import infer_dataset_impl, make_dataset
print(len(make_dataset(sys.argv[1], infer_dataset_impl(sys.argv[1]))))' "$pair.$source")
fi
shards=$(((sentences + ${SHARD:-20000} - 1) / ${SHARD:-20000}))

if [ -z "${DRY_RUN-}" ]; then
  made_from="taught $* $(cksum <"$teacher") $(cat -- "$pair".* "$data"/dict.*.txt | cksum)"
  refuse_foreign "$out"
  stamp=$(cat -- "$out/.stamp" 2>/dev/null) || stamp=$made_from
  # DATA itself has a stamp too, of data-prep/.
  [[ $stamp = taught\ * ]] ||
    die "$out exists and was not made by this script; move it away or choose another folder"
  if [ -f "$out/.stamp" ] && [ "$stamp" = "$made_from" ]; then
    say "distil: $out is there, skipped"
    exit
  fi
  mkdir -p -- "$work"
  alone_in "$work"
  if [ "$(cat -- "$work/made-from" 2>/dev/null)" != "$shards $made_from" ]; then
    rm -f -- "$work"/shard*
    printf '%s\n' "$shards $made_from" >"$work/made-from"
  fi
fi

generate=("$PYTHON" -m fairseq_cli.generate "$data" --user-dir "$USER_DIR" --path "$teacher"
  --source-lang "$source" --target-lang "$target" --gen-subset train --beam 5 --max-tokens 4096
  --required-batch-size-multiple 1 --skip-invalid-size-inputs-valid-test --log-format none
  --distributed-world-size "$shards")
# (What fairseq-generate calls a device is a shard here; its --num-shards does nothing.)
if [ "${DEVICE-}" = cpu ]; then generate+=(--cpu); fi
for ((shard = 0; shard < shards; shard++)); do
  translated=$work/shard$shard
  if [ -f "$translated.txt" ]; then continue; fi
  if [ -z "${DRY_RUN-}" ]; then rm -f -- "$translated.log"; fi
  with_progress "$translated.log" "teach, $((shard + 1)) of $shards" $((sentences / shards)) \
    '^H-' '^(BLEU)=([0-9.]+)' "${generate[@]}" --distributed-rank "$shard" "$@"
  # S-N is the source of sentence N, H-N its translation, both in subwords.
  into "$translated.txt" "grep -E '^[SH]-' $(quoted "$translated.log")"
done

# side LINES FIELDS NAME: one side of the taught training set.
side() {
  into "$work/train.$3" \
    "cat -- $(quoted "$work")/shard*.txt | grep '^$1-' | cut -c3- | sort -n | cut -f$2-"
}
side S 2 "$source"
side H 3 "$target"

# binarise FOLDER: DATA, with the taught training set.
binarise() {
  if [ -z "${DRY_RUN-}" ]; then
    cp -R -- "$data/." "$1"
    rm -f -- "$1"/train.* "$1/.stamp"
  fi
  run "$PYTHON" -m fairseq_cli.preprocess --source-lang "$source" --target-lang "$target" \
    --trainpref "$work/train" --srcdict "$data/dict.$source.txt" --tgtdict "$data/dict.$target.txt" \
    --destdir "$1" --workers "${WORKERS:-$(nproc)}"
}

if [ -n "${DRY_RUN-}" ]; then
  binarise "$out"
  exit
fi
taught=$(lines "$work/train.$source")
[ "$(lines "$work/train.$target")" -eq "$taught" ] ||
  die "not every sentence has a translation; remove $work and begin again"
LOG=$work/binarise.log
step "binarise" "$out" "$made_from" "look at its end" binarise
say "$out: $taught of $sentences training sentences, taught by $teacher"
rm -rf -- "$work"
