#!/usr/bin/env bash
# Prepare WMT'16 English-Romanian with Moses tokenisation and BPE; see --help.
. "$(dirname -- "${BASH_SOURCE[0]}")/../recipes/start.sh"
