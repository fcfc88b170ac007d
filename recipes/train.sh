#!/usr/bin/env bash
# Train one model; the one place where the training flags stand. See --help.
set -euo pipefail
unset CDPATH
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

usage() {
  cat <<'HELP'
usage: train.sh DATA SAVE_DIR --arch ARCH --max-update N [options of fairseq-train]

Train on DATA (what fairseq-preprocess made) into SAVE_DIR with the setting of the papers: Adam
(0.9, 0.98), learning rate 5e-4 with 15,000 warm-up updates, dropout 0.3, weight decay 1e-4, label
smoothing 0.1. Every option that you add is fairseq-train's and overrides these.

Killed, it goes on from the last whole checkpoint; finished, it does nothing. The full log is
SAVE_DIR/train.log.

environment:
  PYTHON            the Python that has fairseq (default: .venv's, else python3)

example:
  bash recipes/train.sh data-bin/my-corpus runs/my-model --arch shapeshifter_transformer_iwslt \
    --max-update 50000 --max-tokens 4096
HELP
}

help_if_asked "$@"
[ $# -ge 2 ] || wrong_call "DATA and SAVE_DIR are needed"
data=$1 save=$2
shift 2
updates='' previous=''
for word in "$@"; do
  if [ "$previous" = --max-update ]; then updates=$word; fi
  previous=$word
done
[[ $updates =~ ^[1-9][0-9]*$ ]] || wrong_call "--max-update N is needed: how long to train"
need_fairseq
need_tool flock "install util-linux"
need_data "$data"

# What shapes the result: the same call on a finished model is answered from here.
call="$data $*"
if [ -f "$save/finished" ] && [ "$(cat -- "$save/finished")" = "$call" ]; then
  say "train: $save is finished, skipped"
  exit
fi
mkdir -p -- "$save"
# Two trainings in one folder would overwrite each other's checkpoints: a killed script may have left
# its fairseq-train running, which holds this lock to its end.
exec 9>"$save/lock"
flock --nonblock 9 || {
  say "train: another process is training $save, waiting for it"
  flock 9
}

restore=()
if latest=$("$PYTHON" "$HERE/latest_checkpoint.py" "$save"); then
  restore=(--restore-file "$latest")
fi
with_progress "$save/train.log" "train $(basename -- "$save")" "$updates" \
  '"num_updates": "(\d+)"' '"(loss|valid_loss)": "([0-9.]+)"' \
  "$PYTHON" -m fairseq_cli.train "$data" --user-dir "$USER_DIR" --save-dir "$save" \
  --optimizer adam --adam-betas '(0.9, 0.98)' --weight-decay 1e-4 \
  --lr 5e-4 --lr-scheduler inverse_sqrt --warmup-updates 15000 \
  --criterion label_smoothed_cross_entropy --label-smoothing 0.1 --dropout 0.3 \
  --max-tokens 4096 --seed 1 --update-epoch-batch-itr True --log-format json --log-interval 20 \
  "${restore[@]}" "$@"
printf '%s\n' "$call" >"$save/finished"
