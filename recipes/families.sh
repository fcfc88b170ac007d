#!/usr/bin/env bash
# Every family of factorizations at about equal parameters: train, score, compare. See --help.
set -euo pipefail
unset CDPATH
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
# shellcheck source-path=SCRIPTDIR source=devices.sh
. "$HERE/devices.sh"
# shellcheck source-path=SCRIPTDIR source=small.sh
. "$HERE/small.sh"

# What is trained: fairseq-train's options by the name in the table. The ranks are those at which
# shapeshifter_transformer_tiny with 2,000 types has 297 to 304 thousand parameters, a fifth of
# the dense model's (shapeshifter params --arch shapeshifter_transformer_tiny --vocab 2000 ...).
# word2ket and word2ketXS are the table's; the layers beside them are kronecker's.
families=(dense kronecker low_rank block_low_rank monarch phm tensor_train word2ket word2ketxs)
declare -A options=(
  [dense]="--factor-plan *=dense"
  [kronecker]="--factorization kronecker --layer-rank 7 --embed-rank 150"
  [low_rank]="--factorization low_rank --layer-rank 7 --embed-rank 73"
  [block_low_rank]="--factorization block_low_rank/blocks=4 --layer-rank 2 --embed-rank 16"
  [monarch]="--factorization monarch/blocks=4 --layer-rank 2 --embed-rank 16"
  [phm]="--factorization phm --layer-rank 8 --embed-rank 3"
  [tensor_train]="--factorization tensor_train/cores=3 --layer-rank 9 --embed-rank 86"
  [word2ket]="--layer-rank 7 --factor-plan *embed_tokens=word2ket:5/order=4"
  [word2ketxs]="--layer-rank 7 --factor-plan *embed_tokens=word2ketxs:1393/order=4"
)

usage() {
  cat <<HELP
usage: families.sh [options] [FAMILY ...] [-- options of fairseq-train]

Train a small Transformer in every family of factorizations, all with about the same number of
parameters, and dense, with small batches on the quickstart's corpus; translate the
validation set with beam 5, score it, and write one table with plots. The families:
  ${families[*]}

options:
  --updates N       length of each training (default $SMALL_UPDATES)
  --seed N          seed of the trainings (default 1); the table has all seeds that are there
  --data DIR        the prepared corpus (default: the quickstart's, made if it is not there)
  --out DIR         folder for the results (default runs/families, or runs/families.N with --updates)
  --no-table        train and score only, on another machine, say
  --dry-run         print the commands and run nothing; data and fairseq need not be there
  -h, --help        show this text

The results are DIR/compare.md and its plots, and a folder FAMILY.seedN for each training with
result.json, report.md, config.json, train.log and the translations. Killed, the same command goes
on; finished, it does nothing.

environment:
$SMALL_HELP

examples:
  bash recipes/families.sh
  JOBS=4 bash recipes/families.sh --seed 2 dense kronecker low_rank
  bash recipes/families.sh --updates 100
HELP
}

updates=$SMALL_UPDATES seed=1 data='' out='' table=yes names=()
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help)
      usage
      exit
      ;;
    --dry-run) export DRY_RUN=1 ;;
    --no-table) table='' ;;
    --updates | --seed | --data | --out)
      [ $# -ge 2 ] && [ -n "$2" ] || wrong_call "$1 needs a value"
      case $1 in
        --updates) updates=$2 ;;
        --seed) seed=$2 ;;
        --data) data=${2%/} ;;
        --out) out=${2%/} ;;
      esac
      shift
      ;;
    --)
      shift
      break
      ;;
    -*) wrong_call "unknown option $1 (options of fairseq-train come after --)" ;;
    *)
      [ -n "${options[$1]-}" ] || wrong_call "there is no family '$1'; known: ${families[*]}"
      names+=("$1")
      ;;
  esac
  shift
done
[[ $updates =~ ^[1-9][0-9]*$ ]] || wrong_call "--updates '$updates' is no positive number"
[[ $seed =~ ^[0-9]+$ ]] || wrong_call "--seed '$seed' is no number"
[[ ${JOBS:=2} =~ ^[1-9][0-9]*$ ]] || wrong_call "JOBS=$JOBS is no positive number"
if [ ${#names[@]} -eq 0 ]; then names=("${families[@]}"); fi
if [ "$updates" -eq "$SMALL_UPDATES" ]; then default=families; else default=families.$updates; fi
out=${out:-$ROOT/runs/$default}

# train_and_score FAMILY [options of fairseq-train]
train_and_score() {
  local run=$out/$1.seed$seed own
  read -ra own <<<"${options[$1]}"
  if [ -z "${DRY_RUN-}" ]; then
    mkdir -p -- "$run"
    alone_in "$run"
  fi
  train_small "$run" "$updates" "${own[@]}" --seed "$seed" "${@:2}"
  score_small "$run" checkpoint_best.pt "families, $updates updates" "$1"
}

if [ -z "${DRY_RUN-}" ]; then need_small; fi
small_corpus
side_by_side "$JOBS"
find_devices
export DEVICE PRECISION
if [ -z "$table" ] && [ ${#names[@]} -eq 1 ]; then
  train_and_score "${names[0]}" "$@"
  exit
fi
# Each in a script of its own, with its progress bar on its own line of the screen.
if [ -n "${DRY_RUN-}" ]; then JOBS=1; fi
printf '%s\0' "${names[@]}" |
  xargs -0 -I{} -P "$JOBS" --process-slot-var=TQDM_POSITION bash "$0" --no-table \
    --updates "$updates" --seed "$seed" --data "$data" --out "$out" {} -- "$@" ||
  die "a training stopped early; run again to go on from its last checkpoint"
if [ -z "$table" ]; then exit; fi

runs=()
for name in "${names[@]}"; do
  for run in "$out/$name".seed*/result.json; do runs+=("$name=$run"); done
done
run "$PYTHON" -m shapeshifter_fairseq compare "${runs[@]}" --out "$out"
