#!/usr/bin/env bash
# word2ket on IWSLT'14 German to English, table 2 of the dissertation; see --help.
. "$(dirname -- "${BASH_SOURCE[0]}")/start.sh"
