#!/usr/bin/env bash
# From a trained checkpoint to a CTranslate2 model that translates standard input; see --help.
. "$(dirname -- "${BASH_SOURCE[0]}")/start.sh"
