#!/usr/bin/env bash
# Train one model with the papers' setting; see --help.
. "$(dirname -- "${BASH_SOURCE[0]}")/start.sh"
