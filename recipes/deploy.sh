#!/usr/bin/env bash
# From a trained checkpoint to a CTranslate2 model that translates standard input; see --help.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=start.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/start.sh"
