#!/usr/bin/env bash
# Make .venv with this project and what it needs; see --help.
set -Eeuo pipefail # -E: the trap below holds in functions too
unset CDPATH

ROOT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
# The output of a step goes to the log; descriptor 3 still goes to the screen.
exec 3>&1
say() { printf '%s\n' "$*" >&3; }
die() {
  printf '%s: error: %s\n' "$(basename "$0")" "$*" >&2
  exit 1
}

# The release that the figures in the README were measured with.
TORCH='torch==2.13.0'

case ${1-} in
  -h | --help)
    cat <<'HELP'
usage: install.sh [EXTRA ...]

Make the folder .venv in the repository, and install this project into it, editable, with the named
extras of setup.py (default: fairseq recipes). If .venv, or the Python that makes it, has a working
torch, that is kept. Otherwise torch is installed: the CPU build if there is no NVIDIA GPU. Nothing
is installed twice.

environment:
  PYTHON            the Python to make .venv with, 3.11 or 3.12 (default: python3)

example:
  bash recipes/install.sh fairseq recipes test
  . .venv/bin/activate
HELP
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

# pip's output goes to the log; a terminal shows its current line.
pip_install() {
  "$VENV/bin/python" -m pip install --disable-pip-version-check --progress-bar off "$@" 2>&1 |
    tee -a -- "$LOG" |
    while IFS= read -r line; do
      if [ -t 3 ]; then printf '\r\033[K  %.70s' "$line" >&3; fi
    done
  if [ -t 3 ]; then printf '\r\033[K' >&3; fi
}

make_venv() {
  local options=(--without-pip)
  command -v "$BASE" >/dev/null 2>&1 ||
    die "$BASE not found; install Python 3.11 or 3.12, or set PYTHON to one"
  "$BASE" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' ||
    die "$BASE is $("$BASE" --version 2>&1); fairseq's wheels are for Python 3.11 and 3.12: set PYTHON to one of them"
  if has_torch "$BASE"; then options+=(--system-site-packages); fi
  "$BASE" -m venv "${options[@]}" -- "$VENV" 2>/dev/null ||
    die "$BASE cannot make a virtual environment; install its venv module (Debian: apt install python3-venv)"
}

install_torch() {
  # What pip installs depends on the package index: a CPU build, or one that brings gigabytes of
  # CUDA libraries. uv knows where CPU builds are kept.
  pip_install --dry-run "$TORCH"
  if has_gpu || ! grep '^Would install .*nvidia-' "$LOG" >/dev/null; then
    pip_install "$TORCH"
  else
    pip_install 'uv>=0.6.9,<1'
    "$VENV/bin/uv" pip install --python "$VENV/bin/python" --torch-backend cpu "$TORCH" >>"$LOG" 2>&1
  fi
}

failed() {
  die "the step 'install' failed: $(grep '[^[:space:]]' "$LOG" | tail -n 1) -- it needs the network; connect and run again (log: $LOG)"
}

[ -x "$VENV/bin/python" ] || make_venv
# A step of its own: a run that was killed before it resumes here.
"$VENV/bin/python" -m pip --version >/dev/null 2>&1 ||
  "$VENV/bin/python" -m ensurepip >/dev/null 2>&1 ||
  die "$VENV has no pip and Python's ensurepip is missing; install it (Debian: apt install python3-venv)"
wanted=$(cksum <"$ROOT/setup.py")
if [ -f "$STAMP" ] && [ "$(cat -- "$STAMP")" = "$wanted" ]; then
  say "install: already there, skipped"
  exit
fi
say "install: torch, fairseq and this project into .venv (a minute or two) ..."
: >"$LOG"
trap failed ERR
has_torch "$VENV/bin/python" || install_torch
pip_install --editable "${ROOT}[$extras]"
# fairseq requires torchaudio, for speech, and PyPI's is for CUDA. With a torch for CPUs it does not
# load, and then transformers, which loads it if it is there, fails too. So it is removed.
"$VENV/bin/python" -c 'import torchaudio' >/dev/null 2>&1 ||
  "$VENV/bin/python" -m pip uninstall --yes torchaudio >>"$LOG" 2>&1
printf '%s\n' "$wanted" >"$STAMP"
