#!/usr/bin/env bash
# word2ket on Gigaword, the first sentence of an article to its headline, table 1; see --help.
. "$(dirname -- "${BASH_SOURCE[0]}")/start.sh"
