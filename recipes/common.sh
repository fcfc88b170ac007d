# Shell functions shared by the recipes; source it, do not run it.
# shellcheck shell=bash

HERE=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(dirname -- "$HERE")
# shellcheck source-path=SCRIPTDIR source=../data-prep/common.sh
. "$ROOT/data-prep/common.sh"

# fairseq's commands run as modules, so that PYTHON alone says which installation is used.
if [ -z "${PYTHON-}" ]; then
  PYTHON=python3
  if [ -x "$ROOT/.venv/bin/python" ]; then PYTHON=$ROOT/.venv/bin/python; fi
fi
export PYTHON PYTHONUNBUFFERED=1
export USER_DIR=$ROOT/shapeshifter_fairseq

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

# with_progress LOG NAME TOTAL DONE NOTE COMMAND...: its output to LOG, a bar to the screen.
with_progress() {
  local log=$1 name=$2 total=$3 done=$4 note=$5
  shift 5
  printf '\n=== %s, %s\n%s\n' "$name" "$(date)" "$*" >>"$log"
  "$@" 2>&1 | "$PYTHON" "$HERE/progress.py" --log "$log" --name "$name" --total "$total" \
    --done "$done" --note "$note" ||
    die "$name failed: $(grep '[^[:space:]]' "$log" | tail -n 1) (log: $log)"
}
