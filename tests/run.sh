#!/usr/bin/env bash
# The whole test suite on a machine where nothing is prepared; see --help.
set -euo pipefail
unset CDPATH
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname -- "$here")

case ${1-} in
  -h | --help)
    cat <<'HELP'
usage: run.sh [--quick | options of pytest]

Install what is needed into .venv and run every test: style, types, unit tests, then end-to-end
tests that run fairseq's commands as a user would. Options and paths are passed on to pytest.

  --quick           style, types, and the unit tests that are not marked slow: about two minutes

environment:
  PYTHON            the Python to make .venv with, 3.11 or 3.12 (default: python3)

examples:
  bash tests/run.sh
  bash tests/run.sh --quick
  bash tests/run.sh tests/test_plan.py -k wins
HELP
    exit
    ;;
esac

bash "$root/recipes/install.sh" fairseq recipes deploy test
export PATH=$root/.venv/bin:$PATH
cd -- "$root"
quick=()
if [ "${1-}" = --quick ]; then
  quick=(-m 'not slow')
  shift
fi
if [ $# -gt 0 ]; then exec python -m pytest "$@"; fi

# Two test processes, one thread each: more threads than cores make fairseq many times slower.
export OMP_NUM_THREADS=1
ruff check .
ruff format --check .
git ls-files -z '*.sh' .ci/run | xargs -0 shellcheck
python -m mypy tests/use_of_the_interface.py
python -m pytest --ignore tests/end_to_end --numprocesses 2 ${quick[@]+"${quick[@]}"}
if [ ${#quick[@]} -eq 0 ]; then python -m pytest tests/end_to_end --numprocesses 2; fi
