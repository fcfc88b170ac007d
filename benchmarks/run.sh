#!/usr/bin/env bash
# All benchmarks by one command; see --help.
set -euo pipefail
unset CDPATH
ROOT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
if [ -z "${PYTHON-}" ]; then
  PYTHON=python3
  if [ -x "$ROOT/.venv/bin/python" ]; then PYTHON=$ROOT/.venv/bin/python; fi
fi
export PYTHON PYTHONUNBUFFERED=1 PYTHONPATH=$ROOT${PYTHONPATH:+:$PYTHONPATH}
wrong_call() {
  printf 'run.sh: error: %s; try --help\n' "$*" >&2
  exit 2
}

usage() {
  cat <<'HELP'
usage: run.sh [--quick] [--only LETTERS] [--out DIR]

Measure what a factorized model costs, compared with the dense one and with other packages (of the
extra `benchmarks`: bash recipes/install.sh fairseq recipes benchmarks). The two sides of each figure
take turns in one process.

  a  training     a training step of each architecture
  b  generation   beam search, and from a checkpoint to the first token
  c  memory       of a training step and a generating process, bytes of a checkpoint
  d  layers       one layer against nn.Linear, torch.kron, tensorly-torch, linear_operator
  e  lookup       embedding lookups up to a million types, tied output
  f  exchange     two processes with torchrun: time and bytes of a step
  g  growth       with rank, width, tokens, vocabulary and layers, as plots
  h  kernels      calls of a training step, and how long a GPU is busy with it
  i  updates      updates a second of fairseq-train itself

  --quick         fewer settings and pairs: 10 minutes on two cores
  --only LETTERS  some parts, for example a,d
  --out DIR       where the results go (default: benchmarks/results): DIR/results.json, DIR/table.md,
                  DIR/bars.png, DIR/growth.png; a part that is not run again keeps its last figures

Without a GPU, the rows for it say so; with one, the same command measures them. glibc is told to
keep freed memory, for both sides of each figure. Otherwise it returns every large buffer to the
system, and each step pays for its pages again.

environment:
  PYTHON            the Python that has fairseq (default: .venv's, else python3)
  OMP_NUM_THREADS   threads of a process (default: one a core)

examples:
  bash benchmarks/run.sh --quick
  bash benchmarks/run.sh --only d --out /tmp/layers
HELP
}

only=abcdefghi out=$ROOT/benchmarks/results quick=()
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help)
      usage
      exit
      ;;
    --quick) quick=(--quick) ;;
    --only | --out)
      [ $# -ge 2 ] || wrong_call "$1 needs a value"
      if [ "$1" = --out ]; then out=$2; else only=${2//,/}; fi
      shift
      ;;
    *) wrong_call "there is no option $1" ;;
  esac
  shift
done
[[ $only =~ ^[a-i]+$ ]] || wrong_call "--only '$only': parts are the letters a to i"

command -v "$PYTHON" >/dev/null 2>&1 || {
  printf 'run.sh: error: %s not found; set PYTHON to the Python that has fairseq\n' "$PYTHON" >&2
  exit 1
}
GLIBC_TUNABLES=$("$PYTHON" -c '
from recipes.console import need_modules, run
from recipes.devices import keep_memory

def check():
    way_out = "run: bash recipes/install.sh fairseq recipes benchmarks"
    need_modules("fairseq", "torch", "matplotlib", "tabulate", "tqdm", way_out=way_out)
    print(keep_memory()["GLIBC_TUNABLES"])

run("run.sh", check)')
export GLIBC_TUNABLES
mkdir -p -- "$out"
for part in a-training b-generation c-memory d-layers e-lookup f-exchange g-growth h-kernels \
  i-updates; do
  if [[ $only != *${part%%-*}* ]]; then continue; fi
  printf '%s\n' "$part"
  "$PYTHON" "$ROOT/benchmarks/${part#*-}.py" "${quick[@]}" --out "$out/$part.json"
done
"$PYTHON" "$ROOT/benchmarks/report.py" "$out"
printf 'written: %s/results.json, %s/table.md\n' "$out" "$out"
