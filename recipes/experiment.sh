# A benchmark from training to its report: each recipe says what is its own, then calls `experiment`.
# shellcheck shell=bash disable=SC2154 # what the recipe sets

# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
# shellcheck source-path=SCRIPTDIR source=devices.sh
. "$HERE/devices.sh"

AVERAGED=10 # checkpoints, the last ones

# The models that a recipe knows, the first by default; word2ket.sh has others.
models=(shapeshifter dense)
models_help='  --model NAME      shapeshifter (default), or dense: the Transformer with the very same flags'
own_options=() # further options, each with a number
study=''       # goes before the dataset's name in that of the benchmark
take=last      # the checkpoints to average; or best: the one with the lowest validation loss

# flags_of_model: set `model_flags` for `model`, and `label`, its name in results.
flags_of_model() {
  label=$model
  case $model in
    shapeshifter) model_flags=("${shapeshifter[@]}") ;;
    dense) model_flags=(--factor-plan '*=dense') ;;
  esac
}

usage() {
  local name=$dataset.$source-${targets[0]} choice='' taken scores
  if [ ${#targets[@]} -gt 1 ]; then
    choice="
  --target LANG     ${targets[*]} (default ${targets[0]})"
  fi
  taken="average the last $AVERAGED checkpoints"
  if [ "$take" = best ]; then taken='take the checkpoint with the lowest validation loss'; fi
  scores="sacreBLEU of the plain text and of the words as the tokeniser made them (as the papers' tables do)"
  if [ "${SCORES-}" = rouge ]; then scores='ROUGE-1, -2 and -L of the plain text'; fi
  cat <<HELP
usage: $(basename -- "$0") [options] [-- options of fairseq-train]

$ABOUT

Train, $taken, translate with beam 5, and report:
$scores.

options:$choice
$models_help
  --data DIR        the prepared corpus (default data-bin/$name)
  --out DIR         the results (default runs/$study$name/MODEL.seedN)
  --seed N          seed of the training (default 1)
  --max-update N    length of the training (default $updates)
  --dry-run         print the commands and run nothing; data and fairseq need not be there
  -h, --help        show this text

The folder for the results gets result.json, report.md, config.json, commands.sh, train.log,
tensorboard/, averaged.pt and the translations. Killed, the same command goes on; finished, it does
nothing. The default folders are in the repository.

environment:
$DEVICES_HELP
  PYTHON            the Python that has fairseq (default: .venv's, else python3)

examples:
  bash recipes/$(basename -- "$0") --dry-run
  bash recipes/$(basename -- "$0") --model dense --seed 2 -- --dropout 0.1
  NPROC=2 bash recipes/$(basename -- "$0") -- --max-tokens 16384  # the batch stays
HELP
}

# need_all DATA [MODULE]: find out now what is missing for the last step.
need_all() {
  local module
  need_fairseq
  need_tool flock "install util-linux"
  for module in sacrebleu sacremoses sentencepiece subword_nmt tabulate "${@:2}"; do
    need_module "$module" "run: bash recipes/install.sh"
  done
  need_data "$1"
  [ -d "$1/raw" ] || die "$1 has no folder raw/ to score against; a script of data-prep/ makes it"
}

# experiment "$@", with what the recipe has set: ABOUT, dataset, source, targets, corpus, arch,
# updates, tokens_per_update, save_every, and the options `setting`, `shapeshifter`, `generate`; and
# in the environment SPLIT, SPLIT_COMPOUNDS and SCORES for evaluate.sh.
experiment() {
  local target=${targets[0]} model=${models[0]} label='' seed=1 data='' out='' name every
  local model_flags=() averaged given=("$@")
  while [ $# -gt 0 ]; do
    case $1 in
      -h | --help)
        usage
        exit
        ;;
      --dry-run)
        export DRY_RUN=1
        shift
        ;;
      --target | --model | --data | --out | --seed | --max-update)
        [ $# -ge 2 ] && [ -n "$2" ] || wrong_call "$1 needs a value"
        case $1 in
          --target) target=$2 ;;
          --model) model=$2 ;;
          --data) data=${2%/} ;;
          --out) out=${2%/} ;;
          --seed) seed=$2 ;;
          --max-update) updates=$2 ;;
        esac
        shift 2
        ;;
      --)
        shift
        break
        ;;
      *)
        [[ " ${own_options[*]} " = *" $1 "* ]] ||
          wrong_call "unknown option $1 (options of fairseq-train come after --)"
        [[ ${2-} =~ ^[1-9][0-9]*$ ]] || wrong_call "$1 '${2-}' is no positive number"
        printf -v "${1#--}" '%s' "$2"
        shift 2
        ;;
    esac
  done
  [[ " ${targets[*]} " = *" $target "* ]] || wrong_call "--target $target: it is one of ${targets[*]}"
  [[ $seed =~ ^[0-9]+$ ]] || wrong_call "--seed '$seed' is no number"
  [[ $updates =~ ^[1-9][0-9]*$ ]] || wrong_call "--max-update '$updates' is no positive number"
  [[ " ${models[*]} " = *" $model "* ]] || wrong_call "--model $model: it is one of ${models[*]}"
  flags_of_model
  name=$dataset.$source-$target
  data=${data:-$ROOT/data-bin/$name} out=${out:-$ROOT/runs/$study$name/$label.seed$seed}
  # For corpus.py in a dry run without data.
  export CORPUS="{\"source\": \"$source\", \"target\": \"$target\", $corpus}"
  find_devices
  export DEVICE NPROC NNODES NODE_RANK MASTER_ADDR PRECISION

  # A short training has its checkpoints closer together.
  every=$((updates / AVERAGED))
  every=$((every < 1 ? 1 : every < save_every ? every : save_every))
  if [ -z "${DRY_RUN-}" ]; then
    need_all "$data" ${SCORES:+rouge_score}
    if [ "$NODE_RANK" -eq 0 ]; then
      mkdir -p -- "$out"
      alone_in "$out"
    fi
  fi
  bash "$HERE/train.sh" "$data" "$out" --arch "$arch" "${model_flags[@]}" "${setting[@]}" \
    --seed "$seed" --max-update "$updates" --tokens-per-update "$tokens_per_update" \
    --save-interval-updates "$every" --keep-interval-updates "$AVERAGED" \
    --keep-last-epochs "$AVERAGED" --validate-interval-updates "$every" --validate-interval 1000000 \
    "$@"
  if [ "$NODE_RANK" -gt 0 ]; then return; fi # the first machine does the rest
  # Only now: of a call that train.sh refused nothing stays.
  if [ -z "${DRY_RUN-}" ]; then
    into "$out/commands.sh" "$(quoted bash "$0" --dry-run "${given[@]}")"
  fi

  if [ -n "${DRY_RUN-}" ] || [ ! "$out/averaged.pt" -nt "$out/finished" ]; then
    if [ -z "${DRY_RUN-}" ]; then say "average ..."; fi
    averaged=(--last "$AVERAGED" "$out")
    if [ "$take" = best ]; then averaged=("$out/checkpoint_best.pt"); fi
    run "$PYTHON" -m shapeshifter_fairseq average "$out/averaged.pt" "${averaged[@]}" --force
  fi
  bash "$HERE/evaluate.sh" "$data" "$out/averaged.pt" "$out" "${generate[@]}"
  if [ -n "${DRY_RUN-}" ] || [ ! "$out/result.json" -nt "$out/scored" ]; then
    run "$PYTHON" "$HERE/result.py" "$out" --data "$data" --recipe "$study$name" \
      --model "$label" --split "${SPLIT:-test}"
  fi
  if [ -z "${DRY_RUN-}" ]; then say "results: $out"; fi
}
