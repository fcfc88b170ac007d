# What the prepare-*.sh scripts of the benchmarks share: options, and the steps from raw files to a
# binarised corpus. Source it, do not run it. A script sets
#   dataset           its name
#   pairs             the language pairs it has, the default one first
# and calls parse_options, need_raw, then the steps in the order in which they are below.
# shellcheck shell=bash

: "${dataset:?}" "${pairs:?}"
HERE=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(dirname -- "$HERE")
PYTHON=${PYTHON:-python3}
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$HERE/common.sh"

help_on_options() {
  cat <<HELP
options:
  --from DIR        take the raw files from DIR instead of the network
  --mirror URL      fetch https://HOST/PATH from URL/HOST/PATH, the layout of wget --mirror
  --checksums FILE  refuse raw files that differ from FILE (lines of sha256sum); every download
                    writes such a list, WORK/download/SHA256SUMS
  --dest DIR        the binarised corpus (default data-bin/$dataset.SRC-TGT)
  --work DIR        raw and intermediate files and prepare.log (default data/$dataset.SRC-TGT)
  --workers N       processes (default: all cores)
  -h, --help        show this text

environment:
  PYTHON            the Python that has fairseq and this project (default python3)

Makes in --dest what fairseq-preprocess makes, the subword model, corpus.json, and the valid and test
sentences as plain text (raw/) and tokenised (tokenised/). Steps that are done are skipped, so a
killed run goes on where it was. The default folders are in the repository, whatever folder you call
the script from.
HELP
}

# parse_options "$@": sets src, tgt, from, work, dest, workers; makes and locks the work folder.
parse_options() {
  local words=() extra='pip install "shapeshifter-fairseq[recipes]"'
  from='' mirror='' checksums='' dest='' work=''
  workers=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)
  while [ $# -gt 0 ]; do
    case $1 in
      -h | --help)
        usage
        exit
        ;;
      --from | --mirror | --checksums | --dest | --work | --workers)
        [ $# -ge 2 ] && [ -n "$2" ] || wrong_call "$1 needs a value"
        printf -v "${1#--}" '%s' "$2"
        shift 2
        ;;
      -*) wrong_call "unknown option $1" ;;
      *)
        words+=("$1")
        shift
        ;;
    esac
  done
  [ ${#words[@]} -gt 0 ] || read -ra words <<<"${pairs%%,*}"
  case ",$pairs," in
    *",${words[*]},"*) src=${words[0]} tgt=${words[1]} ;;
    *) wrong_call "'${words[*]}' is none of its language pairs SRC TGT: ${pairs//,/, }" ;;
  esac
  [[ $workers =~ ^[1-9][0-9]*$ ]] || wrong_call "--workers '$workers' is no positive number"
  [ -z "$from" ] || [ -d "$from" ] || die "there is no folder --from $from"
  [ -z "$from" ] || [ -z "$mirror" ] || wrong_call "--from and --mirror exclude each other"
  [ -z "$checksums" ] || [ -f "$checksums" ] || die "there is no file --checksums $checksums"

  need_tool flock "install util-linux"
  need_tool "$PYTHON" "set PYTHON to the Python that has fairseq"
  local module
  for module in fairseq_cli joblib sacremoses sentencepiece subword_nmt tqdm; do
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
  exec 9>"$work/lock"
  flock --nonblock 9 || die "another run is still at work in $work; wait for it or stop it"
  urls=() facts=()
}

# need_raw URL...: the raw files, known by the last part of their address.
need_raw() { urls+=("$@"); }

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
  local url file
  if [ -n "$from" ]; then
    for url in "${urls[@]}"; do
      [ -f "$(raw "${url##*/}")" ] || die "--from $from holds no ${url##*/} (it comes from $url)"
    done
  else
    local missing=() status
    for url in "${urls[@]}"; do [ -f "$(raw "${url##*/}")" ] || missing+=("$url"); done
    if [ ${#missing[@]} -eq 0 ]; then
      say "download: already there, skipped"
    else
      mkdir -p -- "$work/download"
      say "download ..."
      logged "download" download
      [ "$status" -eq 0 ] || step_failed "download" \
        "it needs the network; without it, fetch the files elsewhere and give --from DIR"
    fi
  fi
  if [ -n "$checksums" ]; then
    for url in "${urls[@]}"; do
      file=$(raw "${url##*/}")
      # `|| true`: a file that the list does not name is not checked.
      (grep -- "[ */]${url##*/}\$" "$checksums" || true) | while read -r sum _; do
        [ "$(sha256sum <"$file" | cut -d' ' -f1)" = "${sum,,}" ] ||
          die "$file differs from its checksum in $checksums; fetch it again"
      done
    done
  fi
  stamp=$(for url in "${urls[@]}"; do
    printf '%s %s\n' "${url##*/}" "$(stat -Lc '%s %y' -- "$(raw "${url##*/}")")"
  done)
}

# clean_pairs OUT SPLIT [OPTION] SOURCE TARGET [SOURCE TARGET ...]: see clean.py.
clean_pairs() {
  local out=$1 split=$2
  shift 2
  "$PYTHON" "$HERE/clean.py" --out "$out/$split.$src" "$out/$split.$tgt" "$@"
}

# make_text FUNCTION: {train,valid,test}.{SRC,TGT} in work/text, as FUNCTION OUT writes them.
make_text() {
  stamp="$dataset $src $tgt $(declare -f "$1") $(code_of archives.py clean.py)
$stamp"
  step "text" "$work/text" "$stamp" "see --help for --from" "$1"
  text=$work/text
}

tokenise() {
  local file
  for file in "$work/text"/*."$src" "$work/text"/*."$tgt"; do
    "$PYTHON" "$HERE/tokenise.py" --language "${file##*.}" "${options[@]}" \
      --workers "$workers" "$file" "$1/$(basename -- "$file")"
  done
}

# tokenise_text [OPTION...]: with the Moses rules into work/tokenised; see tokenise.py.
tokenise_text() {
  local options=("$@")
  facts=(--tokenizer moses)
  stamp="tokenise $* $(code_of lines.py tokenise.py)
$stamp"
  step "tokenise" "$work/tokenised" "$stamp" "see the log" tokenise
  text=$work/tokenised
  case " $* " in *" --lowercase "*) facts+=(--lowercased) ;; esac
  case " $* " in *" --dash-splits "*) facts+=(--dash-splits) ;; esac
}

learn() {
  "$PYTHON" "$HERE/bpe.py" learn --codes "$1/bpecodes" --merges "$merges" --workers "$workers" \
    "$text/train.$src" "$text/train.$tgt"
}

encode() {
  local file
  for file in "$text"/*."$src" "$text"/*."$tgt"; do
    "$PYTHON" "$HERE/bpe.py" apply --codes "$work/subwords/bpecodes" --workers "$workers" \
      "$file" "$1/$(basename -- "$file")"
  done
}

# bpe_subwords MERGES: learn a joint byte-pair encoding and cut all text with it.
bpe_subwords() {
  local merges=$1
  model=bpecodes subwords=subword_nmt
  stamp="bpe $merges $(code_of bpe.py)
$stamp"
  step "subwords" "$work/subwords" "$stamp" "see the log" learn
  step "encode" "$work/encoded" "$stamp" "remove $work/encoded and try again" encode
}

binarise() {
  local folder kind
  "$PYTHON" -m fairseq_cli.preprocess --source-lang "$src" --target-lang "$tgt" "${options[@]}" \
    --workers "$workers" --destdir "$1" --trainpref "$work/encoded/train" \
    --validpref "$work/encoded/valid" --testpref "$work/encoded/test"
  # Its lines are in prepare.log too; here they would only carry the paths of this machine along.
  rm -- "$1/preprocess.log"
  # fairseq's from_pretrained finds the subword model by this name.
  cp -- "$work/subwords/$model" "$1/"
  for kind in raw tokenised; do
    folder=$work/text
    if [ "$kind" = tokenised ]; then folder=$text; fi
    if [ "$kind" = raw ] || [ "$text" != "$work/text" ]; then
      mkdir -- "$1/$kind"
      cp -- "$folder"/valid.* "$folder"/test.* "$1/$kind/"
    fi
  done
  "$PYTHON" "$HERE/describe.py" write --name "$dataset" --source "$src" --target "$tgt" \
    --subwords "$subwords" "${facts[@]}" "$1"
}

# binarise_text [OPTION...]: the corpus itself; options of fairseq-preprocess.
binarise_text() {
  local options=("$@")
  stamp="binarise $* $(code_of describe.py)
$stamp"
  step "binarise" "$dest" "$stamp" "try again with --workers 1" binarise
}

# report EXPECTED: the last line, after a warning where the network gave other counts than were
# published. EXPECTED is how the line goes on after the folder, as a pattern: '29000 train, *'.
report() {
  local counts
  counts=$("$PYTHON" "$HERE/describe.py" show "$dest") || die "remove $dest and run again"
  # shellcheck disable=SC2053  # a pattern on purpose
  if [ -z "$from" ] && [[ ${counts#"$dest: "} != $1 ]]; then
    say "warning: published is $1; the files may have changed since"
  fi
  say "$counts"
}
