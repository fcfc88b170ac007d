#!/usr/bin/env bash
# Build a parallel corpus from the translations that open-source programs ship; see --help.
. "$(dirname -- "${BASH_SOURCE[0]}")/../recipes/start.sh"
