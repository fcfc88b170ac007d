#!/usr/bin/env bash
# What staged factorization buys: fine-tuned at once, in stages, trained from scratch; see --help.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=start.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/start.sh"
