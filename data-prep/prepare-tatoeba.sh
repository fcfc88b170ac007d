#!/usr/bin/env bash
# Prepare Tatoeba, short sentences with English; see --help.
. "$(dirname -- "${BASH_SOURCE[0]}")/../recipes/start.sh"
