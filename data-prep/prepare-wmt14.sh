#!/usr/bin/env bash
# Prepare WMT'14 English-German or English-French; see --help.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../recipes/start.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../recipes/start.sh"
