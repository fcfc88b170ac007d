# Trainings of minutes, on the quickstart's corpus; source it.
# shellcheck shell=bash disable=SC2034,SC2154 # for those who source this; `data` is theirs

SMALL_UPDATES=2800

# For the --help of those who source this.
SMALL_HELP='  JOBS              trainings side by side (default 2)
  OMP_NUM_THREADS   threads of each (default: its share of the cores)
  DEVICE            cuda or cpu (default: cuda where torch sees a GPU)
  PYTHON            the Python that has fairseq (default: .venv'\''s, else python3)'

# small_setting UPDATES [TOKENS]: set `setting`, the options of train.sh; TOKENS (default 1024) make
# up an update.
#
# Few minutes of training want another setting than the papers': a higher rate that falls to zero,
# no dropout. Chosen on the validation set, one setting for all models (docs/results.md).
small_setting() {
  local seventh=$((($1 + 6) / 7)) # 400 of the 2,800
  setting=(--arch shapeshifter_transformer_tiny --max-update "$1" --total-num-update "$1"
    --max-tokens "${2:-1024}" --lr-scheduler polynomial_decay --lr 1.5e-3
    --warmup-updates "$seventh" --dropout 0 --weight-decay 0 --no-epoch-checkpoints
    --save-interval-updates "$seventh" --keep-interval-updates 1 --validate-interval 1000
    --validate-interval-updates "$seventh" --num-workers 0)
}

# side_by_side JOBS: each training its share of the cores. Such small batches gain little from a
# second core: two at once take three quarters of the time of one after the other.
side_by_side() {
  local cores
  cores=$(nproc)
  export NPROC=1 # on a machine with several GPUs: each training takes one, and keeps its batch
  export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(((cores + $1 - 1) / $1))}
}

# need_small: find out now what is missing for the last step.
need_small() {
  local module
  need_fairseq
  need_tool flock "install util-linux"
  for module in matplotlib sacrebleu sentencepiece tabulate; do
    need_module "$module" "run: bash recipes/install.sh"
  done
}

# small_corpus: set `data`, if the user gave none, to the quickstart's corpus, made if need be.
small_corpus() {
  if [ -z "$data" ]; then
    data=$ROOT/data-bin/localisation.de-en
    run bash "$ROOT/data-prep/prepare-localisation.sh" de en
  fi
  # For corpus.py in a dry run without data.
  export CORPUS='{"source": "de", "target": "en", "subwords": "sentencepiece", "tokenizer": null, "lowercased": false}'
}

# train_small RUN UPDATES [options of train.sh]: into the folder RUN.
train_small() {
  local setting
  small_setting "$2"
  bash "$HERE/train.sh" "$data" "$1" "${setting[@]}" "${@:3}"
}

# score_small RUN CHECKPOINT RECIPE MODEL [options of fairseq-generate]: on the validation set, into
# RUN/result.json.
score_small() {
  local run=$1 checkpoint=$2 recipe=$3 model=$4
  SPLIT=valid bash "$HERE/evaluate.sh" "$data" "$run/$checkpoint" "$run" "${@:5}"
  if [ -n "${DRY_RUN-}" ] || [ ! "$run/result.json" -nt "$run/scored" ]; then
    run "$PYTHON" "$HERE/result.py" "$run" --data "$data" --recipe "$recipe" --model "$model" \
      --split valid --checkpoint "$checkpoint" >/dev/null
  fi
}
