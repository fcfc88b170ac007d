# The quickstart's setting for trainings of minutes, and what is compared with it; source it.
# shellcheck shell=bash disable=SC2034 # for those who source this

SMALL_UPDATES=2800

# small_setting UPDATES: set `setting`, the options of train.sh.
#
# Few minutes of training want another setting than the papers': small batches, a higher rate that
# falls to zero, no dropout. Chosen on the validation set, one setting for all models
# (docs/results.md).
small_setting() {
  local seventh=$((($1 + 6) / 7)) # 400 of the 2,800
  setting=(--arch shapeshifter_transformer_tiny --max-update "$1" --total-num-update "$1"
    --max-tokens 1024 --lr-scheduler polynomial_decay --lr 1.5e-3 --warmup-updates "$seventh"
    --dropout 0 --weight-decay 0 --no-epoch-checkpoints --save-interval-updates "$seventh"
    --keep-interval-updates 1 --validate-interval 1000 --validate-interval-updates "$seventh"
    --num-workers 0)
}

# side_by_side JOBS: each training its share of the cores. Such small batches gain little from a
# second core: two at once take three quarters of the time of one after the other.
side_by_side() {
  local cores
  cores=$(nproc)
  export NPROC=1 # on a machine with several GPUs: each training takes one, and keeps its batch
  export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(((cores + $1 - 1) / $1))}
}
