#!/usr/bin/env bash
# Train one model; the one place where the training flags stand. See --help.
set -euo pipefail
unset CDPATH
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
# shellcheck source-path=SCRIPTDIR source=devices.sh
. "$HERE/devices.sh"

usage() {
  cat <<HELP
usage: train.sh DATA SAVE_DIR --arch ARCH --max-update N [--tokens-per-update N]
                [options of fairseq-train]

Train on DATA (what fairseq-preprocess made) into SAVE_DIR with the setting of the papers: Adam
(0.9, 0.98), learning rate 5e-4 with 15,000 warm-up updates, dropout 0.3, weight decay 1e-4, label
smoothing 0.1. Every option that you add is fairseq-train's and overrides these.

  --tokens-per-update N   the batch of one update, on all devices together: --max-tokens (then the
                          most that a device holds at once) and --update-freq follow from it

Killed, it goes on from the last whole checkpoint; finished, it does nothing. The full log is
SAVE_DIR/train.log, the curves for TensorBoard are in SAVE_DIR/tensorboard.

environment:
$DEVICES_HELP
  DRY_RUN           if not empty: print the command and run nothing
  PYTHON            the Python that has fairseq (default: .venv's, else python3)

example:
  bash recipes/train.sh data-bin/my-corpus runs/my-model --arch shapeshifter_transformer_iwslt \\
    --max-update 50000 --tokens-per-update 32768
HELP
}

help_if_asked "$@"
[ $# -ge 2 ] || wrong_call "DATA and SAVE_DIR are needed"
data=$1 save=$2
shift 2

# What shapes the result: the same call on a finished model is answered from here.
call="$data $*"
updates='' tokens_per_update='' max_tokens=4096 options=()
# Neither the length of a training nor where and on what it runs makes it another one.
begun=$(basename -- "$data")
while [ $# -gt 0 ]; do
  name=${1%%=*} value=${1#*=} words=("$1")
  if [[ $1 != *=* ]]; then value=${2-}; fi
  case $name in
    --max-update | --tokens-per-update | --max-tokens)
      [[ $value =~ ^[1-9][0-9]*$ ]] || wrong_call "$name '$value' is no positive number"
      if [[ $1 != *=* ]]; then
        words+=("$2")
        shift
      fi
      ;;
    --log-format)
      [ "$value" = json ] || wrong_call "--log-format '$value': progress and results are read from json; leave it out"
      ;;
    --disable-validation)
      wrong_call "--disable-validation: checkpoint_best.pt and results need validation; for less of it give --validate-interval-updates N"
      ;;
  esac
  case $name in
    --max-update) updates=$value ;;
    --tokens-per-update) tokens_per_update=$value ;;
    --max-tokens) max_tokens=$value ;;
  esac
  case $name in --tokens-per-update | --max-tokens) ;; *) options+=("${words[@]}") ;; esac
  case $name in --max-update | --max-tokens) ;; *) begun+=" ${words[*]}" ;; esac
  shift
done
[ -n "$updates" ] || wrong_call "--max-update N is needed: how long to train"
# alike <BEGUN: without how often it saves and validates, which the recipes derive from the length.
alike() { sed -E 's/ --(save|validate)-interval-updates[ =][0-9]+//g'; }
if [ -z "${DRY_RUN-}" ]; then
  need_fairseq
  need_tool flock "install util-linux"
  need_data "$data"
fi
find_devices
loading=()
if [ "$DEVICE" = cpu ]; then keep_memory; fi
batch=(--max-tokens "$max_tokens")
if [ -n "$tokens_per_update" ]; then
  share_batch "$tokens_per_update" "$max_tokens"
else
  begun+=" ${batch[*]}"
fi

main_node=yes log=$save/train.log
if [ "$NODE_RANK" -gt 0 ]; then main_node='' log=$save/train.node$NODE_RANK.log; fi
if [ -z "${DRY_RUN-}" ]; then
  if [ -f "$save/finished" ] && [ "$(cat -- "$save/finished")" = "$call" ]; then
    say "train: $save is finished, skipped"
    exit
  fi
  mkdir -p -- "$save"
  if [ -n "$main_node" ]; then
    # Two trainings in one folder would overwrite each other's checkpoints: a killed script may have
    # left its fairseq-train running, which holds this lock to its end.
    exec 9>"$save/lock"
    flock --nonblock 9 || {
      say "train: another process is training $save, waiting for it"
      flock 9
    }
  fi
  found=$("$PYTHON" "$HERE/latest_checkpoint.py" "$save" 2>/dev/null) ||
    die "a checkpoint in $save cannot be read; move it away, or give another folder"
  if [ -n "$found" ]; then
    read -r reached kind latest <<<"$found"
    [ ! -f "$save/begun" ] || [ "$(alike <"$save/begun")" = "$(alike <<<"$begun")" ] ||
      die "$save was begun with other options (they are in $save/begun); give those, or another folder"
    # fairseq goes on from checkpoint_last.pt (with --restore-file it would refuse
    # --finetune-from-model), and makes no checkpoint_best.pt before the next that is better.
    copies=("$save/checkpoint_last.pt")
    if [ "$kind" = best ]; then copies+=("$save/checkpoint_best.pt"); fi
    for copy in "${copies[@]}"; do
      if [ -n "$main_node" ] && [ ! "$latest" -ef "$copy" ]; then
        cp -- "$latest" "$copy.part"
        mv -- "$copy.part" "$copy"
      fi
    done
    if [ "$reached" -ge "$updates" ]; then
      # Killed after the last update: fairseq would make one more.
      if [ -n "$main_node" ]; then printf '%s\n' "$call" >"$save/finished"; fi
      say "train: $save has its $reached updates already"
      exit
    fi
  fi
  if [ -n "$main_node" ]; then printf '%s\n' "$begun" >"$save/begun"; fi
fi

launch "$PYTHON" -m fairseq_cli.train "$data" --user-dir "$USER_DIR" --save-dir "$save" \
  --optimizer adam --adam-betas '(0.9, 0.98)' --weight-decay 1e-4 \
  --lr 5e-4 --lr-scheduler inverse_sqrt --warmup-updates 15000 \
  --criterion label_smoothed_cross_entropy --label-smoothing 0.1 --dropout 0.3 \
  "${batch[@]}" --seed 1 --update-epoch-batch-itr True --log-format json --log-interval 20 \
  --tensorboard-logdir "$save/tensorboard" "${loading[@]}" "${options[@]}"
with_progress "$log" "train $(basename -- "$save")" "$updates" \
  '"num_updates": "(\d+)"' '"(loss|valid_loss)": "([0-9.]+)"' "${launched[@]}"
if [ -z "${DRY_RUN-}" ] && [ -n "$main_node" ]; then printf '%s\n' "$call" >"$save/finished"; fi
