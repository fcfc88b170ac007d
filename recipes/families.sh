#!/usr/bin/env bash
# Every family of factorizations at about equal parameters: train, score, compare; see --help.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=start.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/start.sh"
