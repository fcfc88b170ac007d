#!/usr/bin/env bash
# Tatoeba, German to English, at the papers' size; see --help.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=start.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/start.sh"
