#!/usr/bin/env bash
# Make .venv with this project and what it needs; see --help.
set -euo pipefail
unset CDPATH

HERE=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(dirname -- "$HERE")
# shellcheck source-path=SCRIPTDIR source=../data-prep/common.sh
. "$ROOT/data-prep/common.sh"

# The release that the figures in the README were measured with.
TORCH='torch==2.13.0'

usage() {
  cat <<'HELP'
usage: install.sh [EXTRA ...]

Make the folder .venv in the repository: this project, editable, with the named extras of setup.py
(default: fairseq recipes). A torch that works already is kept: the one in .venv, or the one of the
Python that makes it. Otherwise torch is installed, the CPU build where there is no NVIDIA GPU.
What is there already is not installed again.

environment:
  PYTHON            the Python to make .venv with, 3.11 or 3.12 (default: python3)

example:
  bash recipes/install.sh fairseq recipes test
  . .venv/bin/activate
HELP
}

case ${1-} in
  -h | --help)
    usage
    exit
    ;;
esac
extras=$(IFS=,; printf '%s' "${*:-fairseq,recipes}")
VENV=$ROOT/.venv
BASE=${PYTHON:-python3}
LOG=$VENV/install-$extras.log
STAMP=$VENV/installed-$extras

has_torch() {
  "$1" -c 'import sys, torch; sys.exit(tuple(map(int, torch.__version__.split(".")[:2])) < (2, 6))' \
    >/dev/null 2>&1
}

has_gpu() { command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L >/dev/null 2>&1; }

pip_install() { "$VENV/bin/python" -m pip install --disable-pip-version-check "$@"; }

make_venv() {
  local options=()
  need_tool "$BASE" "install Python 3.11 or 3.12, or set PYTHON to one"
  "$BASE" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' ||
    die "$BASE is $("$BASE" --version 2>&1); fairseq's wheels are for Python 3.11 and 3.12: set PYTHON to one of them"
  if has_torch "$BASE"; then options=(--system-site-packages); fi
  rm -rf -- "$VENV.part"
  # --without-pip and ensurepip apart: a Debian without python3-venv fails here, with a clear line.
  "$BASE" -m venv "${options[@]}" -- "$VENV.part" >/dev/null 2>&1 ||
    die "$BASE cannot make a virtual environment; install its venv module (Debian: apt install python3-venv)"
  # A virtual environment knows its own place: it is made again where it stays.
  rm -rf -- "$VENV.part"
  "$BASE" -m venv "${options[@]}" -- "$VENV"
}

install_torch() {
  # What pip would take depends on the package index: a CPU build, or one that brings gigabytes of
  # CUDA libraries. uv knows where CPU builds are kept.
  if has_gpu || ! pip_install --dry-run "$TORCH" | grep -q 'nvidia-'; then
    pip_install "$TORCH"
  else
    pip_install 'uv>=0.6.9,<1'
    "$VENV/bin/uv" pip install --python "$VENV/bin/python" --torch-backend cpu "$TORCH"
  fi
}

install_all() {
  has_torch "$VENV/bin/python" || install_torch
  pip_install --editable "${ROOT}[$extras]"
}

[ -x "$VENV/bin/python" ] || make_venv
wanted=$(cksum <"$ROOT/setup.py")
if [ -f "$STAMP" ] && [ "$(cat -- "$STAMP")" = "$wanted" ]; then
  say "install: already there, skipped"
  exit
fi
say "install: torch, fairseq and this project into .venv (a minute or two) ..."
if ! (set -e; install_all) >"$LOG" 2>&1; then
  die "the step 'install' failed: $(grep '[^[:space:]]' "$LOG" | tail -n 1) -- it needs the network; connect and run again (log: $LOG)"
fi
printf '%s\n' "$wanted" >"$STAMP"
