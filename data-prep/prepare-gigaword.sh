#!/usr/bin/env bash
# Prepare Gigaword, the first sentence of an article to its headline; see --help.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../recipes/start.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../recipes/start.sh"
