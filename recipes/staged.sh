#!/usr/bin/env bash
# What staged factorization buys: fine-tuned at once, in stages, trained from scratch. See --help.
set -euo pipefail
unset CDPATH
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
# shellcheck source-path=SCRIPTDIR source=devices.sh
. "$HERE/devices.sh"
# shellcheck source-path=SCRIPTDIR source=small.sh
. "$HERE/small.sh"

# The options at which shapeshifter_transformer_tiny with 2,000 types keeps so many percent of the
# dense model's parameters, blocks and table about alike (shapeshifter params --arch
# shapeshifter_transformer_tiny --vocab 2000 ...). Two blocks, because four at rank 2 or 3 are 11 or
# 17% of a matrix, with nothing in between.
families=(low_rank monarch kronecker)
sizes=(50 30 15)
declare -A options=(
  [low_rank-50]="--factorization low_rank --layer-rank 35 --embed-rank 61"
  [low_rank-30]="--factorization low_rank --layer-rank 21 --embed-rank 34"
  [low_rank-15]="--factorization low_rank --layer-rank 10 --embed-rank 18"
  [monarch-50]="--factorization monarch/blocks=2 --layer-rank 18 --embed-rank 27"
  [monarch-30]="--factorization monarch/blocks=2 --layer-rank 10 --embed-rank 21"
  [monarch-15]="--factorization monarch/blocks=2 --layer-rank 5 --embed-rank 9"
  [kronecker-50]="--factorization kronecker --layer-rank 35 --embed-rank 126"
  [kronecker-30]="--factorization kronecker --layer-rank 21 --embed-rank 70"
  [kronecker-15]="--factorization kronecker --layer-rank 10 --embed-rank 37"
)
ways=(at-once staged scratch)

usage() {
  cat <<HELP
usage: staged.sh [options] [FAMILY ...] [-- options of fairseq-train]

Take a trained dense Transformer of the quickstart's size to 50%, 30% and 15% of its parameters in
each FAMILY (${families[*]}) and compare, on the validation set of the quickstart's corpus:

  before     its projection, as it is
  at-once    that, fine-tuned
  staged     the dense model, factorized block after block while it is fine-tuned for as many
             updates (fairseq-train --stage-updates)
  scratch    a model of the same size that never was dense

A run has failed if its gradients became NaN, or if it ends with a validation loss that is not below
that of its projection before fine-tuning.

options:
  --updates N          length of a fine-tuning, at once and staged (default 400)
  --stage-updates K    updates from stage to stage (default: a sixteenth of --updates, so that the
                       last of the 9 stages begins at half of them)
  --lr RATE            learning rate of the fine-tuning (default 5e-4, a third of the quickstart's)
  --scratch-updates N  length of a training from scratch (default: all that the fine-tuned models
                       have behind them, dense and fine-tuned)
  --scratch-lr RATE    its learning rate (default 7.5e-4, half of the quickstart's)
  --dense CHECKPOINT   fine-tune this one, of shapeshifter_transformer_tiny with '*=dense'
                       (default: one is trained for every seed)
  --dense-updates N    length of the dense training (default $SMALL_UPDATES)
  --seeds N            seeds 1 to N (default 3)
  --scratch-seeds N    the same of the trainings from scratch, which take longest (default: all)
  --sizes LIST         percentages, separated by commas (default 50,30,15)
  --beam N             of the translations (default 5)
  --data DIR           the prepared corpus (default: the quickstart's, made if it is not there)
  --out DIR            folder for the results (default runs/staged, or runs/staged.N with --updates)
  --only RUN           one run alone, such as low_rank-50-staged.seed1, on another machine, say; those
                       that it begins with have to be there
  --dry-run            print the commands and run nothing; data and fairseq need not be there
  -h, --help           show this text

The results are DIR/staged.md and DIR/staged.png, and a folder for each run with its log, checkpoints
and translations. Killed, the same command goes on; finished, it does nothing.

environment:
$SMALL_HELP

examples:
  bash recipes/staged.sh
  bash recipes/staged.sh --dense runs/quickstart/dense/checkpoint_best.pt --updates 200 \\
    --scratch-updates 1000 --scratch-seeds 1                 # all families and sizes, short
  bash recipes/staged.sh --sizes 30 low_rank                  # one size of one family
HELP
}

given=("$@")
updates=400 stage='' rate=5e-4 dense='' dense_updates=$SMALL_UPDATES seeds=3 beam=5
scratch='' scratch_rate=7.5e-4 scratch_seeds=''
data='' out='' only='' names=()
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help)
      usage
      exit
      ;;
    --dry-run) export DRY_RUN=1 ;;
    --updates | --stage-updates | --scratch-updates | --dense-updates | --seeds | \
      --scratch-seeds | --beam)
      [[ ${2-} =~ ^[1-9][0-9]*$ ]] || wrong_call "$1 '${2-}' is no positive number"
      case $1 in
        --updates) updates=$2 ;;
        --stage-updates) stage=$2 ;;
        --scratch-updates) scratch=$2 ;;
        --dense-updates) dense_updates=$2 ;;
        --seeds) seeds=$2 ;;
        --scratch-seeds) scratch_seeds=$2 ;;
        --beam) beam=$2 ;;
      esac
      shift
      ;;
    --lr | --scratch-lr | --dense | --sizes | --data | --out | --only)
      [ $# -ge 2 ] && [ -n "$2" ] || wrong_call "$1 needs a value"
      case $1 in
        --lr) rate=$2 ;;
        --scratch-lr) scratch_rate=$2 ;;
        --dense) dense=$2 ;;
        --sizes) IFS=, read -ra sizes <<<"$2" ;;
        --data) data=${2%/} ;;
        --out) out=${2%/} ;;
        --only) only=$2 ;;
      esac
      shift
      ;;
    --)
      shift
      break
      ;;
    -*) wrong_call "unknown option $1 (options of fairseq-train come after --)" ;;
    *) names+=("$1") ;;
  esac
  shift
done
if [ ${#names[@]} -eq 0 ]; then names=("${families[@]}"); fi
for name in "${names[@]}"; do
  [[ " ${families[*]} " = *" $name "* ]] ||
    wrong_call "there is no family '$name' here; known: ${families[*]}"
  for size in "${sizes[@]}"; do
    [ -n "${options[$name-$size]-}" ] || wrong_call "--sizes: '$size' is none of 50, 30 and 15"
  done
done
[[ ${JOBS:=2} =~ ^[1-9][0-9]*$ ]] || wrong_call "JOBS=$JOBS is no positive number"
stage=${stage:-$(((updates + 15) / 16))}
scratch=${scratch:-$((dense_updates + updates))}
if [ "$updates" -eq 400 ]; then default=staged; else default=staged.$updates; fi
out=${out:-$ROOT/runs/$default} benchmark="staged, $updates updates"
if [ -n "$only" ]; then
  # Of low_rank-50-staged.seed1 the model low_rank-50, the way staged, and the seed.
  way='' model='' seed=''
  if [[ $only =~ ^dense\.seed([0-9]+)$ ]]; then
    way=dense seed=${BASH_REMATCH[1]}
  elif [ "$only" = dense.given ] && [ -n "$dense" ]; then
    way=given
  elif [[ $only =~ ^([a-z_]+-[0-9]+)-(before|at-once|staged|scratch)\.seed([0-9]+)$ ]]; then
    model=${BASH_REMATCH[1]} way=${BASH_REMATCH[2]} seed=${BASH_REMATCH[3]}
  fi
  read -ra own <<<"${options[${model:-none}]-}"
  if [ -z "$way" ] || { [ -n "$model" ] && [ ${#own[@]} -eq 0 ]; }; then
    wrong_call "--only: there is no run '$only'"
  fi
fi

# A model that lost too much does not end its sentences: none is more than twice the source, and some.
decoding=(--beam "$beam" --max-len-a 2 --max-len-b 10)

# dense_of SEED: the dense checkpoint that a seed's runs begin with.
dense_of() { printf '%s' "${dense:-$out/dense.seed$1/checkpoint_best.pt}"; }

# projection_of MODEL SEED: where its projection is; of a given checkpoint there is one for all seeds.
projection_of() { printf '%s' "$out/$1-before.seed$([ -n "$dense" ] && echo 1 || echo "$2")"; }

# score_checkpoint CHECKPOINT RUN: its loss and BLEU, for what was not trained by this script.
score_checkpoint() {
  local checkpoint=$1 run=$2 on=()
  SPLIT=valid bash "$HERE/evaluate.sh" "$data" "$checkpoint" "$run" "${decoding[@]}"
  if [ -z "${DRY_RUN-}" ]; then
    if [ -f "$run/validated" ] && [ "$run/validated" -nt "$checkpoint" ]; then return; fi
    rm -f -- "$run/validate.log"
  fi
  if [ "$DEVICE" = cpu ]; then on=(--cpu); fi
  # The batches of the trainings' validation: fairseq leaves out those of no multiple of 8 sentences.
  with_progress "$run/validate.log" "validate $(basename -- "$run")" 1 '"valid_loss"' \
    '"(valid_loss)": "([0-9.]+)"' \
    "$PYTHON" -m fairseq_cli.validate "$data" --task translation --user-dir "$USER_DIR" \
    --path "$checkpoint" --max-tokens 1024 --num-workers 0 --log-format json "${on[@]}"
  if [ -z "${DRY_RUN-}" ]; then touch -- "$run/validated"; fi
}

# diverged LOG: how often fairseq ended a training whose gradients are no numbers.
diverged() { { grep '^FloatingPointError: ' "$1" 2>/dev/null || true; } | wc -l; }

# train_and_score [options of fairseq-train]: the run `only`.
train_and_score() {
  local run=$out/$only begin=() start call known
  if [ -z "${DRY_RUN-}" ]; then
    mkdir -p -- "$run"
    alone_in "$run"
  fi
  case $way in
    given)
      score_checkpoint "$dense" "$run"
      return
      ;;
    dense)
      train_small "$run" "$dense_updates" --factor-plan '*=dense' --seed "$seed" "$@"
      score_checkpoint "$run/checkpoint_best.pt" "$run"
      return
      ;;
    before)
      start=$(dense_of "$seed")
      if [ -n "${DRY_RUN-}" ] || [ ! "$run/project.txt" -nt "$start" ]; then
        into "$run/project.txt" "$(quoted "$PYTHON" -m shapeshifter_fairseq project "$start" \
          "$run/projected.pt" "${own[@]}" --force)"
      fi
      score_checkpoint "$run/projected.pt" "$run"
      return
      ;;
    at-once) start=$(projection_of "$model" "$seed")/projected.pt begin=(--lr "$rate") ;;
    staged) start=$(dense_of "$seed") begin=(--lr "$rate" --stage-updates "$stage") ;;
  esac
  if [ "$way" = scratch ]; then
    # At the quickstart's rate the larger low_rank and monarch learn how frequent each type is and
    # nothing more; half of it after a seventh of 1,000 updates is worse than after 400
    # (docs/results.md).
    updates=$scratch begin=(--lr "$scratch_rate" --warmup-updates "$((SMALL_UPDATES / 7))")
  else
    begin+=(--finetune-from-model "$start")
  fi
  call="$data $updates ${own[*]} ${begin[*]} --seed $seed $*"
  if [ -f "$run/diverged" ] && [ "$(cat -- "$run/diverged")" = "$call" ]; then
    say "train: $run has diverged, skipped"
    return
  fi
  known=$(diverged "$run/train.log") # with other options, or an earlier try
  train_small "$run" "$updates" "${own[@]}" "${begin[@]}" --seed "$seed" "$@" || {
    [ "$(diverged "$run/train.log")" -gt "$known" ] || exit 1
    # That is a result, of this call.
    printf '%s\n' "$call" >"$run/diverged"
    say "train: $run has diverged, which counts as failed"
    return
  }
  if [ -z "${DRY_RUN-}" ]; then rm -f -- "$run/diverged"; fi
  score_small "$run" checkpoint_last.pt "$benchmark" "$model $way" "${decoding[@]}"
}

if [ -z "${DRY_RUN-}" ] && [ -z "$only" ]; then
  need_small
  [ -z "$dense" ] || [ -f "$dense" ] || die "there is no checkpoint $dense"
fi
small_corpus
side_by_side "$JOBS"
find_devices
export DEVICE PRECISION
if [ -n "$only" ]; then
  train_and_score "$@"
  exit
fi

# all RUN...: each in a script of its own, with its progress bar on its own line of the screen.
all() {
  printf '%s\0' "$@" |
    xargs -0 -I{} -P "$JOBS" --process-slot-var=TQDM_POSITION \
      bash "$0" --only {} --data "$data" "${given[@]}" ||
    die "a run stopped early; run again to go on from its last checkpoint"
}

if [ -n "${DRY_RUN-}" ]; then JOBS=1; fi
denses=() before=() runs=()
for seed in $(seq "$seeds"); do
  denses+=("dense.seed$seed")
  for name in "${names[@]}"; do
    for size in "${sizes[@]}"; do
      if [ -z "$dense" ] || [ "$seed" -eq 1 ]; then before+=("$name-$size-before.seed$seed"); fi
      for way in "${ways[@]}"; do
        if [ "$way" = scratch ] && [ "$seed" -gt "${scratch_seeds:-$seeds}" ]; then continue; fi
        runs+=("$name-$size-$way.seed$seed")
      done
    done
  done
done
if [ -n "$dense" ]; then denses=(dense.given); fi
all "${denses[@]}"
all "${before[@]}"
all "${runs[@]}"
into "$out/staged.md" "$(quoted "$PYTHON" "$HERE/staged.py" "$out" "${denses[@]}" "${before[@]}" \
  "${runs[@]}")"
if [ -z "${DRY_RUN-}" ]; then
  cat -- "$out/staged.md"
  say "results: $out"
fi
