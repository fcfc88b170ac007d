# Shell functions shared by the recipes; source it, do not run it.
# shellcheck shell=bash

HERE=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(dirname -- "$HERE")
# shellcheck source-path=SCRIPTDIR source=../data-prep/common.sh
. "$ROOT/data-prep/common.sh"

find_python
export PYTHON PYTHONUNBUFFERED=1
export USER_DIR=$ROOT/shapeshifter_fairseq
export PYTHONPATH=$ROOT${PYTHONPATH:+:$PYTHONPATH} # this checkout's package, installed or not

need_fairseq() {
  need_tool "$PYTHON" "set PYTHON to the Python that has fairseq"
  need_module fairseq_cli "run: bash recipes/install.sh"
}

# need_data DATA: a folder that fairseq-preprocess made.
need_data() {
  local dictionaries=("$1"/dict.*.txt)
  [ -d "$1" ] || die "there is no folder $1; prepare the data first (data-prep/)"
  [ -e "${dictionaries[0]}" ] ||
    die "$1 holds no dict.*.txt: it is not what fairseq-preprocess makes (data-prep/ has scripts)"
}

# quoted WORD...: the words as one line that a shell reads back as the same words.
quoted() {
  local word line=''
  for word in "$@"; do
    if [[ ! $word =~ ^[A-Za-z0-9_./:=,@%+-]+$ ]]; then word=${word@Q}; fi
    line+=" $word"
  done
  printf '%s' "${line# }"
}

# show LINE: a command of a dry run, by the name that pip installs in place of the module's.
show() {
  local line=$1 python
  python="$(quoted "$PYTHON") -m"
  line=${line/#"$python fairseq_cli."/fairseq-}
  line=${line/#"$python torch.distributed.run "/torchrun }
  line=${line/#"$python shapeshifter_fairseq "/shapeshifter }
  line=${line/#"$python sacrebleu "/sacrebleu }
  # torchrun starts a command of its own, behind its options.
  say "${line/"$python fairseq_cli.train "/fairseq-train }"
}

# run COMMAND...: run it, or show it in a dry run.
run() {
  if [ -n "${DRY_RUN-}" ]; then show "$(quoted "$@")"; else "$@"; fi
}

# into FILE LINE: write what a shell's command line says, whole or not at all.
into() {
  if [ -n "${DRY_RUN-}" ]; then
    show "$2 >$(quoted "$1")"
    return
  fi
  bash -euo pipefail -c "$2" >"$1.part"
  mv -- "$1.part" "$1"
}

# with_progress LOG NAME TOTAL DONE NOTE COMMAND...: its output to LOG, a bar to the screen.
with_progress() {
  local log=$1 name=$2 total=$3 done=$4 note=$5
  shift 5
  if [ -n "${DRY_RUN-}" ]; then
    show "$(quoted "$@")"
    return
  fi
  printf '\n=== %s, %s\n%s\n' "$name" "$(date)" "$*" >>"$log"
  "$@" 2>&1 | "$PYTHON" "$HERE/progress.py" --log "$log" --name "$name" --total "$total" \
    --done "$done" --note "$note" ||
    die "$name failed: $(grep '[^[:space:]]' "$log" | tail -n 1) (log: $log)"
}

# alone_in FOLDER: wait until nobody else is at work there. The lock is held by all that is started
# from here, so that what a killed script has left is waited for.
alone_in() {
  exec 8>"$1/recipe.lock"
  flock --nonblock 8 || {
    say "another process is at work in $1, waiting for it"
    flock 8
  }
}

lines() { wc -l <"$1" | tr -d ' '; }
