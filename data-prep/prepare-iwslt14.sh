#!/usr/bin/env bash
# Prepare IWSLT'14 German-English, transcribed talks; see --help.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../recipes/start.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../recipes/start.sh"
