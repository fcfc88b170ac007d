#!/usr/bin/env bash
# Prepare Gigaword, the first sentence of an article to its headline; see --help.
. "$(dirname -- "${BASH_SOURCE[0]}")/../recipes/start.sh"
