#!/usr/bin/env bash
# WMT'16 English to Romanian, table 6 of the dissertation; see --help.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=start.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/start.sh"
