#!/usr/bin/env bash
# Prepare Multi30k, picture captions in two languages; see --help.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../recipes/start.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../recipes/start.sh"
