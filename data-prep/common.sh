# Shell functions shared by the prepare-*.sh scripts; source it, do not run it.
# shellcheck shell=bash

# The output of a step goes to the log; descriptor 3 stays with the person who waits.
exec 3>&1

# find_python: set PYTHON, which alone says whose fairseq is used: its commands run as modules.
find_python() {
  if [ -n "${PYTHON-}" ]; then return; fi
  PYTHON=python3
  if [ -x "$ROOT/.venv/bin/python" ]; then PYTHON=$ROOT/.venv/bin/python; fi
}

say() { printf '%s\n' "$*" >&3; }

die() {
  printf '%s: error: %s\n' "$(basename "$0")" "$*" >&2
  exit 1
}

# The same for options and arguments, with the exit status that means a wrong call.
wrong_call() {
  printf '%s: error: %s; try --help\n' "$(basename "$0")" "$*" >&2
  exit 2
}

# help_if_asked "$@": print the script's own `usage` and end, if that is what it was called for.
help_if_asked() {
  case ${1-} in
    -h | --help)
      usage
      exit
      ;;
  esac
}

# need_tool COMMAND WAY_OUT: stop now if a program is missing, not half an hour later.
need_tool() {
  command -v "$1" >/dev/null 2>&1 || die "$1 not found; $2"
}

# need_module MODULE WAY_OUT: the same for a module of the Python that will run the steps.
need_module() {
  "$PYTHON" -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec(sys.argv[1]) is None)' "$1" ||
    die "the Python module '$1' is missing in $PYTHON; $2"
}

# refuse_foreign RESULT: never replace a folder that holds something else than a step's result.
refuse_foreign() {
  if [ ! -e "$1" ] || [ -f "$1/.stamp" ]; then return; fi
  if [ -d "$1" ] && [ -z "$(ls -A -- "$1")" ]; then return; fi
  die "$1 exists and was not made by this script; move it away or choose another folder"
}

# last_words LOG: its last line; a progress bar is many lines in one, divided by carriage returns.
last_words() {
  # grep reads to the end: it must not leave tr with a closed pipe.
  tail -c 4000 -- "$1" | tr '\r' '\n' | grep -a '[^[:space:]]' | tail -n 1
}

# watch NAME: show on a terminal how far the step is, until this script ends.
watch() {
  local seconds=0
  while sleep 1 && kill -0 $$ 2>/dev/null; do
    seconds=$((seconds + 1))
    printf '\r\033[K  %s, %d s: %.100s' "$1" "$seconds" "$(last_words "$LOG")" >&3
  done
}

# logged NAME FUNCTION [ARGUMENT...]: run a step's function, its output to the log. It leaves
# the exit status in `status`: called as `logged ... || ...` it would run without `set -e`.
logged() {
  local step_name=$1 watcher=''
  shift
  printf '\n=== %s, %s\n' "$step_name" "$(date)" >>"$LOG"
  if [ -t 3 ]; then
    # Not descriptor 9: a lock there would live as long as the watcher.
    watch "$step_name" 9>&- &
    watcher=$!
  fi
  # In a subshell of its own: `if ! $make` would switch off `set -e` inside the function.
  set +e
  (
    set -e
    "$@"
  ) >>"$LOG" 2>&1
  status=$?
  if [ -n "$watcher" ]; then
    kill "$watcher" 2>/dev/null
    wait "$watcher" 2>/dev/null
    printf '\r\033[K' >&3
  fi
  set -e
}

# step_failed NAME WAY_OUT [FOLDER]: remove FOLDER and end with the reason: the last line of the log.
step_failed() {
  local reason folder
  folder=$(dirname -- "$LOG")
  reason=$(last_words "$LOG")
  # A full disk takes no last line either; it has room again once FOLDER is gone.
  if [ "$(df -Pk -- "$folder" | awk 'END { print $4 }')" -lt 64 ]; then
    reason="the disk of $folder is full"
  fi
  if [ $# -gt 2 ]; then rm -rf -- "$3"; fi
  die "the step '$1' failed: $reason -- $2 (log: $LOG)"
}

# step NAME RESULT STAMP WAY_OUT FUNCTION
#
# Make the folder RESULT by calling FUNCTION with the folder to fill. The work happens in
# RESULT.part, which takes its final name only when whole, so a killed run leaves no half result.
# STAMP says what the result was made from (options, inputs): the same STAMP means nothing to do.
step() {
  local name=$1 result=$2 stamp=$3 way_out=$4 make=$5
  local part=$result.part old=$result.replaced status

  # A run killed between the two renames below left the previous result under
  # RESULT.replaced.
  if [ -d "$old" ]; then
    if [ -e "$result" ]; then rm -rf -- "$old"; else mv -- "$old" "$result"; fi
  fi
  refuse_foreign "$result"
  if [ -f "$result/.stamp" ] && [ "$(cat -- "$result/.stamp")" = "$stamp" ]; then
    say "$name: already there, skipped"
    return
  fi

  say "$name ..."
  rm -rf -- "$part"
  mkdir -p -- "$part"
  logged "$name" "$make" "$part"
  [ "$status" -eq 0 ] || step_failed "$name" "$way_out" "$part"
  printf '%s\n' "$stamp" >"$part/.stamp"
  if [ -e "$result" ]; then mv -- "$result" "$old"; fi
  mv -- "$part" "$result"
  rm -rf -- "$old"
}
