#!/usr/bin/env bash
# Prepare English-Romanian with SentencePiece on the plain text; see --help.
. "$(dirname -- "${BASH_SOURCE[0]}")/../recipes/start.sh"
