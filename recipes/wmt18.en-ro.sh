#!/usr/bin/env bash
# WMT'18 English to Romanian, table 4 of the dissertation; see --help.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=start.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/start.sh"
