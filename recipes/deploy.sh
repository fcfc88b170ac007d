#!/usr/bin/env bash
# From a trained checkpoint to a CTranslate2 model that translates standard input; see --help.
set -euo pipefail
unset CDPATH
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

usage() {
  cat <<'HELP'
usage: deploy.sh CHECKPOINT [OUT_DIR]

Fold the factors of a trained model into ordinary matrices, convert it for CTranslate2 in float32 and
in int8, and translate a set with fairseq and with both, on the CPU: a table says size, speed and BLEU,
and float32 has to translate as fairseq does. Makes in OUT_DIR (default: the folder deployed beside
the checkpoint):

  folded.pt              a checkpoint of fairseq's own --arch transformer
  float32, int8          folders for CTranslate2, with all that recipes/translate.py needs
  deploy.md, deploy.json the table
  fairseq, *.txt         the translations

What is there already is not made again, unless the checkpoint or the corpus has changed.

environment:
  DATA              the prepared corpus (default: the one that the checkpoint was trained on)
  SPLIT             test (default) or valid
  BEAM              candidates of the search (default: 5)
  OMP_NUM_THREADS   threads of each (default: one for each core)
  PYTHON            the Python that has fairseq and CTranslate2 (default: .venv's, else python3)

example:
  bash recipes/install.sh fairseq recipes deploy
  bash recipes/deploy.sh runs/quickstart/shapeshifter/checkpoint_best.pt
HELP
}

help_if_asked "$@"
[ $# -eq 1 ] || [ $# -eq 2 ] || wrong_call "CHECKPOINT is needed, and nothing but OUT_DIR beside it"
checkpoint=$1
out=${2:-$(dirname -- "$checkpoint")/deployed}
split=${SPLIT:-test} beam=${BEAM:-5}
need_fairseq
need_module ctranslate2 "run: bash recipes/install.sh fairseq recipes deploy"
need_module sacrebleu "run: bash recipes/install.sh"
[ -f "$checkpoint" ] || die "there is no checkpoint $checkpoint; train first (recipes/train.sh)"
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(nproc)}
data=${DATA:-$("$PYTHON" "$HERE/deploy.py" data "$checkpoint")}
need_data "$data"
corpus() { "$PYTHON" "$HERE/corpus.py" "$data" "$1" || die "$data is not what data-prep/ makes"; }
source_language=$(corpus source)
target_language=$(corpus target)

mkdir -p -- "$out/fairseq"
SPLIT=$split DEVICE=cpu bash "$HERE/evaluate.sh" "$data" "$checkpoint" "$out/fairseq" \
  --beam "$beam"

subwords=()
for file in "$data/bpecodes" "$data/sentencepiece.bpe.model"; do
  if [ -f "$file" ]; then subwords+=("$file"); fi
done
# All that the models hold, by content: a corpus may be moved, or made anew in its place.
made_from="$(cksum <"$checkpoint") $({ corpus json && cat -- "$data"/dict.*.txt "${subwords[@]}"; } | cksum)"
if [ -f "$out/folded.pt" ] && [ "$(cat -- "$out/made-from" 2>/dev/null)" = "$made_from" ]; then
  say "fold and convert: already there, skipped"
else
  rm -f -- "$out/made-from"
  "$PYTHON" -m shapeshifter_fairseq fold "$checkpoint" "$out/folded.pt" --force
  for precision in float32 int8; do
    say "convert to $precision ..."
    part=$out/$precision.part
    "$PYTHON" -m ctranslate2.converters.fairseq --model_path "$out/folded.pt" --data_dir "$data" \
      --source_lang "$source_language" --target_lang "$target_language" \
      --quantization "$precision" --output_dir "$part" --force >"$out/convert.log" 2>&1 ||
      die "the conversion failed: $(last_words "$out/convert.log") (log: $out/convert.log)"
    corpus json >"$part/corpus.json"
    cp -- "${subwords[@]}" "$part"
    rm -rf -- "${out:?}/$precision"
    mv -- "$part" "$out/$precision"
  done
  printf '%s\n' "$made_from" >"$out/made-from"
fi

measure="$made_from $(cat -- "$out/fairseq/scored")" # the set and the search, by evaluate.sh
if [ "$(cat -- "$out/measured" 2>/dev/null)" = "$measure" ]; then
  say "$(cat -- "$out/deploy.md")"
else
  "$PYTHON" "$HERE/deploy.py" table "$out" --data "$data" --checkpoint "$checkpoint" \
    --split "$split" --beam "$beam"
  printf '%s\n' "$measure" >"$out/measured"
fi

cat <<NEXT

Translate standard input, plain text, one sentence a line:
  $(quoted "$PYTHON" "$HERE/translate.py" "$out/int8") <input.txt >output.txt
NEXT
