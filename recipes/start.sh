# Finds a Python and runs the program that a script is named after; each script sources it.
# shellcheck shell=bash
#
# recipes/NAME.sh is recipes/experiments/NAME.py (with _ for each . and -), data-prep/prepare-NAME.sh
# is data-prep/preparation/datasets/NAME.py. PYTHON chooses the Python, and so the fairseq.

set -euo pipefail
unset CDPATH
ROOT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
script=$(basename -- "$0")
if [ "$script" = start.sh ]; then
  echo "start.sh: error: the other scripts source it; run one of them" >&2
  exit 2
fi
if [ -z "${PYTHON-}" ]; then
  PYTHON=python3
  if [ -x "$ROOT/.venv/bin/python" ]; then PYTHON=$ROOT/.venv/bin/python; fi
fi
command -v "$PYTHON" >/dev/null 2>&1 || {
  printf '%s: error: %s not found; set PYTHON to the Python that has fairseq\n' "$script" "$PYTHON" >&2
  exit 1
}
export PYTHONPATH=$ROOT:$ROOT/data-prep${PYTHONPATH:+:$PYTHONPATH} # this checkout, installed or not
# Python must not import from the caller's folder, which may hold a recipes/ of its own.
export PYTHONSAFEPATH=1 PYTHONUNBUFFERED=1
exec "$PYTHON" -m recipes "$script" "$@"
