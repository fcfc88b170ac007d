#!/usr/bin/env bash
# Prepare a language pair of your own from text files; see --help.
. "$(dirname -- "${BASH_SOURCE[0]}")/../recipes/start.sh"
