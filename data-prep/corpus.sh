# What the prepare-*.sh scripts share: options, and the steps from raw files to a binarised corpus.
# Source it, do not run it. A script sets
#   dataset           its name
#   pairs             the language pairs it has, the default one first
#   vocab_size        merges or pieces of its subwords
# and calls parse_options, need_raw, then the steps in the order in which they are below. One that
# has no list of pairs defines choose_pair itself; one whose raw files are not on the web names its
# known_options, and sets `stamp` to what it reads in place of calling need_raw and fetch_raw.
# shellcheck shell=bash

: "${dataset:?}" "${vocab_size:?}"
HERE=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(dirname -- "$HERE")
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$HERE/common.sh"
find_python

known_options=(--vocab-size --from --mirror --checksums --dest --work --workers)

help_on_options() {
  cat <<HELP
options:
  --vocab-size N    merges of the byte-pair encoding, or SentencePiece pieces (default $vocab_size)
  --from DIR        take the raw files from DIR instead of the network
  --mirror URL      fetch https://HOST/PATH from URL/HOST/PATH, the layout of wget --mirror
  --checksums FILE  refuse raw files that differ from FILE (lines of sha256sum); every download
                    writes such a list, WORK/download/SHA256SUMS
  --dest DIR        the binarised corpus (default data-bin/$dataset.SRC-TGT)
  --work DIR        raw and intermediate files and prepare.log (default data/$dataset.SRC-TGT)
  --workers N       processes (default: all cores)
  -h, --help        show this text

environment:
  PYTHON            the Python that has fairseq and this project (default: .venv's, else python3)

Makes in --dest what fairseq-preprocess makes, the subword model, corpus.json, and the valid and test
sentences as plain text (raw/) and tokenised (tokenised/). Steps that are done are skipped, so a
killed run goes on where it was. The default folders are in the repository, whatever folder you call
the script from.
HELP
}

# choose_pair [WORD...]: sets src and tgt from the arguments that are no options.
choose_pair() {
  local pair=${*:-${pairs%%,*}}
  case ",$pairs," in
    *",$pair,"*) read -r src tgt <<<"$pair" ;;
    *) wrong_call "'$pair' is none of its language pairs SRC TGT: ${pairs//,/, }" ;;
  esac
}

# parse_options "$@": sets src, tgt, from, work, dest, workers; makes and locks the work folder.
parse_options() {
  local option words=() extra='run: bash recipes/install.sh'
  from='' mirror='' checksums='' dest='' work=''
  workers=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)
  while [ $# -gt 0 ]; do
    case $1 in
      -h | --help)
        usage
        exit
        ;;
      -*)
        [[ " ${known_options[*]} " = *" $1 "* ]] || wrong_call "unknown option $1"
        [ $# -ge 2 ] && [ -n "$2" ] || wrong_call "$1 needs a value"
        option=${1#--}
        printf -v "${option//-/_}" '%s' "$2"
        shift 2
        ;;
      *)
        words+=("$1")
        shift
        ;;
    esac
  done
  choose_pair "${words[@]}"
  [[ $vocab_size =~ ^[1-9][0-9]*$ ]] || wrong_call "--vocab-size '$vocab_size' is no positive number"
  [[ $workers =~ ^[1-9][0-9]*$ ]] || wrong_call "--workers '$workers' is no positive number"
  [ -z "$from" ] || [ -d "$from" ] || die "there is no folder --from $from"
  [ -z "$from" ] || [ -z "$mirror" ] || wrong_call "--from and --mirror exclude each other"
  [ -z "$checksums" ] || [ -f "$checksums" ] || die "there is no file --checksums $checksums"

  need_tool flock "install util-linux"
  need_tool "$PYTHON" "set PYTHON to the Python that has fairseq"
  local module
  for module in fairseq_cli joblib polib regex sacrebleu sacremoses sentencepiece subword_nmt tqdm; do
    need_module "$module" "$extra"
  done

  work=${work:-$ROOT/data/$dataset.$src-$tgt}
  dest=${dest:-$ROOT/data-bin/$dataset.$src-$tgt}
  # A trailing slash would make the side folder "DIR/.part" lie inside the result.
  work=${work%/} dest=${dest%/} from=${from%/}
  refuse_foreign "$dest"
  mkdir -p -- "$work" 2>/dev/null || die "cannot make the folder --work $work"
  mkdir -p -- "$(dirname -- "$dest")" 2>/dev/null || die "cannot make the folder above --dest $dest"
  LOG=$work/prepare.log
  # Held by every process of this run: a killed script may have left one that still writes.
  exec 9>>"$work/lock"
  flock --nonblock 9 || die "another run is still at work in $work; wait for it or stop it"
  urls=() facts=() tokenised=''
}

# need_raw URL...: the raw files; their names are the last part of the address, or #name=NAME.
need_raw() { urls+=("$@"); }

name_of() {
  local url=${1%%#*}
  if [[ $1 = *'#name='* ]]; then printf '%s' "${1##*#name=}"; else printf '%s' "${url##*/}"; fi
}

# raw NAME: where a raw file is.
raw() { printf '%s/%s' "${from:-$work/download}" "$1"; }

# The stamps of the steps: each holds the one before, so that whatever changes early redoes all
# that comes after it. `code_of FILE...` makes a changed program count as well.
code_of() { (cd -- "$HERE" && cksum -- "$@"); }

download() {
  "$PYTHON" "$HERE/download.py" --mirror "$mirror" ${checksums:+--checksums "$checksums"} \
    --to "$work/download" "${missing[@]}"
}

# fetch_raw: have all raw files, whole.
fetch_raw() {
  local url file missing=() status
  for url in "${urls[@]}"; do
    [ -f "$(raw "$(name_of "$url")")" ] || missing+=("$url")
  done
  if [ ${#missing[@]} -gt 0 ]; then
    url=${missing[0]}
    [ -z "$from" ] || die "--from $from holds no $(name_of "$url") (it comes from ${url%%#*})"
    mkdir -p -- "$work/download"
    say "download ..."
    logged "download" download
    [ "$status" -eq 0 ] || step_failed "download" \
      "it needs the network; without it, fetch the files elsewhere and give --from DIR"
  elif [ -z "$from" ]; then
    say "download: already there, skipped"
  fi
  if [ -n "$checksums" ]; then check_raw; fi
  stamp=$(for url in "${urls[@]}"; do
    file=$(raw "$(name_of "$url")")
    printf '%s %s\n' "${file##*/}" "$(stat -Lc '%s %y' -- "$file")"
  done)
}

# check_raw: compare the raw files with --checksums; files that it does not name are not checked.
check_raw() {
  local url file expected
  for url in "${urls[@]}"; do
    file=$(raw "$(name_of "$url")")
    expected=$(awk -v name="${file##*/}" \
      '{ sub(/.*[*\/]/, "", $2) } $2 == name { print $1; exit }' "$checksums")
    if [ -n "$expected" ] && [ "$(sha256sum <"$file" | cut -d' ' -f1)" != "${expected,,}" ]; then
      die "$file differs from its checksum in $checksums; fetch it again"
    fi
  done
}

# clean_pairs OUT SPLIT [OPTION...] SOURCE TARGET [SOURCE TARGET ...]: see clean.py.
clean_pairs() {
  local out=$1 split=$2
  shift 2
  "$PYTHON" "$HERE/clean.py" --out "$out/$split.$src" "$out/$split.$tgt" "${options[@]}" "$@"
}

# need_test_set NAME and clean_test_set OUT SPLIT NAME: a news test set as sacreBLEU knows it.
need_test_set() {
  local facts
  facts=$("$PYTHON" "$HERE/test_sets.py" "$1" "$src" "$tgt")
  need_raw "${facts%%$'\n'*}"
}

clean_test_set() {
  local facts archive
  mapfile -t facts < <("$PYTHON" "$HERE/test_sets.py" "$3" "$src" "$tgt")
  archive=$(raw "$(name_of "${facts[0]}")")
  clean_pairs "$1" "$2" --markup segments --held-out "$archive::${facts[1]}" "$archive::${facts[2]}"
}

# make_text FUNCTION [OPTION...]: {train,valid,test}.{SRC,TGT} in work/text, as FUNCTION OUT writes
# them; the options are for each clean.py that it calls.
make_text() {
  local options=("${@:2}")
  if [[ $* = *--without-diacritics* ]]; then facts+=(--without-diacritics); fi
  stamp="$dataset $src $tgt $* $(declare -f "$1") $(code_of archives.py clean.py markup.py romanian.py)
$stamp"
  step "text" "$work/text" "$stamp" "see --help for the languages and --from" "$1"
  text=$work/text
}

tokenise() {
  local split options
  for split in train valid test; do
    options=$for_training
    if [ "$split" = test ]; then options=$for_test; fi
    # Some validation sets are taken from the training set later.
    if [ ! -e "$text/$split.$src" ]; then continue; fi
    # shellcheck disable=SC2086  # several options in one string
    "$PYTHON" "$HERE/tokenise.py" $options --workers "$workers" --out "$1" \
      "$text/$split.$src" "$text/$split.$tgt"
  done
}

# tokenise_text OPTIONS [OPTIONS_FOR_TEST]: with the Moses rules into work/tokenised; see tokenise.py.
tokenise_text() {
  local for_training=$1 for_test=${2-$1}
  facts+=(--tokenizer moses)
  if [[ $1 = *--normalise* ]]; then facts+=(--normalised); fi
  if [[ $for_test = *--apostrophes* ]]; then facts+=(--apostrophes); fi
  if [[ $1 = *--dash-splits* ]]; then facts+=(--dash-splits); fi
  if [[ $1 = *--lowercase* ]]; then facts+=(--lowercased); fi
  stamp="tokenise $* $(code_of lines.py tokenise.py words.py)
$stamp"
  step "tokenise" "$work/tokenised" "$stamp" "see the log" tokenise
  tokenised=$work/tokenised
}

filter() {
  "$PYTHON" "$HERE/filter_pairs.py" --languages "$src" "$tgt" --out "$1" "${options[@]}"
}

# filter_text NAME OPTION...: drop pairs by their length in tokens; see filter_pairs.py.
filter_text() {
  local step_folder=$work/$1
  local options=("${@:2}" --by "$tokenised" --along "$text")
  stamp="filter $* $(code_of filter_pairs.py)
$stamp"
  step "$1" "$step_folder" "$stamp" "see the log" filter
  text=$step_folder/text tokenised=$step_folder/tokenised
}

# filter_encoded NAME OPTION...: the same by their length in subwords.
filter_encoded() {
  local step_folder=$work/$1
  local options=("${@:2}" --by "$encoded" --along "$text" "$tokenised")
  stamp="filter $* $(code_of filter_pairs.py)
$stamp"
  step "$1" "$step_folder" "$stamp" "see the log" filter
  text=$step_folder/text tokenised=$step_folder/tokenised encoded=$step_folder/encoded
}

learn() {
  "$PYTHON" "$HERE/subwords.py" learn --kind "$kind" --model "$1/$model" \
    --vocab-size "$vocab_size" --workers "$workers" "$plain/train.$src" "$plain/train.$tgt"
}

encode() {
  "$PYTHON" "$HERE/subwords.py" apply --kind "$kind" --model "$work/subwords/$model" \
    --workers "$workers" --out "$1" "$plain"/*."$src" "$plain"/*."$tgt"
}

# make_subwords KIND: learn joint subwords and cut all text into them; see subwords.py for the kinds.
make_subwords() {
  local kind=$1 plain=${tokenised:-$text}
  # fairseq's from_pretrained finds the subword model by this name.
  if [ "$kind" = subword_nmt ]; then
    model=bpecodes
    facts+=(--subwords subword_nmt)
  else
    model=sentencepiece.bpe.model
    facts+=(--subwords sentencepiece)
  fi
  stamp="$kind $vocab_size $(code_of lines.py subwords.py)
$stamp"
  step "subwords" "$work/subwords" "$stamp" "try another --vocab-size" learn
  step "encode" "$work/encoded" "$stamp" "remove $work/encoded and try again" encode
  encoded=$work/encoded
}

binarise() {
  "$PYTHON" -m fairseq_cli.preprocess --source-lang "$src" --target-lang "$tgt" "${options[@]}" \
    --workers "$workers" --destdir "$1" --trainpref "$encoded/train" \
    --validpref "$encoded/valid" --testpref "$encoded/test"
  # Its lines are in prepare.log too; here they would only carry the paths of this machine along.
  rm -- "$1/preprocess.log"
  cp -- "$work/subwords/$model" "$1/"
  mkdir -- "$1/raw"
  cp -- "$text"/valid.* "$text"/test.* "$1/raw/"
  if [ -n "$tokenised" ]; then
    mkdir -- "$1/tokenised"
    cp -- "$tokenised"/valid.* "$tokenised"/test.* "$1/tokenised/"
  fi
  "$PYTHON" "$HERE/describe.py" write --name "$dataset" --source "$src" --target "$tgt" \
    "${facts[@]}" "$1"
}

# binarise_text joined|separate: the corpus itself, with one dictionary or one for each language.
binarise_text() {
  local options=()
  if [ "$1" = joined ]; then options=(--joined-dictionary); fi
  stamp="binarise $1 $(code_of describe.py)
$stamp"
  step "binarise" "$dest" "$stamp" "try again with --workers 1" binarise
}

# report EXPECTED: the last line, after a warning where the network gave other counts than were
# published. EXPECTED is a pattern for what is said of the folder: '29000 train, *'.
report() {
  local counts
  counts=$("$PYTHON" "$HERE/describe.py" show "$dest" 2>&1) || die "$counts; remove $dest and run again"
  # shellcheck disable=SC2053  # a pattern on purpose
  if [ -z "$from" ] && [[ $counts != $1 ]]; then
    say "warning: published is $1; the files may have changed since"
  fi
  say "$dest: $counts"
}
