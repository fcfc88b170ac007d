#!/usr/bin/env bash
# WMT'16 English to Romanian, table 6 of the dissertation; see --help.
. "$(dirname -- "${BASH_SOURCE[0]}")/start.sh"
