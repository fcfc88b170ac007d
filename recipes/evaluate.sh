#!/usr/bin/env bash
# Translate a test set with a checkpoint and score it; see --help.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=start.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/start.sh"
