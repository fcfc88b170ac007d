#!/usr/bin/env bash
# Prepare English-Romanian with SentencePiece on the plain text; see --help.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../recipes/start.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../recipes/start.sh"
