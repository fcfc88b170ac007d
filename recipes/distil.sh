#!/usr/bin/env bash
# A corpus whose training targets are a trained model's translations; see --help.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=start.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/start.sh"
