#!/usr/bin/env bash
# From a bare machine to a table: dense Transformer and Shapeshifter on a real corpus; see --help.
set -euo pipefail
here=$(dirname -- "${BASH_SOURCE[0]}")
if [ $# -eq 0 ]; then
  bash "$here/install.sh" fairseq recipes
  unset PYTHON # the one in .venv
fi
. "$here/start.sh"
